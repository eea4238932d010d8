"""What forms offer to choose from: users of the tenant, and roles that can be given in it."""

from dataclasses import dataclass

from ..api import Document
from ..visit import Visit

#: As many as one page of the API has, and no form shows more.
MOST = 200


@dataclass(frozen=True, slots=True)
class Choice:
    """The first things to choose from; `more`: there are others, which are not shown."""

    items: list[Document]
    more: bool


async def roles_to_give(visit: Visit) -> Choice:
    """The roles that can be given in the tenant; none for who may not see them."""
    page = await visit.get_if("listRoles", query={"limit": MOST})
    return Choice(page.get("items", []), page.get("next_cursor") is not None)


async def users_here(visit: Visit, wanted: str) -> Choice:
    """Service users at home in the tenant, and its members, with `wanted` in name or address."""
    found: dict[str, Document] = {}
    more = False
    for operation_id, its_id in (("listMembers", "user_id"), ("listServiceUsers", "id")):
        page = await visit.get_if(operation_id, query={"limit": MOST, "query": wanted[:128]})
        more = more or page.get("next_cursor") is not None
        for user in page.get("items", []):
            shown = {name: user[name] for name in ("kind", "name", "email", "disabled_at")}
            roles = user.get("roles", [])
            found.setdefault(user[its_id], {**shown, "id": user[its_id], "roles": roles})
    items = sorted(found.values(), key=lambda user: (user["name"].casefold(), user["id"]))
    return Choice(items[:MOST], more or len(items) > MOST)
