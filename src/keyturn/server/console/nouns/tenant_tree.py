"""The tenants below: as a tree where they are few, level by level where they are many."""

from collections.abc import Sequence

from starlette.responses import Response

from ...domain.errors import Refusal
from ..api import Answer, Document
from ..frame import View
from ..over import Over
from ..visit import Visit

_ALL, _ONE = "/t/{tenant_id}/tenants", "/t/{tenant_id}/tenants/{below_id}"

#: Tenants that are drawn as a tree: one page of the API.
_MOST = 200
#: Tenants below one that a page names which asks before an end.
_NAMED = 10


def views() -> list[View]:
    """Their pages."""
    return [
        View("GET", _ALL, everyone, "listTenants"),
        View("GET", f"{_ALL}/new", ask_new, "createTenant"),
        View("POST", f"{_ALL}/new", create, "createTenant"),
        View("GET", _ONE, one, "getTenant"),
        View("GET", f"{_ONE}/edit", ask_edit, "renameTenant"),
        View("POST", f"{_ONE}/edit", edit, "renameTenant"),
        View("GET", f"{_ONE}/suspend", ask_suspend, "suspendTenant"),
        View("POST", f"{_ONE}/suspend", suspend, "suspendTenant"),
        View("POST", f"{_ONE}/resume", resume, "resumeTenant"),
        View("GET", f"{_ONE}/delete", ask_delete, "deleteTenant"),
        View("POST", f"{_ONE}/delete", delete, "deleteTenant"),
    ]


async def everyone(visit: Visit) -> Response:
    """The tree; of more than `_MOST` tenants the level right below; by name those of all levels."""
    cursor, name = visit.asked("cursor"), visit.asked("name")
    query = {"cursor": cursor, "name": name, "below": True, "limit": _MOST}
    page = await visit.get("listTenants", query=query)
    is_tree = not name and not cursor and page["next_cursor"] is None
    if not name and not is_tree:
        page = await visit.get("listTenants", query={"cursor": cursor})
    tree = _tree(page["items"], visit.tenant.tenant_id) if is_tree else page["items"]
    return visit.render("tenants/tree.html", tree=tree, is_tree=is_tree, page=page)


async def ask_new(visit: Visit) -> Response:
    """The form of a new one."""
    return visit.render("tenants/new.html")


async def create(visit: Visit) -> Response:
    """Makes it, right below the page's tenant."""
    try:
        made = await visit.ask("createTenant", body={"name": visit.form.text("name")}, once=True)
    except Refusal as refusal:
        visit.refused(refusal)
        return visit.render("tenants/new.html", 400)
    return visit.to(f"/tenants/{made.data['id']}", "tenant-created")


async def one(visit: Visit) -> Response:
    """One of them, or the page's own."""
    tenant = (await _tenant(visit)).data
    return visit.render("tenants/one.html", tenant=tenant)


async def ask_edit(visit: Visit) -> Response:
    """The form of its name."""
    return await _edit_form(visit)


async def edit(visit: Visit) -> Response:
    """Renames it, unless somebody else did meanwhile."""
    form, below_id = visit.form, visit.path("below_id")
    try:
        await visit.ask(
            "renameTenant",
            path={"tenant_id": below_id},
            body={"name": form.text("name")},
            if_match=form.or_none("etag"),
        )
    except Refusal as refusal:
        visit.refused(refusal)
        return await _edit_form(visit, 400)
    return visit.to(f"/tenants/{below_id}", "saved")


async def ask_suspend(visit: Visit) -> Response:
    """Asks, and says what it ends."""
    tenant = (await _tenant(visit)).data
    at = f"/tenants/{tenant['id']}"
    _need_below(visit, tenant)
    if tenant["suspended_at"]:
        raise Over(f"{tenant['name']} is suspended", "It can be resumed on its page.", at)
    return visit.confirm(
        f"Suspend “{tenant['name']}”?",
        ends=[
            "all access tokens and sessions for it, on every resource server, within a second",
            "what its API keys and people can do there: nobody gets a token for it",
            *(f"the same in {name}" for name in await _below(visit, tenant["id"])),
        ],
        note="Nothing is deleted. It is as before when it is resumed, from here.",
        label="Suspend",
        action=f"{at}/suspend",
        back=at,
    )


