"""What is to be told to webhooks, and how it went: the outbox."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, ScalarSelect, Select, bindparam, func, select, update

from ..domain.ids import parse_id
from ..domain.webhooks import KEPT_FOR, Delivery, DeliveryState, Webhook
from ..services.ports import Page, Slice, Tried, Waiting
from .paging import page, sliced
from .tables import tenant_tree, tenants, webhook_deliveries, webhooks
from .unit import Unit
from .webhooks import told_now, webhook_of

_PENDING = webhook_deliveries.c.state == DeliveryState.PENDING.value

# A try that another node has begun since has a higher number.
_RECORD = (
    update(webhook_deliveries)
    .where(
        webhook_deliveries.c.id == bindparam("delivery_id"),
        webhook_deliveries.c.attempts == bindparam("attempt"),
        _PENDING,
    )
    .values(
        state=bindparam("new_state"),
        attempts=webhook_deliveries.c.attempts - bindparam("not_begun"),
        due_at=bindparam("next_due_at"),
        status=bindparam("new_status"),
        error=bindparam("new_error"),
        ended_at=bindparam("new_ended_at"),
    )
)


class DeliveryRepository:
    """Implements `ports.Deliveries`."""

    def __init__(self, unit: Unit) -> None:
        self._unit = unit

    async def add(self, deliveries: Sequence[Delivery]) -> None:
        """All in one batch."""
        rows = [
            {
                "id": delivery.id,
                "tenant_id": delivery.tenant_id,
                "webhook_id": delivery.webhook_id,
                "event_id": delivery.event_id,
                "type": delivery.type,
                "payload": delivery.payload,
                "created_at": delivery.created_at,
                "state": delivery.state.value,
                "attempts": delivery.attempts,
                "due_at": delivery.due_at,
                "status": delivery.status,
                "error": delivery.error,
                "ended_at": delivery.ended_at,
                "expires_at": delivery.created_at + KEPT_FOR,
            }
            for delivery in deliveries
        ]
        if rows:
            await self._unit.run(
                self._unit.insert(webhook_deliveries).on_conflict_do_nothing(), rows
            )

    async def get(self, webhook_id: str, delivery_id: str) -> Delivery | None:
        """None for what cannot be an id, too."""
        if parse_id(delivery_id) is None:
            return None
        statement = select(webhook_deliveries).where(
            webhook_deliveries.c.id == delivery_id, webhook_deliveries.c.webhook_id == webhook_id
        )
        row = (await self._unit.run(statement)).first()
        return None if row is None else _delivery(row)

    async def of_webhook(
        self, webhook_id: str, part: Slice, *, state: DeliveryState | None = None
    ) -> Page[Delivery]:
        """Backwards along the index of the webhook, or of its state."""
        statement = select(webhook_deliveries).where(webhook_deliveries.c.webhook_id == webhook_id)
        if state is not None:
            statement = statement.where(webhook_deliveries.c.state == state.value)
        statement = sliced(statement, part, webhook_deliveries.c.id, backwards=True)
        return page((await self._unit.run(statement)).all(), part, _delivery, "id")

    async def retry(
        self, webhook_id: str, at: datetime, *, delivery_id: str | None = None, at_most: int
    ) -> int:
        """The oldest first."""
        dead = select(webhook_deliveries.c.id).where(
            webhook_deliveries.c.webhook_id == webhook_id,
            webhook_deliveries.c.state == DeliveryState.DEAD.value,
        )
        if delivery_id is not None:
            dead = dead.where(webhook_deliveries.c.id == delivery_id)
        chosen = dead.order_by(webhook_deliveries.c.id).limit(at_most).cte("chosen")
        statement = (
            update(webhook_deliveries)
            .where(webhook_deliveries.c.id.in_(select(chosen)))
            .values(
                state=DeliveryState.PENDING.value,
                attempts=0,
                due_at=at,
                ended_at=None,
            )
            .returning(webhook_deliveries.c.id)
        )
        return len((await self._unit.run(statement)).all())

    async def pending(self, webhook_id: str, at_most: int) -> int:
        """Counts no further than that."""
        some = select(webhook_deliveries.c.id).where(
            webhook_deliveries.c.webhook_id == webhook_id, _PENDING
        )
        statement = select(func.count()).select_from(some.limit(at_most).subquery())
        return int((await self._unit.run(statement)).scalar_one())

    async def waiting(self, now: datetime, at_most: int) -> tuple[Waiting, ...]:
        """From webhook to webhook along the index of what is pending.

        However long the queue of one is, the others are found at once.
        """
        values = {"now": now, "at_most": at_most}
        rows = (await self._unit.run(_WAITING, values)).all()
        return tuple(Waiting(row.id, row.tenant_id, row.organisation_id) for row in rows)

    async def claim(
        self, webhook_id: str, now: datetime, *, lease: timedelta, at_most: int
    ) -> tuple[Webhook | None, tuple[Delivery, ...]]:
        """What another node is claiming is passed over."""
        statement = select(webhooks).where(webhooks.c.id == webhook_id, told_now())
        row = (await self._unit.run(statement)).first()
        if row is None:
            return None, ()
        due = (
            select(webhook_deliveries.c.id)
            .where(
                webhook_deliveries.c.webhook_id == webhook_id,
                _PENDING,
                webhook_deliveries.c.due_at <= now,
            )
            .order_by(webhook_deliveries.c.due_at)
            .limit(at_most)
            .with_for_update(skip_locked=True)
            .cte("due")
        )
        claimed = (
            update(webhook_deliveries)
            .where(webhook_deliveries.c.id.in_(select(due)))
            .values(due_at=now + lease, attempts=webhook_deliveries.c.attempts + 1)
            .returning(webhook_deliveries)
        )
        rows = (await self._unit.run(claimed)).all()
        return webhook_of(row), tuple(_delivery(row) for row in rows)

    async def record(self, tried: Sequence[Tried], at: datetime) -> None:
        """In one order on every node, so that two never wait for each other."""
        rows = [
            {
                "delivery_id": one.delivery.id,
                "attempt": one.delivery.attempts,
                "new_state": one.state.value,
                "not_begun": 0 if one.begun else 1,
                "next_due_at": one.due_at,
                "new_status": one.status,
                "new_error": one.error,
                "new_ended_at": None if one.state is DeliveryState.PENDING else at,
            }
            for one in sorted(tried, key=lambda one: one.delivery.id)
        ]
        if rows:
            await self._unit.run(_RECORD, rows)


def _organisation() -> ScalarSelect[Any]:
    """The tenant below the root that the webhook's tenant is, or stands below."""
    above = tenants.alias()
    return (
        select(above.c.id)
        .join(tenant_tree, tenant_tree.c.ancestor_id == above.c.id)
        .where(
            tenant_tree.c.descendant_id == webhooks.c.tenant_id,
            above.c.parent_id.in_(select(tenants.c.id).where(tenants.c.parent_id.is_(None))),
        )
        .scalar_subquery()
    )


