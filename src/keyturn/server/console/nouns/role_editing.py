"""Roles are made of permissions, and changed."""

from starlette.responses import Response

from ...domain.errors import Refusal
from ..api import Document
from ..forms import Form
from ..frame import View
from ..over import need_own
from ..visit import Visit
from .choosing import MOST
from .roles import by_resource

_ALL, _ONE = "/t/{tenant_id}/roles", "/t/{tenant_id}/roles/{role_id}"


def views() -> list[View]:
    """The pages to do so."""
    return [
        View("GET", f"{_ALL}/new", ask_new, "createRole"),
        View("POST", f"{_ALL}/new", create, "createRole"),
        View("GET", f"{_ONE}/edit", ask_edit, "changeRole"),
        View("POST", f"{_ONE}/edit", edit, "changeRole"),
    ]


async def ask_new(visit: Visit) -> Response:
    """The form of a new one; `like` names one to begin with."""
    return await _new_form(visit)


async def create(visit: Visit) -> Response:
    """Makes it."""
    try:
        made = await visit.ask("createRole", body=_body(visit.form), once=True)
    except Refusal as refusal:
        visit.refused(refusal)
        return await _new_form(visit, 400)
    return visit.to(f"/roles/{made.data['id']}", "role-created")


async def ask_edit(visit: Visit) -> Response:
    """The form of one of the tenant's own."""
    return await _edit_form(visit)


async def edit(visit: Visit) -> Response:
    """Changes it wherever it is held, unless somebody else did meanwhile."""
    form, role_id = visit.form, visit.path("role_id")
    try:
        await visit.ask(
            "changeRole",
            path={"role_id": role_id},
            body=_body(form),
            if_match=form.or_none("etag"),
        )
    except Refusal as refusal:
        visit.refused(refusal)
        return await _edit_form(visit, 400)
    return visit.to(f"/roles/{role_id}", "saved")


def _body(form: Form) -> Document:
    return {
        "name": form.text("name"),
        "description": form.text("description"),
        "permissions": [*form.texts("permissions"), *form.lines("others")],
    }


async def _new_form(visit: Visit, status: int = 200) -> Response:
    like = visit.asked("like")
    role = await visit.get("getRole", role_id=like) if like else {"permissions": []}
    known = await _known(visit, role["permissions"])
    return visit.render("roles/new.html", status, role=role, **known)


async def _edit_form(visit: Visit, status: int = 200) -> Response:
    answer = await visit.ask("getRole", path={"role_id": visit.path("role_id")})
    role = answer.data
    need_own(role, visit.tenant.tenant_id, role["name"], f"/roles/{role['id']}")
    known = await _known(visit, role["permissions"])
    return visit.render("roles/edit.html", status, role=role, etag=answer.etag, **known)


async def _known(visit: Visit, has: list[str]) -> Document:
    """Permissions to tick, as many as a form shows; others of the role are written by name."""
    page = await visit.get("listPermissions", query={"limit": MOST})
    described = {item["name"]: item["description"] for item in page["items"]}
    others = [name for name in has if name not in described]
    return {
        "described": described,
        "resources": by_resource(described),
        "others": others,
        "more": page["next_cursor"] is not None or bool(others),
    }
