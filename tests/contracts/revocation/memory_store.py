"""A `Store` in memory with revocations only, whose faults a test can switch on."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime
from typing import cast

from keyturn.server.domain.errors import Unavailable
from keyturn.server.domain.model import Revocation
from keyturn.server.domain.revocations import Subject, still_counts, stronger
from keyturn.server.services.ports import Store, Tail, Transaction


class MemoryRevocations:
    """The truth, as the port `Revocations` describes it."""

    def __init__(self) -> None:
        self.rows: dict[Subject, tuple[int, Revocation]] = {}
        self.written = 0

    async def add(self, entries: Sequence[Revocation]) -> None:
        for entry in entries:
            known = self.rows.get((entry.kind, entry.subject))
            self._put(stronger(known[1], entry) if known else entry)

    async def lift(self, subject: Subject) -> None:
        if subject in self.rows:
            self._put(Revocation(subject[0], subject[1], datetime.now(UTC)))

    async def find(self, subjects: Sequence[Subject]) -> tuple[Revocation, ...]:
        now = datetime.now(UTC)
        rows = [self.rows[subject][1] for subject in subjects if subject in self.rows]
        return tuple(row for row in rows if still_counts(row, now))

    async def tail(self, cursor: str | None) -> Tail:
        now = datetime.now(UTC)
        if cursor is None:
            rows = [row for _, row in self.rows.values() if still_counts(row, now)]
        else:
            rows = [row for at, row in self.rows.values() if at > int(cursor)]
        return Tail(tuple(rows), str(self.written), now)

    def _put(self, entry: Revocation) -> None:
        self.written += 1
        self.rows[entry.kind, entry.subject] = (self.written, entry)


class _View:
    """One node's way to the rows: counts what it asks, and fails when told to."""

    def __init__(self, store: "MemoryStore") -> None:
        self._store = store

    async def add(self, entries: Sequence[Revocation]) -> None:
        await self._store.rows.add(entries)

    async def lift(self, subjects: Sequence[Subject]) -> None:
        for subject in subjects:
            await self._store.rows.lift(subject)

    async def find(self, subjects: Sequence[Subject]) -> tuple[Revocation, ...]:
        self._store.finds += 1
        found = await self._store.rows.find(subjects)
        await asyncio.sleep(self._store.delay)
        return found

    async def tail(self, cursor: str | None) -> Tail:
        if self._store.deaf:
            raise Unavailable("deaf")
        tail = await self._store.rows.tail(cursor)
        # The answer is on its way: what is committed now is not in it.
        await asyncio.sleep(self._store.tail_delay)
        return tail


class _Unit:
    def __init__(self, store: "MemoryStore") -> None:
        self.revocations = _View(store)


class MemoryStore:
    """`down`: nothing answers. `deaf`: only the tail does not. `finds` counts the queries."""

    def __init__(self, rows: MemoryRevocations | None = None) -> None:
        self.rows = rows or MemoryRevocations()
        self.down = False
        self.deaf = False
        self.delay = 0.0
        self.tail_delay = 0.0
        self.finds = 0

    def another(self) -> "MemoryStore":
        """The same rows as another node sees them, with faults of its own."""
        return MemoryStore(self.rows)

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        return self._transaction()

    def watch(self, changed: Callable[[], None]) -> None:
        """Nothing here is what a lookup finds."""

    async def listen(self, heard: Callable[[], None]) -> None:
        """Nobody is told: the tail must do."""

    async def ping(self) -> None:
        if self.down:
            raise Unavailable("down")

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[Transaction]:
        await self.ping()
        yield cast(Transaction, _Unit(self))


def _implements() -> Store:
    return MemoryStore()
