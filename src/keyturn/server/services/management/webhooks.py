"""Webhooks of a tenant: where it is told of events, and how that goes."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from ...domain.errors import conflict, invalid_request, not_found
from ...domain.events import EVENT_TYPES, TEST, Event
from ...domain.ids import new_id
from ...domain.trail import Json
from ...domain.webhook_addresses import target_of
from ...domain.webhooks import (
    EXPIRING_DAYS,
    MAX_WEBHOOKS,
    OVERLAP,
    UNUSED_DAYS,
    Delivery,
    DeliveryState,
    Disabled,
    Webhook,
)
from ..callers import TenantCaller
from ..ports import Page, Slice, Store, Transaction, WebhookSecrets, WebhookSender
from .changes import Change, Changes, Once, Versions, need_version

#: Deliveries that wait, at most, after dead ones were made pending all at once: the address may be
#: another one by now, and its receiver did not ask for what others did not take.
MAX_RETRIED = 100


@dataclass(frozen=True, slots=True)
class NewWebhook:
    """A webhook to be made. `events` None: of all types."""

    name: str
    url: str
    events: tuple[str, ...] | None = None
    expiring_days: tuple[int, ...] = EXPIRING_DAYS
    unused_days: int = UNUSED_DAYS


@dataclass(frozen=True, slots=True)
class MadeWebhook:
    """A webhook with its new secret, which is shown this once."""

    webhook: Webhook
    secret: str = field(repr=False)


class WebhookManagement:
    """Manages the webhooks of the caller's tenant, and no others."""

    def __init__(
        self,
        store: Store,
        changes: Changes,
        secrets: WebhookSecrets,
        sender: WebhookSender,
        wake: Callable[[], None] = lambda: None,
    ) -> None:
        """`wake` is called when something is due for which nobody should wait."""
        self._store = store
        self._changes = changes
        self._secrets = secrets
        self._sender = sender
        self._wake = wake

    async def own(self, caller: TenantCaller, part: Slice) -> Page[Webhook]:
        """Those of the caller's tenant, the first one first."""
        async with self._store.transaction() as tx:
            return await tx.webhooks.in_tenant(caller.tenant_id, part)

    async def get(self, caller: TenantCaller, webhook_id: str) -> Webhook:
        """Raises Refusal `not_found`."""
        async with self._store.transaction() as tx:
            return await _owned(tx, caller, webhook_id)

    async def create(
        self, caller: TenantCaller, new: NewWebhook, once: Once[MadeWebhook] | None = None
    ) -> MadeWebhook:
        """Makes one, with a secret.

        Raises Refusal `invalid_request` for an address that may not be called and for events that
        there are not, `conflict` when there are `MAX_WEBHOOKS`; Unavailable when the host cannot be
        looked up now.
        """
        await self._sender.check(new.url, caller.tenant_id)
        async with self._changes.begin(caller.actor, caller.tenant_id, once) as change:
            page = await change.tx.webhooks.in_tenant(caller.tenant_id, Slice(MAX_WEBHOOKS))
            if len(page.items) >= MAX_WEBHOOKS:
                raise conflict(f"A tenant has at most {MAX_WEBHOOKS} webhooks.")
            webhook_id = new_id()
            text, sealed = self._secrets.new(webhook_id)
            webhook = Webhook(
                webhook_id,
                caller.tenant_id,
                new.name,
                new.url,
                change.now,
                sealed,
                events=_known(new.events),
                expiring_days=_descending(new.expiring_days),
                unused_days=new.unused_days,
            )
            await change.tx.webhooks.add(webhook)
            change.note("webhook.created", webhook.id, after=_told(webhook))
            return change.made(MadeWebhook(webhook, text))

    async def edit(
        self, caller: TenantCaller, webhook_id: str, edits: dict[str, Any], seen: Versions
    ) -> Webhook:
        """Changes fields of `NewWebhook`, and `enabled`: what waited while it was disabled goes on.

        Raises Refusal `not_found`, `stale`, `conflict` for one without a secret that is to be
        enabled, and `invalid_request` as `create`.
        """
        if "url" in edits:
            await self._sender.check(edits["url"], caller.tenant_id)
        async with self._changes.begin(caller.actor, caller.tenant_id) as change:
            webhook = await _changeable(change, caller, webhook_id, seen)
            edited = _edited(webhook, dict(edits), change.now)
            if edited.disabled_at is None and edited.secret is None:
                raise conflict("The webhook needs a new secret first (rotate-secret).")
            if edited == webhook:
                return webhook
            saved = await change.tx.webhooks.save(edited)
            change.note("webhook.changed", webhook_id, before=_told(webhook), after=_told(saved))
            return saved

    async def delete(self, caller: TenantCaller, webhook_id: str, seen: Versions) -> None:
        """Removes one with all its deliveries. Raises Refusal `not_found`, `stale`."""
        async with self._changes.begin(caller.actor, caller.tenant_id) as change:
            webhook = await _changeable(change, caller, webhook_id, seen)
            await change.tx.webhooks.remove(caller.tenant_id, webhook_id)
            change.note("webhook.deleted", webhook_id, before=_told(webhook))

    async def rotate_secret(
        self,
        caller: TenantCaller,
        webhook_id: str,
        seen: Versions,
        once: Once[MadeWebhook] | None = None,
    ) -> MadeWebhook:
        """A new secret. For a day the one before signs beside it, so that nothing is missed.

        Raises Refusal `not_found`, `stale`.
        """
        async with self._changes.begin(caller.actor, caller.tenant_id, once) as change:
            webhook = await _changeable(change, caller, webhook_id, seen)
            text, sealed = self._secrets.new(webhook.id)
            until = None if webhook.secret is None else change.now + OVERLAP
            changed = replace(webhook, secret=sealed, old_secret=webhook.secret, old_until=until)
            saved = await change.tx.webhooks.save(changed)
            after: dict[str, Json] = {
                "old_secret_until": None if until is None else until.isoformat()
            }
            change.note("webhook.secret_rotated", webhook_id, after=after)
            return change.made(MadeWebhook(saved, text))

    async def test(self, caller: TenantCaller, webhook_id: str) -> Delivery:
        """Has a `webhook.test` delivered, whatever events it is told of.

        Raises Refusal `not_found`, and `conflict` for one that is disabled.
        """
        async with self._changes.begin(caller.actor, caller.tenant_id) as change:
            webhook = await _changeable(change, caller, webhook_id, None)
            if webhook.disabled_at is not None:
                raise conflict("The webhook is disabled.")
            data: dict[str, Json] = {
                "webhook": {"id": webhook.id, "name": webhook.name},
                "actor": {"user_id": caller.user_id, "api_key_id": caller.token.key_id},
                "details": {},
            }
            event = Event(new_id(), TEST, change.now, caller.tenant_id, data)
            delivery = Delivery.of(event, webhook, change.now)
            await change.tx.deliveries.add([delivery])
            change.note("webhook.tested", webhook_id)
        self._wake()
        return delivery

    async def deliveries(
        self, caller: TenantCaller, webhook_id: str, part: Slice, state: DeliveryState | None
    ) -> Page[Delivery]:
        """What it was told, or is to be, the newest first. Raises Refusal `not_found`."""
        async with self._store.transaction() as tx:
            webhook = await _owned(tx, caller, webhook_id)
            return await tx.deliveries.of_webhook(webhook.id, part, state=state)

    async def retry(self, caller: TenantCaller, webhook_id: str, delivery_id: str) -> Delivery:
        """Has a dead delivery tried again, as if it was new.

        Raises Refusal `not_found`, and `conflict` for one that is not dead.
        """
        async with self._changes.begin(caller.actor, caller.tenant_id) as change:
            webhook = await _changeable(change, caller, webhook_id, None)
            tried = change.tx.deliveries
            if await tried.get(webhook.id, delivery_id) is None:
                raise not_found("no such delivery of the webhook")
            if not await tried.retry(webhook.id, change.now, delivery_id=delivery_id, at_most=1):
                raise conflict("Only a dead delivery is tried again.")
            delivery = await tried.get(webhook.id, delivery_id)
            assert delivery is not None  # noqa: S101 - it was there a moment ago, and locked
            change.note("webhook.retried", webhook_id, deliveries=1)
        self._wake()
        return delivery

    async def retry_all(self, caller: TenantCaller, webhook_id: str) -> int:
        """The same for all dead ones, the oldest first; how many.

        No more than that `MAX_RETRIED` are pending then. Raises Refusal `not_found`, and `conflict`
        when they are already.
        """
        async with self._changes.begin(caller.actor, caller.tenant_id) as change:
            webhook = await _changeable(change, caller, webhook_id, None)
            room = MAX_RETRIED - await change.tx.deliveries.pending(webhook.id, MAX_RETRIED)
            if room <= 0:
                raise conflict(f"{MAX_RETRIED} deliveries are pending already: wait for those.")
            count = await change.tx.deliveries.retry(webhook.id, change.now, at_most=room)
            if count:
                change.note("webhook.retried", webhook_id, deliveries=count)
        self._wake()
        return count


