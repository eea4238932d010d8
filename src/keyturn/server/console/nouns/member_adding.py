"""Roles are given to users of the tenant, and to its members one more."""

from starlette.responses import Response

from ...domain.errors import Code, Refusal
from ..api import Document
from ..frame import View
from ..visit import Visit
from .choosing import roles_to_give, users_here

_ADD = "/t/{tenant_id}/members/add"


def views() -> list[View]:
    """The pages to do so."""
    return [View("GET", _ADD, ask, "addMember"), View("POST", _ADD, add, "addMember")]


async def ask(visit: Visit) -> Response:
    """To whom; and then which role."""
    user_id = visit.asked("user_id")
    if user_id:
        return await _form(visit, user_id)
    found = await users_here(visit, visit.asked("query")[:128])
    return visit.render("members/choose.html", found=found)


async def add(visit: Visit) -> Response:
    """Gives the role."""
    form = visit.form
    user_id = form.text("user_id")
    body = {"user_id": user_id, "role_id": form.text("role_id")}
    try:
        member = await visit.ask("addMember", body=body, once=True)
    except Refusal as refusal:
        visit.refused(refusal)
        return await _form(visit, user_id, 400)
    return visit.to(f"/members/{member.data['user_id']}", "role-given")


async def _form(visit: Visit, user_id: str, status: int = 200) -> Response:
    return visit.render(
        "members/add.html",
        status,
        user_id=user_id,
        user=await _known(visit, user_id),
        roles=await roles_to_give(visit),
    )


async def _known(visit: Visit, user_id: str) -> Document:
    """The user, by what can be read; empty for who is at home here and has no role.

    A user whom nobody can look up by id is still given a role: the operation knows who it is.
    """
    for operation_id in ("getMember", "getServiceUser"):
        try:
            return await visit.get_if(operation_id, user_id=user_id)
        except Refusal as refusal:
            if refusal.code not in (Code.NOT_FOUND, Code.INVALID_REQUEST):
                raise
    return {}
