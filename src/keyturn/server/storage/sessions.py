"""Sessions: the compare-and-swap behind refresh tokens (promise P3)."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Row, select, update

from ..domain.ids import parse_id
from ..domain.model import Session
from ..domain.sessions import RefreshState
from .columns import db_now
from .tables import sessions
from .unit import Unit


class SessionRepository:
    """Implements `ports.Sessions`."""

    def __init__(self, unit: Unit) -> None:
        self._unit = unit

    async def advance(
        self, state: RefreshState, user_id: str, address: str | None = None
    ) -> Session | None:
        """One statement decides a race: the database lets exactly one caller change the row.

        A concurrent caller waits for the winner's commit, and sees the row as it left it.
        """
        if state.generation == 0:
            row = {
                "id": state.session_id,
                "key_id": state.key_id,
                "user_id": user_id,
                "generation": 1,
                "expires_at": datetime.fromtimestamp(state.session_ends_at, UTC),
                "tenant_id": state.ceiling.tenant_id,
                "last_used_from": address,
            }
            first = self._unit.insert(sessions).values(rotated_at=db_now(), **row)
            result = await self._unit.run(first.on_conflict_do_nothing().returning(sessions))
        else:
            step = (
                update(sessions)
                .where(
                    sessions.c.id == state.session_id,
                    sessions.c.generation == state.generation,
                    sessions.c.ended_at.is_(None),
                )
                .values(
                    generation=state.generation + 1, rotated_at=db_now(), last_used_from=address
                )
            )
            result = await self._unit.run(step.returning(sessions))
        found = result.first()
        return None if found is None else _session(found)

    async def get(self, session_id: str) -> Session | None:
        """None for a session that was neither refreshed nor ended."""
        if parse_id(session_id) is None:
            return None
        row = (await self._unit.run(select(sessions).where(sessions.c.id == session_id))).first()
        return None if row is None else _session(row)

    async def end(self, session: Session, reason: str) -> bool:
        """A session without a row gets one, ended: then `advance` finds generation 0 spent."""
        row = {
            "id": session.id,
            "key_id": session.key_id,
            "user_id": session.user_id,
            "generation": session.generation,
            "rotated_at": session.rotated_at,
            "expires_at": session.expires_at,
            "end_reason": reason,
            "tenant_id": session.tenant_id,
        }
        statement = (
            self._unit.insert(sessions)
            .values(ended_at=db_now(), **row)
            .on_conflict_do_update(
                index_elements=[sessions.c.id],
                set_={"ended_at": db_now(), "end_reason": reason},
                where=sessions.c.ended_at.is_(None),
            )
            .returning(sessions.c.id)
        )
        return (await self._unit.run(statement)).first() is not None


def _session(row: Row[Any]) -> Session:
    return Session(
        id=row.id,
        key_id=row.key_id,
        user_id=row.user_id,
        generation=row.generation,
        rotated_at=row.rotated_at,
        expires_at=row.expires_at,
        ended_at=row.ended_at,
        end_reason=row.end_reason,
        tenant_id=row.tenant_id,
        last_used_from=row.last_used_from,
    )
