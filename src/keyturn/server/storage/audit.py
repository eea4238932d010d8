"""The audit trail: rows are added and never changed (promise P9)."""

from collections.abc import Sequence

from sqlalchemy import bindparam, func, insert

from ..domain.ids import new_id
from ..domain.model import AuditEvent
from .columns import db_now
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
        """All in one batch."""
        rows = [
            {
                "id": event.id or new_id(),
                "happened_at": event.at,
                "action": event.action,
                "outcome": event.outcome,
                "user_id": event.actor.user_id,
                "key_id": event.actor.key_id,
                "session_id": event.actor.session_id,
                "address": event.actor.address,
                "tenant_id": event.tenant_id,
                "target": event.target,
                "data": dict(event.data),
            }
            for event in events
        ]
        if rows:
            await self._unit.run(_ADD, rows)
