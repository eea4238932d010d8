"""`/webhooks`: where a tenant is told of events, and how that goes."""

from typing import Annotated, Any, Literal

import orjson
from pydantic import Field, StringConstraints
from starlette.responses import Response

from ...domain.webhook_addresses import MAX_URL
from ...domain.webhooks import (
    EXPIRING_DAYS,
    UNUSED_DAYS,
    Delivery,
    DeliveryState,
    Webhook,
)
from ...services.callers import Needs
from ...services.management.webhooks import MadeWebhook, NewWebhook, WebhookManagement
from ..fields import Body, Name, PageQuery
from ..operation import Call, Operation, done, listed, part, shown

Url = Annotated[str, StringConstraints(min_length=1, max_length=MAX_URL)]
Events = Annotated[
    tuple[Annotated[str, StringConstraints(min_length=1, max_length=64)], ...],
    Field(min_length=1, max_length=50),
]
Days = Annotated[int, Field(ge=1, le=3_650)]
ExpiringDays = Annotated[tuple[Days, ...], Field(max_length=10)]


class NewWebhookBody(Body):
    """A webhook to be made in the chosen tenant."""

    name: Name
    url: Url
    events: Events | None = None
    expiring_days: ExpiringDays = EXPIRING_DAYS
    unused_days: Days = UNUSED_DAYS


class WebhookChange(Body):
    """What may be changed of a webhook; what is left out stays."""

    name: Name = ""
    url: Url = ""
    events: Events | None = None
    expiring_days: ExpiringDays = ()
    unused_days: Days = UNUSED_DAYS
    enabled: bool = True


class DeliveryQuery(PageQuery):
    """Which deliveries."""

    state: Literal["pending", "delivered", "dead"] | None = None


def webhook_operations(webhooks: WebhookManagement, base: str) -> list[Operation]:
    """The operations on webhooks. `base` is what the answers' `href` begin with."""

    def view(webhook: Webhook) -> dict[str, Any]:
        return {
            "id": webhook.id,
            "href": f"{base}/webhooks/{webhook.id}",
            "name": webhook.name,
            "url": webhook.url,
            "events": webhook.events,
            "expiring_days": webhook.expiring_days,
            "unused_days": webhook.unused_days,
            "enabled": webhook.disabled_at is None,
            "disabled_at": webhook.disabled_at,
            "disabled_reason": webhook.disabled_reason,
            "old_secret_until": webhook.old_until,
            "tenant_id": webhook.tenant_id,
            "created_at": webhook.created_at,
        }

    def entity(webhook: Webhook) -> Response:
        return shown(view(webhook), version=webhook.version)

    def with_secret(made: MadeWebhook, status: int) -> Response:
        body = {**view(made.webhook), "secret": made.secret}
        at = body["href"] if status == 201 else None
        return shown(body, version=made.webhook.version, status=status, at=at)

    def created(made: MadeWebhook) -> Response:
        return with_secret(made, 201)

    def rotated(made: MadeWebhook) -> Response:
        return with_secret(made, 200)

    async def list_webhooks(call: Call) -> Response:
        query = call.query(PageQuery)
        return listed(await webhooks.own(call.tenant, part(query.limit, query.cursor)), view)

    async def create(call: Call) -> Response:
        new = NewWebhook(**(await call.body(NewWebhookBody)).given())
        return created(await webhooks.create(call.tenant, new, call.once(created)))

    async def read(call: Call) -> Response:
        return entity(await webhooks.get(call.tenant, call.path("webhook_id")))

    async def change(call: Call) -> Response:
        edits = (await call.body(WebhookChange)).given()
        webhook_id = call.path("webhook_id")
        return entity(await webhooks.edit(call.tenant, webhook_id, edits, call.versions()))

    async def delete(call: Call) -> Response:
        await webhooks.delete(call.tenant, call.path("webhook_id"), call.versions())
        return done()

    async def rotate(call: Call) -> Response:
        webhook_id, once = call.path("webhook_id"), call.once(rotated)
        return rotated(await webhooks.rotate_secret(call.tenant, webhook_id, call.versions(), once))

    async def test(call: Call) -> Response:
        delivery = await webhooks.test(call.tenant, call.path("webhook_id"))
        return shown(_delivery(delivery), status=202)

    async def list_deliveries(call: Call) -> Response:
        query = call.query(DeliveryQuery)
        state = None if query.state is None else DeliveryState(query.state)
        page = await webhooks.deliveries(
            call.tenant, call.path("webhook_id"), part(query.limit, query.cursor), state
        )
        return listed(page, _delivery)

    async def retry(call: Call) -> Response:
        names = call.path("webhook_id"), call.path("delivery_id")
        return shown(_delivery(await webhooks.retry(call.tenant, *names)), status=202)

    async def retry_all(call: Call) -> Response:
        count = await webhooks.retry_all(call.tenant, call.path("webhook_id"))
        return shown({"retried": count}, status=202)

    reads, writes = Needs("webhooks:read"), Needs("webhooks:write")
    whole, one = "/webhooks", "/webhooks/{webhook_id}"
    sent = f"{one}/deliveries"
    body = NewWebhookBody
    return [
        Operation("listWebhooks", "GET", whole, reads, list_webhooks, query=PageQuery),
        Operation("createWebhook", "POST", whole, writes, create, body=body, creates=True),
        Operation("getWebhook", "GET", one, reads, read),
        Operation("changeWebhook", "PATCH", one, writes, change, body=WebhookChange),
        Operation("deleteWebhook", "DELETE", one, writes, delete),
        Operation(
            "rotateWebhookSecret", "POST", f"{one}/rotate-secret", writes, rotate, creates=True
        ),
        Operation("testWebhook", "POST", f"{one}/test", writes, test),
        Operation("listDeliveries", "GET", sent, reads, list_deliveries, query=DeliveryQuery),
        Operation("retryDeliveries", "POST", f"{sent}/retry", writes, retry_all),
        Operation("retryDelivery", "POST", f"{sent}/{{delivery_id}}/retry", writes, retry),
    ]


def _delivery(delivery: Delivery) -> dict[str, Any]:
    return {
        "id": delivery.id,
        "event_id": delivery.event_id,
        "type": delivery.type,
        "state": delivery.state,
        "attempts": delivery.attempts,
        "next_attempt_at": delivery.due_at,
        "status": delivery.status,
        "error": delivery.error,
        "created_at": delivery.created_at,
        "ended_at": delivery.ended_at,
        "event": orjson.loads(delivery.payload),
    }
