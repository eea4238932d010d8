"""One webhook, and what it was told: deliveries, tries and tests."""

from starlette.responses import Response

from ...domain.webhooks import DeliveryState
from ..frame import View
from ..visit import Visit

_ONE = "/t/{tenant_id}/webhooks/{webhook_id}"

#: Deliveries on one page.
_SHOWN = 25
#: Why a receiver answered nothing, in words.
_ERRORS = {
    "timeout": "no answer in time",
    "address_not_allowed": "the address is not allowed",
    "connection_failed": "could not connect",
    "connection_lost": "the connection was lost",
    "tls_failed": "TLS failed: look at its certificate",
    "secret_unreadable": "its secret can't be read: make a new one",
    "name_lookup_failed": "the host's name is not known",
    "answer_unreadable": "the answer is no HTTP",
    "failed": "failed",
}


def views() -> list[View]:
    """Their pages: those below a webhook's own address that are no form of it."""
    return [
        View("GET", _ONE, one, "getWebhook"),
        View("POST", f"{_ONE}/test", test, "testWebhook"),
        View("POST", f"{_ONE}/retry", retry_all, "retryDeliveries"),
        View("POST", f"{_ONE}/deliveries/{{delivery_id}}/retry", retry, "retryDelivery"),
    ]


async def one(visit: Visit) -> Response:
    """One webhook with its deliveries, all or those in one state."""
    webhook_id = visit.path("webhook_id")
    state = visit.asked("state")
    query = {"limit": _SHOWN, "state": state, "cursor": visit.asked("cursor")}
    webhook = await visit.get("getWebhook", webhook_id=webhook_id)
    deliveries = await visit.get("listDeliveries", query=query, webhook_id=webhook_id)
    query = {"limit": 1, "state": "dead"}
    dead = await visit.get("listDeliveries", query=query, webhook_id=webhook_id)
    return visit.render(
        "webhooks/one.html",
        webhook=webhook,
        deliveries=deliveries,
        has_dead=bool(dead["items"]),
        # The first try is made in a moment: the list looks again until it came to something.
        soon=any(
            item["state"] == DeliveryState.PENDING and item["status"] is item["error"] is None
            for item in deliveries["items"]
        ),
        state=state,
        states=list(DeliveryState),
        errors=_ERRORS,
    )


async def test(visit: Visit) -> Response:
    """Has the webhook told of a test."""
    await visit.ask("testWebhook", path={"webhook_id": visit.path("webhook_id")})
    return visit.to(f"/webhooks/{visit.path('webhook_id')}", "webhook-tested")


async def retry(visit: Visit) -> Response:
    """Has one dead delivery tried again."""
    names = {"webhook_id": visit.path("webhook_id"), "delivery_id": visit.path("delivery_id")}
    await visit.ask("retryDelivery", path=names)
    return visit.to(f"/webhooks/{names['webhook_id']}", "delivery-retried")


async def retry_all(visit: Visit) -> Response:
    """Has all dead ones tried again, as many as there is room for."""
    webhook_id = visit.path("webhook_id")
    await visit.ask("retryDeliveries", path={"webhook_id": webhook_id})
    return visit.to(f"/webhooks/{webhook_id}", "deliveries-retried")
