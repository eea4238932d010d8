"""The connection that a transaction's repositories share: every statement goes through it."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import CursorResult, Executable, Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from ..domain.errors import Unavailable
from .faults import translated

#: One row's values, by column (or bound parameter).
Values = Mapping[str, Any]


class Unit:
    """One connection in one transaction. Faults come out as `Unavailable`."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection
        self.faulted = False

    def insert(self, table: Table) -> postgresql.Insert | sqlite.Insert:
        """An INSERT that may say ON CONFLICT: the standard's has no such clause.

        Repositories use it rather than catch a broken constraint, which on PostgreSQL would
        take the whole transaction with it.
        """
        if self._connection.dialect.name == "postgresql":
            return postgresql.insert(table)
        return sqlite.insert(table)

    async def run(
        self, statement: Executable, values: Values | Sequence[Values] | None = None
    ) -> CursorResult[Any]:
        """The statement's result, fetched.

        Raises Unavailable for a fault; the transaction is lost then, and its connection is
        not used again: whatever broke may have broken it, too.
        """
        with self.guarded():
            return await self._connection.execute(statement, values)

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """Turns faults into `Unavailable`, and remembers that there was one (`faulted`)."""
        try:
            with translated():
                yield
        except Unavailable:
            self.faulted = True
            raise
