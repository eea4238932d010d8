"""The endpoint catalogue: what can be called, and what opens it."""

from starlette.responses import Response

from ...domain.endpoints import METHODS
from ...domain.errors import Code, Refusal, invalid_request
from ..api import Answer, Document
from ..forms import Form
from ..frame import View
from ..over import need_own
from ..visit import Visit

_ALL, _ONE = "/t/{tenant_id}/endpoints", "/t/{tenant_id}/endpoints/{endpoint_id}"

_CALLERS = "listEndpointCallers"
#: Callers on one page.
_SHOWN = 25
#: Why a key may call or may not, in words.
_WHY = {
    "ok": "yes",
    "key_not_live": "the key is revoked or has expired",
    "other_tenant": "the key is bound to another tenant",
    "role_lacks_permission": "its roles do not open it",
    "not_on_allow_list": "it is not on the key's allow-list",
}


def views() -> list[View]:
    """Their pages."""
    return [
        View("GET", _ALL, found, "searchEndpoints"),
        View("GET", f"{_ALL}/new", ask_new, "registerEndpoint"),
        View("POST", f"{_ALL}/new", create, "registerEndpoint"),
        View("GET", _ONE, one, "getEndpoint"),
        View("GET", f"{_ONE}/edit", ask_edit, "changeEndpoint"),
        View("POST", f"{_ONE}/edit", edit, "changeEndpoint"),
        View("GET", f"{_ONE}/delete", ask_delete, "deleteEndpoint"),
        View("POST", f"{_ONE}/delete", delete, "deleteEndpoint"),
    ]


async def found(visit: Visit) -> Response:
    """What the search finds, of the tenant and of those above it."""
    asked = {name: visit.asked(name) for name in ("q", "service", "deprecated", "experimental")}
    query = {**asked, "cursor": visit.asked("cursor")}
    page = await visit.get("searchEndpoints", query=query)
    return visit.render("endpoints/all.html", page=page, asked=asked)


async def ask_new(visit: Visit) -> Response:
    """The form of a new one."""
    return visit.render("endpoints/new.html", methods=METHODS)


async def create(visit: Visit) -> Response:
    """Registers it."""
    form = visit.form
    try:
        place = {name: form.text(name) for name in ("service", "method", "path")}
        made = await visit.ask("registerEndpoint", body=place | _said(form), once=True)
    except Refusal as refusal:
        visit.refused(refusal)
        return visit.render("endpoints/new.html", 400, methods=METHODS)
    return visit.to(f"/endpoints/{made.data['id']}", "endpoint-created")


async def one(visit: Visit) -> Response:
    """One: what it is, and who may call it."""
    endpoint = (await _endpoint(visit)).data
    call = {name: endpoint[name] for name in ("method", "path", "service")}
    explained = await visit.get_if("explainCall", query=call)
    callers: Document = {}
    # Who may call is told to those who may list members.
    if visit.may("listMembers"):
        query = {"limit": _SHOWN, "cursor": visit.asked("cursor")}
        callers = await visit.get_if(_CALLERS, query=query, endpoint_id=endpoint["id"])
    return visit.render(
        "endpoints/one.html", endpoint=endpoint, explained=explained, callers=callers, why=_WHY
    )


async def ask_edit(visit: Visit) -> Response:
    """The form of what may be changed."""
    return await _edit_form(visit)


async def edit(visit: Visit) -> Response:
    """Changes it, unless somebody else did meanwhile."""
    form, endpoint_id = visit.form, visit.path("endpoint_id")
    try:
        await visit.ask(
            "changeEndpoint",
            path={"endpoint_id": endpoint_id},
            body=_said(form),
            if_match=form.or_none("etag"),
        )
    except Refusal as refusal:
        visit.refused(refusal)
        return await _edit_form(visit, 400)
    return visit.to(f"/endpoints/{endpoint_id}", "saved")


async def ask_delete(visit: Visit) -> Response:
    """Asks, and says what it ends."""
    return await _delete_form(visit)


async def delete(visit: Visit) -> Response:
    """Deletes it; when keys list it, asks once more."""
    form = visit.form
    try:
        await visit.ask(
            "deleteEndpoint",
            path={"endpoint_id": visit.path("endpoint_id")},
            query={"force": form.flag("force")},
            if_match=form.or_none("etag"),
        )
    except Refusal as refusal:
        visit.refused(refusal)
        return await _delete_form(visit, 400, is_listed=refusal.code is Code.CONFLICT)
    return visit.to("/endpoints", "endpoint-deleted")


async def _endpoint(visit: Visit) -> Answer:
    return await visit.ask("getEndpoint", path={"endpoint_id": visit.path("endpoint_id")})


async def _own(visit: Visit) -> Answer:
    """To be changed. Raises Over for one of a tenant above."""
    answer = await _endpoint(visit)
    endpoint = answer.data
    called = f"{endpoint['method']} {endpoint['path']}"
    need_own(endpoint, visit.tenant.tenant_id, called, f"/endpoints/{endpoint['id']}")
    return answer


async def _edit_form(visit: Visit, status: int = 200) -> Response:
    answer = await _own(visit)
    return visit.render("endpoints/edit.html", status, endpoint=answer.data, etag=answer.etag)


async def _delete_form(visit: Visit, status: int = 200, *, is_listed: bool = False) -> Response:
    answer = await _own(visit)
    endpoint, at = answer.data, f"/endpoints/{answer.data['id']}"
    ends = [f"what the catalogue says of {endpoint['service']}: resource servers no longer know it"]
    if is_listed:
        ends.append("its place on API keys' allow-lists, and their tokens")
    shown = visit.confirm(
        f"Delete {endpoint['method']} {endpoint['path']}?",
        ends=ends,
        note="An allow-list that loses it does not open for anything else.",
        label="Delete it from the lists, too" if is_listed else "Delete",
        action=f"{at}/delete",
        back=at,
        fields={"etag": answer.etag or "", **({"force": "on"} if is_listed else {})},
    )
    shown.status_code = status
    return shown


def _said(form: Form) -> Document:
    """What both forms say. Raises Refusal at the field."""
    return {
        "name": form.text("name"),
        "opened_by": _opened_by(form),
        **{name: form.flag(name) for name in ("deprecated", "experimental", "administrative")},
    }


def _opened_by(form: Form) -> list[list[str]]:
    """Groups of permissions: a line holds a group."""
    match form.text("opens"):
        case "nobody":
            return []
        case "everybody":
            return [[]]
    lines = [line.replace(",", " ").split() for line in form.exact("opened_by").splitlines()]
    groups = [line for line in lines if line]
    if not groups:
        raise invalid_request("Name a permission, or choose who else.", field="opened_by")
    return groups
