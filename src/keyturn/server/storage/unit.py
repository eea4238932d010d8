"""The connection that a transaction's repositories share: every statement goes through it."""

import asyncio
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import Any, TypeVar

from sqlalchemy import CursorResult, Executable, Select, Table, UpdateBase
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from ..domain.errors import Unavailable
from ..spans import current, span
from .faults import translated
from .tables import (
    api_keys,
    endpoints,
    installation,
    memberships,
    roles,
    tenant_tree,
    tenants,
    users,
)

T = TypeVar("T")

#: What lookups read.
_LOOKED_UP = {api_keys, endpoints, installation, memberships, roles, tenant_tree, tenants, users}

#: One row's values, by column (or bound parameter).
Values = Mapping[str, Any]


class Unit:
    """One connection in one transaction. Faults come out as `Unavailable`."""

    def __init__(self, connection: AsyncConnection, *, notifies: bool = False) -> None:
        self._connection = connection
        #: Whether other nodes hear of it (`notifications`).
        self.notifies = notifies
        self.on_sqlite = connection.dialect.name == "sqlite"
        self.faulted = False
        #: Whether it changes what a lookup finds.
        self.changes_keys = False

    def insert(self, table: Table) -> postgresql.Insert | sqlite.Insert:
        """An INSERT that may say ON CONFLICT: the standard's has no such clause.

        Repositories use it rather than catch a broken constraint, which on PostgreSQL would
        take the whole transaction with it.
        """
        return sqlite.insert(table) if self.on_sqlite else postgresql.insert(table)

    async def run(
        self, statement: Executable, values: Values | Sequence[Values] | None = None
    ) -> CursorResult[Any]:
        """The statement's result, fetched.

        Raises Unavailable for a fault; the transaction is lost then, and its connection is
        not used again: whatever broke may have broken it, too.
        """
        if isinstance(statement, UpdateBase) and statement.table in _LOOKED_UP:
            self.changes_keys = True
        with self.guarded(), self._span(statement):
            return await self._settled(self._connection.execute(statement, values))

    async def begin(self) -> None:
        """Begins the transaction. Raises Unavailable."""
        with self.guarded():
            await self._settled(_begin(self._connection))

    async def commit(self) -> None:
        """Commits. Raises Unavailable: it may have happened or not."""
        with self.guarded(), span("database COMMIT", outward=True):
            await self._settled(self._connection.commit())

    async def undo(self, error: BaseException) -> None:
        """Leaves the transaction because of `error`. Never raises a fault."""
        # A rollback needs a connection that works; on PostgreSQL, a new one costs less than
        # finding out. SQLite has no connection to lose.
        broken = self.faulted or not isinstance(error, Exception)
        with suppress(Exception):
            if broken and not self.on_sqlite:
                await self._connection.invalidate()
            else:
                await self._settled(self._connection.rollback())

    async def close(self) -> None:
        """Gives the connection back. Never raises a fault."""
        with suppress(Exception):
            await self._settled(self._connection.close())

    async def _settled(self, work: Coroutine[Any, Any, T]) -> T:
        """What `work` returns; on SQLite a cancellation waits until it is through.

        A statement runs on in the driver's thread when its caller is cancelled, and an SQLite
        connection closed over a statement that was not read to its end keeps its locks: nobody
        could write. Statements are short, and a wait for a lock is bounded.
        """
        if not self.on_sqlite:
            return await work
        task = asyncio.ensure_future(work)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if not task.done():
                await asyncio.wait([task])
            raise
        finally:
            if task.done() and not task.cancelled():
                task.exception()  # seen, though a cancellation may hide it

    def _span(self, statement: Executable) -> AbstractContextManager[None]:
        if current.get() is None:
            return nullcontext()
        system = "sqlite" if self.on_sqlite else "postgresql"
        attributes = {"db.system.name": system, "db.operation.name": _kind(statement)}
        return span(f"database {_kind(statement)}", attributes, outward=True)

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """Turns faults into `Unavailable`, and remembers that there was one (`faulted`)."""
        try:
            with translated():
                yield
        except Unavailable:
            self.faulted = True
            raise


def _kind(statement: Executable) -> str:
    """Of which kind it is, and of which table: nothing of its values."""
    kind = str(getattr(statement, "__visit_name__", "statement")).upper()
    if isinstance(statement, UpdateBase):
        return f"{kind} {getattr(statement.table, 'name', '')}".rstrip()
    if isinstance(statement, Select):
        # Not its final ones: those it finds by compiling, which some parts cannot be by themselves.
        tables = (one.name for one in statement.columns_clause_froms if isinstance(one, Table))
        return f"{kind} {next(tables, '')}".rstrip()
    return kind


async def _begin(connection: AsyncConnection) -> None:
    # AsyncConnection.begin() is awaitable, but no coroutine.
    await connection.begin()