def _next_webhook(after: Any) -> ScalarSelect[Any]:
    """The first webhook behind that one that something is pending for."""
    rows = webhook_deliveries.alias()
    statement = select(rows.c.webhook_id).where(rows.c.state == DeliveryState.PENDING.value)
    if after is not None:
        statement = statement.where(rows.c.webhook_id > after)
    return statement.order_by(rows.c.webhook_id).limit(1).scalar_subquery()


def _waiting() -> Select[Any]:
    pending = select(_next_webhook(None).label("id")).cte("pending", recursive=True)
    pending = pending.union_all(
        select(_next_webhook(pending.c.id).label("id")).where(pending.c.id.is_not(None))
    )
    due = (
        select(webhook_deliveries.c.id)
        .where(
            webhook_deliveries.c.webhook_id == webhooks.c.id,
            _PENDING,
            webhook_deliveries.c.due_at <= bindparam("now"),
        )
        .exists()
    )
    found = (
        select(
            webhooks.c.id,
            webhooks.c.tenant_id,
            func.coalesce(_organisation(), webhooks.c.tenant_id).label("organisation_id"),
        )
        .join(pending, pending.c.id == webhooks.c.id)
        .where(due, told_now())
        .cte("found")
    )
    # In turn, and in another order each time: with more than can be served at once, none is
    # left behind.
    of_tenant = func.row_number().over(partition_by=found.c.tenant_id, order_by=func.random())
    ranked = select(found, of_tenant.label("of_tenant")).cte("ranked")
    in_turn = func.row_number().over(
        partition_by=ranked.c.organisation_id, order_by=(ranked.c.of_tenant, func.random())
    )
    return (
        select(ranked.c.id, ranked.c.tenant_id, ranked.c.organisation_id)
        .order_by(in_turn, func.random())
        .limit(bindparam("at_most"))
    )


# Each node asks it once a second. To put it together takes longer than to have it answered.
_WAITING = _waiting()


def _delivery(row: Row[Any]) -> Delivery:
    return Delivery(
        id=row.id,
        tenant_id=row.tenant_id,
        webhook_id=row.webhook_id,
        event_id=row.event_id,
        type=row.type,
        payload=row.payload,
        created_at=row.created_at,
        state=DeliveryState(row.state),
        attempts=row.attempts,
        due_at=row.due_at,
        status=row.status,
        error=row.error,
        ended_at=row.ended_at,
    )
