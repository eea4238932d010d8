"""Answers kept for a repeated request, sealed."""

from datetime import datetime

from sqlalchemy import select

from ..domain.errors import conflict
from ..services.ports import KeptAnswer
from .columns import db_now
from .tables import kept_answers
from .unit import Unit


class KeptAnswerRepository:
    """Implements `ports.KeptAnswers`."""

    def __init__(self, unit: Unit) -> None:
        self._unit = unit

    async def find(self, answer_id: bytes, now: datetime) -> KeptAnswer | None:
        """None when there is none, or it has expired."""
        statement = select(kept_answers).where(
            kept_answers.c.id == answer_id, kept_answers.c.expires_at > now
        )
        row = (await self._unit.run(statement)).first()
        return None if row is None else KeptAnswer(row.request, row.sealed)

    async def add(self, answer_id: bytes, answer: KeptAnswer, expires_at: datetime) -> None:
        """Waits for another transaction that adds the same one.

        By the database's time, which all nodes agree on. Raises Refusal `conflict`.
        """
        statement = self._unit.insert(kept_answers).values(
            id=answer_id, request=answer.request, sealed=answer.sealed, expires_at=expires_at
        )
        new, old = statement.excluded, kept_answers.c
        statement = statement.on_conflict_do_update(
            index_elements=[old.id],
            set_={"request": new.request, "sealed": new.sealed, "expires_at": new.expires_at},
            where=old.expires_at <= db_now(),
        )
        if (await self._unit.run(statement.returning(old.id))).first() is None:
            raise conflict("Another request with this Idempotency-Key was answered.")