async def _owned(tx: Transaction, caller: TenantCaller, webhook_id: str) -> Webhook:
    webhook = await tx.webhooks.get(caller.tenant_id, webhook_id)
    if webhook is None:
        raise not_found("no such webhook of the caller's tenant")
    return webhook


async def _changeable(
    change: Change, caller: TenantCaller, webhook_id: str, seen: Versions
) -> Webhook:
    """One of the caller's tenant, which nobody else changes meanwhile: the tenant is locked."""
    webhook = await _owned(change.tx, caller, webhook_id)
    need_version(seen, webhook.version)
    return webhook


def _edited(webhook: Webhook, edits: dict[str, Any], now: datetime) -> Webhook:
    enabled = edits.pop("enabled", webhook.disabled_at is None)
    if "events" in edits:
        edits["events"] = _known(edits["events"])
    if "expiring_days" in edits:
        edits["expiring_days"] = _descending(edits["expiring_days"])
    edited = replace(webhook, **edits)
    if enabled == (webhook.disabled_at is None):
        return edited
    if enabled:
        return replace(edited, disabled_at=None, disabled_reason=None)
    return replace(edited, disabled_at=now, disabled_reason=Disabled.REQUEST)


def _known(events: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """In the order of the list that there is. Raises Refusal `invalid_request` for others."""
    if events is None:
        return None
    for index, one in enumerate(events):
        if one not in EVENT_TYPES:
            raise invalid_request("There are no such events.", field=f"events.{index}")
    return tuple(one for one in EVENT_TYPES if one in events)


def _descending(days: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(sorted(set(days), reverse=True))


def _told(webhook: Webhook) -> dict[str, Json]:
    """For the audit trail. Of the address its host: a path may be a receiver's secret."""
    return {
        "name": webhook.name,
        "host": target_of(webhook.url).authority,
        "events": webhook.events,
        "expiring_days": webhook.expiring_days,
        "unused_days": webhook.unused_days,
        "enabled": webhook.disabled_at is None,
    }
