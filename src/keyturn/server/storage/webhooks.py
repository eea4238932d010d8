"""Webhooks: the addresses that tenants have told of events."""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Row, delete, insert, or_, select, update

from ..domain.errors import not_found
from ..domain.ids import parse_id
from ..domain.webhooks import Disabled, Webhook
from ..services.ports import Page, Slice
from .paging import page, sliced
from .tables import tenant_tree, tenants, webhooks
from .unit import Unit, Values


class WebhookRepository:
    """Implements `ports.Webhooks`."""

    def __init__(self, unit: Unit) -> None:
        self._unit = unit

    async def add(self, webhook: Webhook) -> None:
        """As it is."""
        row = {
            "id": webhook.id,
            "tenant_id": webhook.tenant_id,
            "created_at": webhook.created_at,
            "checked_at": webhook.checked_at,
            "version": webhook.version,
            **_changeable(webhook),
        }
        await self._unit.run(insert(webhooks), row)

    async def get(self, tenant_id: str, webhook_id: str) -> Webhook | None:
        """None for what cannot be an id, too."""
        if parse_id(webhook_id) is None:
            return None
        statement = select(webhooks).where(
            webhooks.c.id == webhook_id, webhooks.c.tenant_id == tenant_id
        )
        row = (await self._unit.run(statement)).first()
        return None if row is None else webhook_of(row)

    async def in_tenant(self, tenant_id: str, part: Slice) -> Page[Webhook]:
        """By id."""
        statement = select(webhooks).where(webhooks.c.tenant_id == tenant_id)
        rows = (await self._unit.run(sliced(statement, part, webhooks.c.id))).all()
        return page(rows, part, webhook_of, "id")

    async def save(self, webhook: Webhook) -> Webhook:
        """Raises Refusal `not_found` when it is gone."""
        statement = (
            update(webhooks)
            .where(webhooks.c.id == webhook.id, webhooks.c.tenant_id == webhook.tenant_id)
            .values(version=webhooks.c.version + 1, **_changeable(webhook))
            .returning(webhooks)
        )
        row = (await self._unit.run(statement)).first()
        if row is None:
            raise not_found("the webhook is gone")
        return webhook_of(row)

    async def remove(self, tenant_id: str, webhook_id: str) -> None:
        """The database deletes its deliveries."""
        await self._unit.run(
            delete(webhooks).where(webhooks.c.id == webhook_id, webhooks.c.tenant_id == tenant_id)
        )

    async def disable(self, webhook_id: str, at: datetime, reason: Disabled) -> bool:
        """It has another version then."""
        statement = (
            update(webhooks)
            .where(webhooks.c.id == webhook_id, webhooks.c.disabled_at.is_(None))
            .values(disabled_at=at, disabled_reason=reason.value, version=webhooks.c.version + 1)
        )
        return (await self._unit.run(statement)).rowcount > 0

    async def take_unchecked(self, now: datetime, older_than: timedelta) -> Webhook | None:
        """What another node is taking is passed over."""
        free = (
            select(webhooks.c.id)
            .where(
                told_now(),
                or_(webhooks.c.checked_at.is_(None), webhooks.c.checked_at < now - older_than),
            )
            .order_by(webhooks.c.checked_at, webhooks.c.id)
            .limit(1)
            .with_for_update(skip_locked=True, of=webhooks)
            .cte("free")
        )
        statement = (
            update(webhooks)
            .where(webhooks.c.id.in_(select(free)))
            .values(checked_at=now)
            .returning(webhooks)
        )
        row = (await self._unit.run(statement)).first()
        return None if row is None else webhook_of(row)

    async def all_after(self, webhook_id: str | None, limit: int) -> tuple[Webhook, ...]:
        """There are few: ten of a tenant, at most."""
        statement = select(webhooks).order_by(webhooks.c.id).limit(limit)
        if webhook_id is not None:
            statement = statement.where(webhooks.c.id > webhook_id)
        return tuple(webhook_of(row) for row in await self._unit.run(statement))

    async def reseal(self, webhook: Webhook) -> None:
        """Nothing but the seals changes; nothing does when it was changed meanwhile."""
        await self._unit.run(
            update(webhooks)
            .where(webhooks.c.id == webhook.id, webhooks.c.version == webhook.version)
            .values(secret=webhook.secret, old_secret=webhook.old_secret)
        )


def told_now() -> ColumnElement[bool]:
    """Which webhooks are told of events now: enabled ones, of tenants that are not suspended."""
    suspended = (
        select(tenants.c.id)
        .join(tenant_tree, tenant_tree.c.ancestor_id == tenants.c.id)
        .where(
            tenant_tree.c.descendant_id == webhooks.c.tenant_id,
            tenants.c.suspended_at.is_not(None),
        )
        .exists()
    )
    return webhooks.c.disabled_at.is_(None) & ~suspended


def webhook_of(row: Row[Any]) -> Webhook:
    """A row as a record."""
    reason = row.disabled_reason
    return Webhook(
        id=row.id,
        tenant_id=row.tenant_id,
        name=row.name,
        url=row.url,
        created_at=row.created_at,
        secret=row.secret,
        events=None if row.events is None else tuple(row.events),
        expiring_days=tuple(row.expiring_days),
        unused_days=row.unused_days,
        old_secret=row.old_secret,
        old_until=row.old_until,
        disabled_at=row.disabled_at,
        disabled_reason=None if reason is None else Disabled(reason),
        checked_at=row.checked_at,
        version=row.version,
    )


def _changeable(webhook: Webhook) -> Values:
    return {
        "name": webhook.name,
        "url": webhook.url,
        "events": None if webhook.events is None else list(webhook.events),
        "expiring_days": list(webhook.expiring_days),
        "unused_days": webhook.unused_days,
        "secret": webhook.secret,
        "old_secret": webhook.old_secret,
        "old_until": webhook.old_until,
        "disabled_at": webhook.disabled_at,
        "disabled_reason": webhook.disabled_reason and webhook.disabled_reason.value,
    }
