"""Sessions that were refreshed or ended: their lists and their ends."""

from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Row, literal, not_, or_, select

from ..domain.ids import parse_id
from ..domain.model import Session
from ..services.ports import Page, Slice
from .columns import db_now, storable
from .epochs import sessions_epoch_of
from .paging import page, sliced
from .tables import api_keys, sessions, users
from .unit import Unit


class SessionRepository:
    """Implements `ports.Sessions`."""

    def __init__(self, unit: Unit) -> None:
        self._unit = unit

    async def get(self, session_id: str) -> Session | None:
        """None for a session that was neither refreshed nor ended."""
        if parse_id(session_id) is None:
            return None
        row = (await self._unit.run(select(sessions).where(sessions.c.id == session_id))).first()
        return None if row is None else _session(row)

    async def end(self, session: Session, reason: str) -> bool:
        """A session without a row gets one, ended: then `steps` finds generation 0 spent."""
        row = {
            "id": session.id,
            "key_id": session.key_id,
            "user_id": session.user_id,
            "generation": session.generation,
            "rotated_at": session.rotated_at,
            "expires_at": session.expires_at,
            "end_reason": reason,
            "epoch": session.epoch,
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

    async def of_user(
        self, user_id: str, part: Slice, *, refreshed_since: datetime | None = None
    ) -> Page[Session]:
        """None for a malformed id."""
        if parse_id(user_id) is None:
            return Page(())
        whose = literal(user_id, users.c.id.type)
        return await self._page(sessions.c.user_id == user_id, whose, part, refreshed_since)

    async def of_key(
        self, key_id: str, part: Slice, *, refreshed_since: datetime | None = None
    ) -> Page[Session]:
        """None for a malformed id."""
        if not storable(key_id):
            return Page(())
        whose = select(api_keys.c.user_id).where(api_keys.c.id == key_id).scalar_subquery()
        return await self._page(sessions.c.key_id == key_id, whose, part, refreshed_since)

    async def _page(
        self,
        condition: ColumnElement[bool],
        whose: ColumnElement[Any],
        part: Slice,
        refreshed_since: datetime | None,
    ) -> Page[Session]:
        """Sessions of one user. Of their keys nothing is asked but for a page's rows."""
        by_user = sessions.c.epoch < sessions_epoch_of(whose)
        its_key = select(api_keys.c.id).where(api_keys.c.id == sessions.c.key_id)
        by_key = its_key.where(api_keys.c.sessions_epoch > sessions.c.epoch).exists()
        wanted = select(sessions, or_(by_user, by_key).label("superseded")).where(condition)
        if refreshed_since is not None:
            wanted = wanted.where(
                sessions.c.ended_at.is_(None),
                sessions.c.expires_at > db_now(),
                sessions.c.rotated_at > refreshed_since,
                not_(by_user),
            )
        statement = sliced(wanted, part, sessions.c.id, backwards=True)
        return page((await self._unit.run(statement)).all(), part, _listed, "id")


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
        epoch=row.epoch,
    )


def _listed(row: Row[Any]) -> Session:
    return replace(_session(row), superseded=row.superseded)
