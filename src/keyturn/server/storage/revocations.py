"""The truth about revocations, and the tail that tells every node (promise P4).

The tail goes by `written_at`, the database's time when a row was last written. A transaction
becomes visible later than it wrote, by less than TRANSACTION_SECONDS; so each read begins
OVERLAP before the last one, and returns some entries twice rather than one never.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Executable, Insert, Row, Update, case, func, or_, select, tuple_, update

from ..domain.model import Revocation, RevocationKind
from ..domain.revocations import Subject, stronger
from ..services.ports import Tail
from .columns import db_now, greater, storable
from .notifications import CHANNEL
from .tables import revocations
from .unit import Unit, Values

#: How far back the tail looks again: a transaction's limit and as much for clocks that step.
OVERLAP = timedelta(seconds=16)

# Rows a statement: both databases limit a statement's parameters (32,766 the smaller one).
_CHUNK = 500


class RevocationRepository:
    """Implements `ports.Revocations`."""

    def __init__(self, unit: Unit) -> None:
        self._unit = unit

    async def add(self, entries: Sequence[Revocation]) -> None:
        """One statement for up to 500 entries. Every write makes the tail tell it (again)."""
        rows = _rows(entries)
        for start in range(0, len(rows), _CHUNK):
            statement = self._unit.insert(revocations).values(
                [{**row, "written_at": db_now()} for row in rows[start : start + _CHUNK]]
            )
            new, old = statement.excluded, revocations.c
            await self._unit.run(
                self._told(
                    statement.on_conflict_do_update(
                        index_elements=[old.kind, old.subject],
                        set_={
                            # domain.revocations.stronger, in SQL: no epoch means every epoch.
                            "epoch": case(
                                (or_(old.epoch.is_(None), new.epoch.is_(None)), None),
                                else_=greater(old.epoch, new.epoch),
                            ),
                            "expires_at": greater(old.expires_at, new.expires_at),
                            "written_at": db_now(),
                        },
                    )
                )
            )

    async def tell(self) -> None:
        """A hint only: what changed is no revocation, or it would be added."""
        if self._unit.notifies:
            await self._unit.run(select(func.pg_notify(CHANNEL, "")))

    async def lift(self, subjects: Sequence[Subject]) -> None:
        """The rows stay, expired just now: the tail returns them, and copies drop theirs."""
        now = await self._now()
        names = sorted({(kind.value, name) for kind, name in subjects})
        for start in range(0, len(names), _CHUNK):
            await self._unit.run(
                self._told(
                    update(revocations)
                    .where(
                        tuple_(revocations.c.kind, revocations.c.subject).in_(
                            names[start : start + _CHUNK]
                        ),
                        revocations.c.expires_at > now,
                    )
                    .values(expires_at=now, written_at=db_now())
                )
            )

    async def find(self, subjects: Sequence[Subject]) -> tuple[Revocation, ...]:
        """Subjects that no database could hold have no entries."""
        pairs = sorted({(kind.value, name) for kind, name in subjects if storable(name)})
        found: list[Revocation] = []
        for start in range(0, len(pairs), _CHUNK):
            statement = select(revocations).where(
                tuple_(revocations.c.kind, revocations.c.subject).in_(
                    pairs[start : start + _CHUNK]
                ),
                revocations.c.expires_at > db_now(),
            )
            found += [_revocation(row) for row in await self._unit.run(statement)]
        return tuple(found)

    async def tail(self, cursor: str | None) -> Tail:
        """The cursor is the database's time before the read, in ISO 8601.

        Raises ValueError for a cursor that no tail returned.
        """
        now = await self._now()
        if cursor is None:
            condition = revocations.c.expires_at > now
        else:
            condition = revocations.c.written_at >= datetime.fromisoformat(cursor) - OVERLAP
        statement = select(revocations).where(condition).order_by(revocations.c.written_at)
        rows = (await self._unit.run(statement)).all()
        written = tuple(row.written_at for row in rows)
        return Tail(tuple(_revocation(row) for row in rows), now.isoformat(), now, written)

    def _told(self, statement: Insert | Update) -> Executable:
        """Tells the other nodes with the commit: once, however many rows there are."""
        if not self._unit.notifies:
            return statement
        return statement.returning(func.pg_notify(CHANNEL, ""))

    async def _now(self) -> datetime:
        now: datetime = (await self._unit.run(select(db_now()))).scalar_one()
        return now


def _rows(entries: Iterable[Revocation]) -> list[Values]:
    """One row a subject (a statement may touch each once), sorted: no crosswise locks."""
    by_subject: dict[tuple[str, str], Revocation] = {}
    for entry in entries:
        subject = (entry.kind.value, entry.subject)
        known = by_subject.get(subject)
        by_subject[subject] = entry if known is None else stronger(known, entry)
    return [
        {"kind": kind, "subject": name, "epoch": entry.epoch, "expires_at": entry.expires_at}
        for (kind, name), entry in sorted(by_subject.items(), key=lambda item: item[0])
    ]


def _revocation(row: Row[Any]) -> Revocation:
    return Revocation(RevocationKind(row.kind), row.subject, row.expires_at, row.epoch)
