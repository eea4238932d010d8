"""How a person leaves a tenant."""

from starlette.responses import Response

from ...domain.errors import Code, Refusal
from ..api import Document
from ..frame import View
from ..nouns.tenants import tenants_of
from ..over import Over
from ..visit import Visit

# Not `tenant_id`: nobody looks at that tenant here.
_LEAVE = "/account/tenants/{left_id}/leave"


def views() -> list[View]:
    """Its pages."""
    return [View("GET", _LEAVE, ask_leave), View("POST", _LEAVE, leave)]


async def ask_leave(visit: Visit) -> Response:
    """Asks whether to."""
    left_id = visit.path("left_id")
    roles = (await visit.get("me", query={"held": True}))["roles"]
    tenants = tenants_of([role for role in roles if role["held_here"]])
    found = next((tenant for tenant in tenants if tenant["id"] == left_id), None)
    reached = next((role["tenant_name"] for role in roles if role["tenant_id"] == left_id), "")
    if reached and found is None:
        raise _above(reached)
    name = found["name"] if found else "this tenant"
    held = ", ".join(found["roles"]) if found else "all that you hold there"
    return visit.confirm(
        f"Leave {name}?",
        ends=[f"your roles there: {held}", "your tokens for it, within a second"],
        note="What becomes of your service users and API keys there says the tenant's policy."
        " To come back, you must be invited again.",
        label="Leave",
        action=f"/account/tenants/{left_id}/leave",
        back="/account",
    )


async def leave(visit: Visit) -> Response:
    """Leaves it, unless nobody else administers it."""
    try:
        await visit.ask("leaveTenant", path={"tenant_id": visit.path("left_id")})
    except Refusal as refusal:
        if refusal.code is Code.NOT_FOUND:
            raise _above("this tenant") from None
        visit.refused(refusal)
        response = await ask_leave(visit)
        response.status_code = 400
        return response
    return visit.to("/account", "tenant-left")


def can_leave(roles: list[Document], tenant_id: str) -> bool:
    """Whether there is a role in the tenant itself. `roles` are of `/users/me`, with `held`."""
    return any(role["held_here"] for role in roles if role["tenant_id"] == tenant_id)


def from_above(roles: list[Document], tenant_id: str) -> dict[str, str]:
    """The roles in a tenant that come from above, by name, each with the tenant that it is held in.

    Where several could be meant, or none of them is listed, it is `a tenant above`.
    """
    found: dict[str, str] = {}
    for role in roles:
        if role["tenant_id"] == tenant_id and not role["held_here"]:
            held = [r for r in roles if r["held_here"] and r["role_id"] == role["role_id"]]
            where = held[0]["tenant_name"] if len(held) == 1 else "a tenant above"
            found[role["role_name"]] = where
    return found


def _above(name: str) -> Over:
    return Over(
        f"There is nothing to leave in {name}",
        "You hold no role in this tenant itself: what you may do there comes from a tenant above"
        " it. Leave that one, or ask who administers it.",
        "/account",
    )
