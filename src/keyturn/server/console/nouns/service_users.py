"""Service users: who programs are."""

from starlette.responses import Response

from ...domain.errors import Refusal
from ..api import Document
from ..frame import View
from ..over import Over
from ..visit import Visit
from . import key_fields, names
from .api_key_making import show_secret

#: Keys that the page before a deletion names.
_NAMED = 10

_ALL, _ONE = "/t/{tenant_id}/service-users", "/t/{tenant_id}/service-users/{user_id}"


def views() -> list[View]:
    """Their pages."""
    return [
        View("GET", _ALL, everyone, "listServiceUsers"),
        View("GET", f"{_ALL}/new", ask_new, "createServiceUser"),
        View("POST", f"{_ALL}/new", create, "createServiceUser"),
        View("GET", _ONE, one, "getServiceUser"),
        View("GET", f"{_ONE}/edit", ask_edit, "editServiceUser"),
        View("POST", f"{_ONE}/edit", edit, "editServiceUser"),
        View("GET", f"{_ONE}/disable", ask_disable, "disableServiceUser"),
        View("POST", f"{_ONE}/disable", disable, "disableServiceUser"),
        View("POST", f"{_ONE}/enable", enable, "enableServiceUser"),
        View("GET", f"{_ONE}/delete", ask_delete, "deleteServiceUser"),
        View("POST", f"{_ONE}/delete", delete, "deleteServiceUser"),
    ]


async def everyone(visit: Visit) -> Response:
    """The service users at home here, and on request those of the tenants below (P5)."""
    below = bool(visit.asked("below"))
    searched = visit.asked("query")[:128]
    query = {"cursor": visit.asked("cursor"), "below": below, "query": searched}
    page = await visit.get("listServiceUsers", query=query)
    asked = {"below": 1 if below else "", "query": searched}
    # Where the list says what they are called, nobody need ask.
    unnamed = [user for user in page["items"] if "home_tenant_name" not in user]
    homes = {user["home_tenant_id"] for user in unnamed}
    return visit.render(
        "service_users/all.html",
        page=page,
        below=below,
        asked=asked,
        homes=await names.tenants(visit, homes),
        roles={} if below else await _roles(visit),
    )


async def ask_new(visit: Visit) -> Response:
    """The form of a new one."""
    return await _new_form(visit)


async def create(visit: Visit) -> Response:
    """Makes it, with its first key if one is asked for, and shows that key's secret."""
    form = visit.form
    try:
        body = {
            "name": form.text("name"),
            "description": form.text("description"),
            "role_id": form.or_none("role_id"),
            "api_key": key_fields.first_key(form),
        }
        made = await visit.ask("createServiceUser", body=body, once=True)
    except Refusal as refusal:
        visit.refused(refusal)
        visit.faults = key_fields.of_first_key(visit.faults)
        return await _new_form(visit, 400)
    if made.data.get("api_key"):
        return show_secret(
            visit, made.data["api_key"], made.data, "The service user and its key are made"
        )
    return visit.to(f"/service-users/{made.data['id']}", "service-user-created")


async def one(visit: Visit) -> Response:
    """One, with its keys."""
    user = await visit.get("getServiceUser", user_id=visit.path("user_id"))
    keys = await visit.get_if("listApiKeys", query={"user_id": user["id"]})
    tenants = await names.tenants(visit, {role["tenant_id"] for role in user["roles"]})
    return visit.render("service_users/one.html", user=user, keys=keys, tenants=tenants)


async def ask_edit(visit: Visit) -> Response:
    """The form of its name and description."""
    return await _edit_form(visit)


async def edit(visit: Visit) -> Response:
    """Changes them, unless somebody else did meanwhile."""
    form, user_id = visit.form, visit.path("user_id")
    body = {
        "name": form.text("name"),
        "description": form.text("description"),
        "single_token": form.flag("single_token"),
    }
    try:
        await visit.ask(
            "editServiceUser", path={"user_id": user_id}, body=body, if_match=form.or_none("etag")
        )
    except Refusal as refusal:
        visit.refused(refusal)
        return await _edit_form(visit, 400)
    return visit.to(f"/service-users/{user_id}", "saved")


async def ask_disable(visit: Visit) -> Response:
    """Asks, and says what it ends."""
    user = await visit.get("getServiceUser", user_id=visit.path("user_id"))
    at = f"/service-users/{user['id']}"
    if user["disabled_at"]:
        raise Over(f"{user['name']} is disabled", "It can be enabled again on its page.", at)
    return visit.confirm(
        f"Disable “{user['name']}”?",
        ends=["all its access tokens and sessions, on every resource server, within a second"],
        note="Its API keys stop working until it is enabled again. Nothing is deleted.",
        label="Disable",
        action=f"{at}/disable",
        back=at,
    )


async def disable(visit: Visit) -> Response:
    """Disables it."""
    user_id = visit.path("user_id")
    await visit.ask("disableServiceUser", path={"user_id": user_id})
    return visit.to(f"/service-users/{user_id}", "service-user-disabled")


async def enable(visit: Visit) -> Response:
    """Enables it again."""
    user_id = visit.path("user_id")
    await visit.ask("enableServiceUser", path={"user_id": user_id})
    return visit.to(f"/service-users/{user_id}", "service-user-enabled")


async def ask_delete(visit: Visit) -> Response:
    """Asks, and says what it ends."""
    user = await visit.get("getServiceUser", user_id=visit.path("user_id"))
    query = {"user_id": user["id"], "state": "active", "limit": 100}
    live = (await visit.get_if("listApiKeys", query=query)).get("items", [])
    more = [f"{len(live) - _NAMED} more API keys"] if len(live) > _NAMED else []
    at = f"/service-users/{user['id']}"
    return visit.confirm(
        f"Delete “{user['name']}”?",
        ends=[
            *(_told(visit, key) for key in live[:_NAMED]),
            *more,
            "all its access tokens and sessions",
            "all its roles",
        ],
        note="It cannot be undone.",
        label="Delete",
        action=f"{at}/delete",
        back=at,
    )


async def delete(visit: Visit) -> Response:
    """Deletes it."""
    await visit.ask("deleteServiceUser", path={"user_id": visit.path("user_id")})
    return visit.to("/service-users", "service-user-deleted")


def _told(visit: Visit, key: Document) -> str:
    return f"API key {key['name']}, last used {visit.ago(key['last_used_at'])}"


async def _new_form(visit: Visit, status: int = 200) -> Response:
    roles = await visit.get_if("listRoles", query={"limit": 200})
    return visit.render(
        "service_users/new.html",
        status,
        roles=roles.get("items", []),
        expiries=key_fields.EXPIRIES,
        first=key_fields.FIRST,
    )


async def _edit_form(visit: Visit, status: int = 200) -> Response:
    answer = await visit.ask("getServiceUser", path={"user_id": visit.path("user_id")})
    return visit.render("service_users/edit.html", status, user=answer.data, etag=answer.etag)


async def _roles(visit: Visit) -> dict[str, list[str]]:
    """What the members hold in the tenant itself, by user; nothing where they are too many."""
    page = await visit.get_if("listMembers", query={"limit": 200})
    if not page or page["next_cursor"]:
        return {}
    return {one["user_id"]: [role["role_name"] for role in one["roles"]] for one in page["items"]}
