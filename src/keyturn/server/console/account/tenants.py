"""How a person leaves a tenant."""

from starlette.responses import Response

from ...domain.errors import Code, Refusal
from ..forms import Faults
from ..frame import View
from ..nouns.tenants import tenants_of
from ..visit import Visit

# Not `tenant_id`: nobody looks at that tenant here.
_LEAVE = "/account/tenants/{left_id}/leave"
_ABOVE = "You hold no role in this tenant itself: what you may do here comes from one above it."


def views() -> list[View]:
    """Its pages."""
    return [View("GET", _LEAVE, ask_leave), View("POST", _LEAVE, leave)]


async def ask_leave(visit: Visit) -> Response:
    """Asks whether to."""
    left_id = visit.path("left_id")
    me = await visit.get("me", query={"limit": 200})
    tenants = tenants_of(me["roles"])
    found = next((tenant for tenant in tenants if tenant["id"] == left_id), None)
    name = found["name"] if found else "this tenant"
    roles = ", ".join(found["roles"]) if found else "all that you hold there"
    return visit.confirm(
        f"Leave {name}?",
        ends=[f"your roles there: {roles}", "your tokens for it, within a second"],
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
            visit.faults = Faults(_ABOVE)
        else:
            visit.refused(refusal)
        response = await ask_leave(visit)
        response.status_code = 400
        return response
    return visit.to("/account", "tenant-left")
