"""The audit trail: rows are added and never changed (promise P9)."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import Row, bindparam, func, insert, select

from ..domain.ids import new_id, parse_id
from ..domain.trail import Actor, AuditEvent, Json
from ..services.ports import AuditFilter, Page, Slice
from .columns import db_now
from .outbox import tell
from .paging import page, sliced
from .tables import audit_events
from .unit import Unit

_ADD = insert(audit_events).values(
    at=func.coalesce(bindparam("happened_at", type_=audit_events.c.at.type), db_now())
)


class AuditRepository:
    """Implements `ports.AuditLog`."""

    def __init__(self, unit: Unit) -> None:
        self._unit = unit

    async def add(self, events: Sequence[AuditEvent]) -> None:
        """All in one batch; with what their tenants' webhooks are to be told."""
        events = [event if event.id else replace(event, id=new_id()) for event in events]
        rows = [
            {
                "id": event.id,
                "happened_at": event.at,
                "action": event.action,
                "outcome": event.outcome,
                "user_id": event.actor.user_id,
                "key_id": event.actor.key_id,
                "session_id": event.actor.session_id,
                "address": event.actor.address,
                "tenant_id": event.tenant_id,
                "target": event.target,
                "data": _data(event),
            }
            for event in events
        ]
        if rows:
            await self._unit.run(_ADD, rows)
            await tell(self._unit, events)

    async def newest(self, before: datetime) -> AuditEvent | None:
        """The end of an index."""
        last = select(audit_events).where(audit_events.c.at < before)
        row = (await self._unit.run(last.order_by(audit_events.c.at.desc()).limit(1))).first()
        return None if row is None else _event(row)

    async def has(self, event_id: str) -> bool:
        """By the primary key."""
        if parse_id(event_id) is None:
            return False
        wanted = select(audit_events.c.id).where(audit_events.c.id == event_id)
        return (await self._unit.run(wanted)).first() is not None

    async def everything(self, after: str | None, at_most: int) -> Sequence[AuditEvent]:
        """Along the primary key."""
        statement = select(audit_events).order_by(audit_events.c.id).limit(at_most)
        if after is not None:
            statement = statement.where(audit_events.c.id > after)
        return [_event(row) for row in (await self._unit.run(statement)).all()]

    async def events(self, tenant_id: str, wanted: AuditFilter, part: Slice) -> Page[AuditEvent]:
        """Read backwards along the index of a column that is filtered by, or the tenant's."""
        statement = select(audit_events).where(audit_events.c.tenant_id == tenant_id)
        for column, value in (
            (audit_events.c.user_id, wanted.user_id),
            (audit_events.c.action, wanted.action),
            (audit_events.c.target, wanted.target),
        ):
            if value is not None:
                statement = statement.where(column == value)
        if wanted.since is not None:
            statement = statement.where(audit_events.c.at >= wanted.since)
        if wanted.until is not None:
            statement = statement.where(audit_events.c.at < wanted.until)
        statement = sliced(statement, part, audit_events.c.at, audit_events.c.id, backwards=True)
        return page((await self._unit.run(statement)).all(), part, _event, "at", "id")


def _data(event: AuditEvent) -> dict[str, Json]:
    """What is told beside the columns: also who acted for the user."""
    data = dict(event.data)
    if event.actor.acting is not None:
        data["acting_user_id"] = event.actor.acting
    return data


def _event(row: Row[Any]) -> AuditEvent:
    return AuditEvent(
        action=row.action,
        outcome=row.outcome,
        actor=Actor(row.user_id, row.key_id, row.session_id, row.address),
        tenant_id=row.tenant_id,
        target=row.target,
        data=row.data,
        at=row.at,
        id=row.id,
    )
