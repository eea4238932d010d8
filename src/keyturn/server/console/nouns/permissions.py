"""Permissions: what roles are made of."""

from starlette.responses import Response

from ...domain.errors import Refusal
from ..frame import View
from ..visit import Visit

_ALL, _ONE = "/t/{tenant_id}/permissions", "/t/{tenant_id}/permissions/{name}"


def views() -> list[View]:
    """Their pages."""
    return [
        View("GET", _ALL, everything, "listPermissions"),
        View("GET", f"{_ALL}/register", ask_register, "registerPermission"),
        View("POST", f"{_ALL}/register", register, "registerPermission"),
        View("GET", f"{_ONE}/delete", ask_delete, "deletePermission"),
        View("POST", f"{_ONE}/delete", delete, "deletePermission"),
    ]


async def everything(visit: Visit) -> Response:
    """Keyturn's own, and those that the tenant and the ones above registered."""
    query = {"cursor": visit.asked("cursor")}
    page = await visit.get("listPermissions", query=query)
    return visit.render("permissions/all.html", page=page)


async def ask_register(visit: Visit) -> Response:
    """The form: of a new one, or to describe one anew."""
    return _form(visit)


async def register(visit: Visit) -> Response:
    """Registers it, or describes it anew."""
    form = visit.form
    name, body = form.text("name"), {"description": form.text("description")}
    try:
        await visit.ask("registerPermission", path={"name": name}, body=body)
    except Refusal as refusal:
        visit.refused(refusal)
        return _form(visit, 400)
    return visit.to("/permissions", "permission-registered")


async def ask_delete(visit: Visit) -> Response:
    """Asks, and says what it ends."""
    return _ask_delete(visit)


async def delete(visit: Visit) -> Response:
    """Deletes it, unless a role has it."""
    try:
        await visit.ask("deletePermission", path={"name": visit.path("name")})
    except Refusal as refusal:
        visit.refused(refusal)
        return _ask_delete(visit, 400)
    return visit.to("/permissions", "permission-deleted")


def _form(visit: Visit, status: int = 200) -> Response:
    return visit.render(
        "permissions/register.html",
        status,
        name=visit.asked("name"),
        description=visit.asked("description"),
    )


def _ask_delete(visit: Visit, status: int = 200) -> Response:
    name = visit.path("name")
    return visit.confirm(
        f"Delete the permission {name}?",
        ends=["that roles of this tenant and of those below can be made of it"],
        note="Nobody loses anything by it: while a role has the permission, it stays.",
        label="Delete",
        action=f"/permissions/{name}/delete",
        back="/permissions",
        status=status,
    )
