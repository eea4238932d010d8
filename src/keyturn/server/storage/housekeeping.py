"""Deletes what has ended: a little at a time, on an index, and by one node at a time."""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Column, ColumnElement, Table, delete, func, select, true, tuple_

from ..services.ports import Perishable
from .columns import db_now
from .tables import (
    activity,
    api_keys,
    audit_events,
    invitations,
    kept_answers,
    revocations,
    sessions,
    webhook_deliveries,
)
from .unit import Unit

# Any number that no other lock of this installation has ("keeping").
_LOCK = 0x6B656570696E67

# When each ends; all are indexed.
_ENDS: dict[Perishable, tuple[Table, Column[datetime]]] = {
    Perishable.SESSIONS: (sessions, sessions.c.expires_at),
    Perishable.REVOCATIONS: (revocations, revocations.c.expires_at),
    Perishable.INVITATIONS: (invitations, invitations.c.expires_at),
    Perishable.KEPT_ANSWERS: (kept_answers, kept_answers.c.expires_at),
    Perishable.WEBHOOK_DELIVERIES: (webhook_deliveries, webhook_deliveries.c.expires_at),
    Perishable.SIGN_INS: (api_keys, api_keys.c.expires_at),
    Perishable.ACTIVITY: (activity, activity.c.hour),
    Perishable.AUDIT_EVENTS: (audit_events, audit_events.c.at),
}
# What else stands in those tables stays.
_OF: dict[Perishable, ColumnElement[bool]] = {Perishable.SIGN_INS: api_keys.c.for_console}


class HousekeepingRepository:
    """Implements `ports.Housekeeping`."""

    def __init__(self, unit: Unit) -> None:
        self._unit = unit

    async def lock(self) -> bool:
        """SQLite lets one transaction write at a time as it is."""
        if self._unit.on_sqlite:
            return True
        statement = select(func.pg_try_advisory_xact_lock(_LOCK))
        return bool((await self._unit.run(statement)).scalar_one())

    async def delete(self, what: Perishable, *, kept: timedelta, at_most: int) -> int:
        """The longest ended first."""
        table, end = _ENDS[what]
        now = (await self._unit.run(select(db_now()))).scalar_one()
        before: Any = now - kept
        if what is Perishable.AUDIT_EVENTS:
            # The last of the old ones stays: by it, nodes know that the database has not gone back
            # (services.continuity), and in a quiet time there may be no newer one.
            before = select(func.max(end)).where(end < before).scalar_subquery()
        # Rows that are being changed may have a later end in a moment. In a CTE, which is read
        # once: PostgreSQL may read a subquery again and again, and each time find other rows.
        ended = (
            select(*table.primary_key)
            .where(end < before, _OF.get(what, true()))
            .order_by(end)
            .limit(at_most)
            .with_for_update(skip_locked=True)
            .cte("ended")
        )
        statement = delete(table).where(tuple_(*table.primary_key).in_(select(ended)))
        # Counted by what comes back: of a statement that begins with WITH, SQLite's driver does
        # not tell how many rows it changed.
        return len((await self._unit.run(statement.returning(*table.primary_key))).all())