async def suspend(visit: Visit) -> Response:
    """Suspends it."""
    below_id = visit.path("below_id")
    await visit.ask("suspendTenant", path={"tenant_id": below_id})
    return visit.to(f"/tenants/{below_id}", "tenant-suspended")


async def resume(visit: Visit) -> Response:
    """Ends the suspension."""
    below_id = visit.path("below_id")
    await visit.ask("resumeTenant", path={"tenant_id": below_id})
    return visit.to(f"/tenants/{below_id}", "tenant-resumed")


async def ask_delete(visit: Visit) -> Response:
    """Asks, and says what it ends."""
    return await _delete_form(visit)


async def delete(visit: Visit) -> Response:
    """Deletes it; one that is not empty is refused."""
    try:
        await visit.ask(
            "deleteTenant",
            path={"tenant_id": visit.path("below_id")},
            if_match=visit.form.or_none("etag"),
        )
    except Refusal as refusal:
        visit.refused(refusal)
        return await _delete_form(visit, 400)
    return visit.to("/tenants", "tenant-deleted")


async def _tenant(visit: Visit) -> Answer:
    return await visit.ask("getTenant", path={"tenant_id": visit.path("below_id")})


async def _edit_form(visit: Visit, status: int = 200) -> Response:
    answer = await _tenant(visit)
    return visit.render("tenants/edit.html", status, tenant=answer.data, etag=answer.etag)


def _need_below(visit: Visit, tenant: Document) -> None:
    """Raises Over for the tenant that the person looks at."""
    if tenant["id"] == visit.tenant.tenant_id:
        title = f"You are in {tenant['name']}"
        raise Over(title, "It is suspended or deleted from the tenant above it.", "/tenants")


async def _delete_form(visit: Visit, status: int = 200) -> Response:
    answer = await _tenant(visit)
    _need_below(visit, answer.data)
    tenant, at = answer.data, f"/tenants/{answer.data['id']}"
    shown = visit.confirm(
        f"Delete “{tenant['name']}”?",
        ends=[
            "its roles, members and invitations",
            "its catalogue of endpoints",
            "its webhooks and resource servers",
        ],
        note="It must be empty: no tenant below it, no service user at home in it, no API key bound"
        " to it. Its audit trail stays. It cannot be undone.",
        label="Delete",
        action=f"{at}/delete",
        back=at,
        fields={"etag": answer.etag or ""},
    )
    shown.status_code = status
    return shown


async def _below(visit: Visit, tenant_id: str) -> list[str]:
    """The tenants below one, by name: the first few, and what others there are."""
    query = {"below": True, "limit": _MOST}
    page = await visit.get("listTenants", query=query)
    names = [node["name"] for node in _lines(_tree(page["items"], tenant_id))]
    named, more = names[:_NAMED], len(names) - _NAMED
    if page["next_cursor"] is not None:
        return [*named, "all other tenants below it"]
    return [*named, f"{more} more below it"] if more > 0 else named


def _tree(tenants: Sequence[Document], root: str) -> list[Document]:
    """The tenants below `root`, each with those below it (`below`), by name."""
    children: dict[str, list[Document]] = {}
    for tenant in sorted(tenants, key=lambda tenant: tenant["name"].casefold()):
        node = {**tenant, "below": children.setdefault(tenant["id"], [])}
        children.setdefault(tenant["parent_id"], []).append(node)
    return children.get(root, [])


def _lines(tree: Sequence[Document]) -> list[Document]:
    """All of a tree, each before those below it."""
    found: list[Document] = []
    waiting = list(reversed(tree))
    while waiting:
        node = waiting.pop()
        found.append(node)
        waiting.extend(reversed(node["below"]))
    return found
