"""Service users: who programs are."""

from starlette.responses import Response

from ...domain.errors import Refusal
from ..frame import View
from ..visit import Visit

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
    query = {"cursor": visit.asked("cursor"), "below": below}
    page = await visit.get("listServiceUsers", query=query)
    return visit.render("service_users/all.html", page=page, below=below)


async def ask_new(visit: Visit) -> Response:
    """The form of a new one."""
    return await _new_form(visit)


async def create(visit: Visit) -> Response:
    """Makes it."""
    form = visit.form
    body = {
        "name": form.text("name"),
        "description": form.text("description"),
        "role_id": form.or_none("role_id"),
    }
    try:
        made = await visit.ask("createServiceUser", body=body, once=True)
    except Refusal as refusal:
        visit.refused(refusal)
        return await _new_form(visit, 400)
    return visit.to(f"/service-users/{made.data['id']}", "service-user-created")


async def one(visit: Visit) -> Response:
    """One, with its keys."""
    user = await visit.get("getServiceUser", user_id=visit.path("user_id"))
    keys = await visit.get_if("listApiKeys", query={"user_id": user["id"]})
    return visit.render("service_users/one.html", user=user, keys=keys)


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
    return visit.confirm(
        f"Disable {user['name']}?",
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
    keys = await visit.get_if("listApiKeys", query={"user_id": user["id"]})
    live = [key for key in keys.get("items", []) if key["state"] == "active"]
    at = f"/service-users/{user['id']}"
    return visit.confirm(
        f"Delete {user['name']}?",
        ends=[
            *(f"API key {key['name']}, last used {visit.ago(key['last_used_at'])}" for key in live),
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


async def _new_form(visit: Visit, status: int = 200) -> Response:
    roles = await visit.get_if("listRoles", query={"limit": 200})
    return visit.render("service_users/new.html", status, roles=roles.get("items", []))


async def _edit_form(visit: Visit, status: int = 200) -> Response:
    answer = await visit.ask("getServiceUser", path={"user_id": visit.path("user_id")})
    return visit.render("service_users/edit.html", status, user=answer.data, etag=answer.etag)
