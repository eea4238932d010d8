"""Who the person is, and the parts of the account."""

from starlette.responses import Response

from ...domain.errors import Refusal
from ...services.callers import Callers, OwnCaller
from ..api import Document, answer_of
from ..frame import View
from ..nouns.tenants import tenants_of
from ..visit import Visit
from .tenants import can_leave, from_above

#: Tenants that the page shows; all of them are where one is chosen.
_SHOWN = 50


def views(callers: Callers) -> list[View]:
    """Its page."""

    async def account(visit: Visit) -> Response:
        assert visit.arrival is not None  # noqa: S101 - the frame lets nobody else in
        caller = await callers.own(visit.arrival)
        me = await visit.get("me", query={"limit": _SHOWN, "held": True})
        tenants = tenants_of(me["roles"])
        home_id = caller.record.home_tenant_id
        home = next((tenant["name"] for tenant in tenants if tenant["id"] == home_id), home_id)
        return visit.render(
            "account/overview.html",
            me=me,
            name=(await _myself(visit, caller)).get("name", ""),
            home=home,
            tenants=tenants,
            left={tenant["id"]: can_leave(me["roles"], tenant["id"]) for tenant in tenants},
            sources={tenant["id"]: from_above(me["roles"], tenant["id"]) for tenant in tenants},
            more=me.get("next_after"),
            offers=(await visit.get("listMyInvitations"))["items"],
        )

    return [View("GET", "/account", account)]


async def _myself(visit: Visit, caller: OwnCaller) -> Document:
    """As the members at home are listed; an empty document for who may not see them."""
    try:
        response = await visit.operations.ask(
            "getMember",
            visit.arrival,
            address=visit.address,
            tenant_id=caller.record.home_tenant_id,
            path={"user_id": caller.record.user_id},
        )
    except Refusal:
        return {}
    return answer_of(response).data
