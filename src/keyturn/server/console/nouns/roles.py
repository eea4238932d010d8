"""Roles: which permissions each of them has, and who holds them."""

from collections.abc import Iterable
from itertools import groupby

from starlette.responses import Response

from ...domain.errors import Code, Refusal
from ..frame import View
from ..over import need_own
from ..visit import Visit
from .choosing import MOST, Choice

_ALL, _ONE = "/t/{tenant_id}/roles", "/t/{tenant_id}/roles/{role_id}"

#: Columns of one page of the matrix, and members that are named.
_COLUMNS, _NAMED = 12, 10


def views() -> list[View]:
    """Their pages; those that change one are in `role_editing`."""
    return [
        View("GET", _ALL, matrix, "listRoles"),
        View("GET", _ONE, one, "getRole"),
        View("GET", f"{_ONE}/delete", ask_delete, "deleteRole"),
        View("POST", f"{_ONE}/delete", delete, "deleteRole"),
    ]


async def matrix(visit: Visit) -> Response:
    """Permissions by resource, one in each row; roles in the columns."""
    roles = await visit.get("listRoles", query={"cursor": visit.asked("cursor"), "limit": _COLUMNS})
    rows = await visit.get("listPermissions", query={"cursor": visit.asked("rows"), "limit": MOST})
    described = {item["name"]: item["description"] for item in rows["items"]}
    return visit.render(
        "roles/all.html",
        roles=roles,
        described=described,
        resources=by_resource(described),
        next_rows=rows["next_cursor"],
    )


async def one(visit: Visit) -> Response:
    """One role, and the members who hold it."""
    role = await visit.get("getRole", role_id=visit.path("role_id"))
    return visit.render(
        "roles/one.html",
        role=role,
        resources=by_resource(role["permissions"]),
        holders=await _holders(visit, role["id"]),
        named=_NAMED,
        most=MOST,
    )


async def ask_delete(visit: Visit) -> Response:
    """Asks, and says whom it is taken from."""
    return await _ask_delete(visit)


async def delete(visit: Visit) -> Response:
    """Deletes it; with `force`, which the page offers after a first refusal, from who holds it."""
    force = visit.form.flag("force")
    try:
        await visit.ask(
            "deleteRole",
            path={"role_id": visit.path("role_id")},
            query={"force": force},
            if_match=visit.form.or_none("etag"),
        )
    except Refusal as refusal:
        visit.refused(refusal)
        return await _ask_delete(visit, 400, force=refusal.code is Code.CONFLICT)
    return visit.to("/roles", "role-deleted")


def by_resource(names: Iterable[str]) -> list[tuple[str, list[str]]]:
    """Permissions by what stands before their first colon."""

    def resource(name: str) -> str:
        return name.partition(":")[0]

    return [(key, list(group)) for key, group in groupby(sorted(names, key=_place), resource)]


def _place(name: str) -> tuple[str, str]:
    return name.partition(":")[0], name


async def _ask_delete(visit: Visit, status: int = 200, *, force: bool = False) -> Response:
    answer = await visit.ask("getRole", path={"role_id": visit.path("role_id")})
    role, etag = answer.data, answer.etag or ""
    need_own(role, visit.tenant.tenant_id, role["name"], f"/roles/{role['id']}")
    holders = (await _holders(visit, role["id"])).items
    names = [f"the role of {member['name']} ({member['email']})" for member in holders[:_NAMED]]
    if len(holders) > _NAMED:
        names.append(f"that of {len(holders) - _NAMED} members more")
    at = f"/roles/{role['id']}"
    return visit.confirm(
        f"Delete the role “{role['name']}”?",
        ends=[*names, "the role wherever else it is held or offered, also in tenants below"],
        note=(
            "Access tokens of all who hold it end at once. An API key narrowed to it carries"
            " nothing of it any more."
            if force
            else "A role that is held, offered, or to which an API key is narrowed, is not deleted"
            " without asking once more."
        ),
        label="Delete it, and take it from everybody" if force else "Delete",
        action=f"{at}/delete",
        back=at,
        fields={"etag": etag, **({"force": "yes"} if force else {})},
        status=status,
    )


async def _holders(visit: Visit, role_id: str) -> Choice:
    """Who of the first members holds it here."""
    page = await visit.get_if("listMembers", query={"limit": MOST})
    holders = [
        member
        for member in page.get("items", [])
        if any(role["role_id"] == role_id for role in member["roles"])
    ]
    return Choice(holders, page.get("next_cursor") is not None)
