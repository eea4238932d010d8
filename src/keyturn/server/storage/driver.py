"""Connections of the driver's own, for the statements that every token needs.

SQLAlchemy's pool and its execution cost more than such a statement does. Each connection has
prepared what it was asked once; the one used last is the next one taken, so that under light load
few stay warm.
"""

from dataclasses import dataclass, field

import asyncpg
from asyncpg.prepared_stmt import PreparedStatement

from ..services.ports.observing import PoolUse
from ..spans import span
from .engine import STATEMENT_SECONDS, connect_postgres
from .faults import translated
from .turns import Turns
from .urls import PostgresServer

_SETTINGS = {
    # Planning these statements costs more than running them, and no parameter changes the plan.
    "plan_cache_mode": "force_generic_plan",
    # Tables that were small when a statement was prepared grow without telling it.
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
}

_SYSTEM = {"db.system.name": "postgresql"}

# Errors of a connection or a prepared statement that outlived what they were made for.
_STALE = (
    OSError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.InvalidCachedStatementError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
)


# Some of those are of a statement that took too long: it is not to be run twice for that.
_SLOW = (TimeoutError, asyncpg.QueryCanceledError)


@dataclass(slots=True)
class _Line:
    connection: "asyncpg.Connection[asyncpg.Record]"
    prepared: dict[str, "PreparedStatement[asyncpg.Record]"] = field(default_factory=dict)


class Lines:
    """At most `size` connections; `wait` is the time for a free one, `patience` that for a
    statement, both in seconds. At most `waiting` of one tenant wait.
    """

    def __init__(
        self,
        server: PostgresServer,
        *,
        size: int,
        wait: float,
        waiting: int = 256,
        patience: float = STATEMENT_SECONDS,
        kind: str = "lookup",
    ) -> None:
        """`kind` is what they are for."""
        self._server = server
        self._patience = patience
        self._named = f"database {kind}"
        self._turns = Turns(PoolUse(kind, size), wait=wait, most=waiting)
        self._idle: list[_Line] = []
        self._closed = False

    @property
    def use(self) -> PoolUse:
        """How they are used."""
        return self._turns.use

    async def fetch(
        self, statement: str, parameters: tuple[object, ...], *, reads: bool
    ) -> asyncpg.Record | None:
        """The first row of one statement, which is a transaction of its own.

        One that only `reads` is tried again, once, on a new connection if its own was lost: what
        writes may have been done. Raises Unavailable.
        """
        await self._turns.take()
        try:
            with span(self._named, _SYSTEM, outward=True), translated():
                line = self._pop()
                if line is not None:
                    try:
                        return await self._run(line, statement, parameters)
                    except _SLOW:
                        raise
                    except _STALE:
                        # The server was restarted, or the schema moved. What else is idle is as
                        # old.
                        self.drop_idle()
                        if not reads:
                            raise
                return await self._run(await self._open(), statement, parameters)
        finally:
            self._turns.give_back()

    def drop_idle(self) -> None:
        """Takes new connections from now on."""
        while self._idle:
            self._idle.pop().connection.terminate()

    async def close(self) -> None:
        """Closes the idle connections, and those in use when they come back."""
        self._closed = True
        self.drop_idle()

    async def _run(
        self, line: _Line, statement: str, parameters: tuple[object, ...]
    ) -> asyncpg.Record | None:
        try:
            prepared = line.prepared.get(statement)
            if prepared is None:
                prepared = line.prepared[statement] = await line.connection.prepare(statement)
            row = await prepared.fetchrow(*parameters, timeout=self._patience)
        except BaseException:
            # After an error or a cancellation, what is left on the wire is unknown.
            line.connection.terminate()
            raise
        if self._closed:
            line.connection.terminate()
        else:
            self._idle.append(line)
        return row

    def _pop(self) -> _Line | None:
        while self._idle:
            line = self._idle.pop()
            if not line.connection.is_closed():
                return line
        return None

    async def _open(self) -> _Line:
        return _Line(
            await connect_postgres(
                self._server, statement_seconds=self._patience, settings=_SETTINGS
            )
        )
