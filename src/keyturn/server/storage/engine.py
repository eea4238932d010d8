"""Connections: how each database is opened, and every limit on waiting for it (promise P5)."""

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool, ConnectionPoolEntry

from ..domain.errors import Unavailable
from .faults import connecting
from .urls import PostgresServer, SqliteFile

if TYPE_CHECKING:
    import aiosqlite
    import asyncpg

# At DEBUG it prints every statement with its parameters: hashes and sealed keys (promise P8).
logging.getLogger("aiosqlite").setLevel(logging.INFO)

#: Seconds to open a connection to PostgreSQL: to all of its addresses together.
CONNECT_SECONDS = 3.0

#: Seconds that one statement may take; the server and this process both enforce it.
STATEMENT_SECONDS = 5.0

#: Seconds that PostgreSQL lets a transaction stand idle: this process froze or lost its way.
IDLE_SECONDS = 5.0

#: Seconds that a whole transaction may take. The revocations' tail rests on it (under 10).
TRANSACTION_SECONDS = 8.0

# Lists stay on their indexes, whosever they are. A plan for all tenants, as PostgreSQL would keep
# after some times, is right for the usual one: of one with a thousand times as much it would read
# all and sort it, for a page. And a first row that is likely found soon is no reason to read a
# table from its beginning: it may be its last, or none.
# A page is read along its index, and not all that it is a page of, to be sorted then: on today's
# disks a row here and there costs no more than its neighbours do.
_PLANNING = {
    "plan_cache_mode": "force_custom_plan",
    "enable_seqscan": "off",
    "random_page_cost": "1.1",
}


async def connect_postgres(
    server: PostgresServer,
    *,
    statement_seconds: float = STATEMENT_SECONDS,
    settings: Mapping[str, str] | None = None,
) -> "asyncpg.Connection[asyncpg.Record]":
    """A connection to a server that takes writes.

    After a failover the old primary may still answer, read-only: refusing it here means that
    a replaced connection finds the new one (`target_session_attrs`, several hosts in the URL).
    Each address has its share of the time, so that one that says nothing leaves some for the next;
    asyncpg, given all, would wait for the first. Raises Unavailable, in words.
    """
    refused = []
    addresses = server.in_turn()
    for address in addresses:
        try:
            connection = await _connect(
                address, CONNECT_SECONDS / len(addresses), statement_seconds, settings or {}
            )
        except Unavailable as error:
            if len(addresses) == 1:
                raise
            refused.append(error.detail)
        else:
            server.took_writes(address)
            return connection
    raise Unavailable("; ".join(refused))


async def _connect(
    server: PostgresServer,
    seconds: float,
    statement_seconds: float,
    settings: Mapping[str, str],
) -> "asyncpg.Connection[asyncpg.Record]":
    import asyncpg  # not for who uses SQLite

    chosen: dict[str, Any] = {}
    if "target_session_attrs=" not in server.dsn:
        chosen["target_session_attrs"] = "read-write"
    with connecting(server.where, server.database):
        return await asyncpg.connect(
            server.dsn,
            timeout=seconds,
            # A little more than the server's own limit, whose answer is the better one.
            command_timeout=statement_seconds + 1.0,
            server_settings={
                "application_name": "keyturn",
                "timezone": "UTC",
                # Compiling a plan costs more than any of our statements takes to run.
                "jit": "off",
                "statement_timeout": str(int(statement_seconds * 1000)),
                "idle_in_transaction_session_timeout": str(int(IDLE_SECONDS * 1000)),
                **settings,
            },
            **chosen,
        )


def postgres_engine(
    server: PostgresServer,
    *,
    pool_size: int,
    wait: float,
    statement_seconds: float = STATEMENT_SECONDS,
) -> AsyncEngine:
    """At most `pool_size` connections; `wait` seconds for a free one."""

    async def connect(*_: object, **__: object) -> "asyncpg.Connection[asyncpg.Record]":
        return await connect_postgres(
            server, statement_seconds=statement_seconds, settings=_PLANNING
        )

    return create_async_engine(
        "postgresql+asyncpg://",
        async_creator=connect,
        poolclass=AsyncAdaptedQueuePool,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=wait,
        # One round trip a transaction, so that a restarted database is met with a new
        # connection and not with an error.
        pool_pre_ping=True,
        # The most recently used first: the others grow old and are let go by the server.
        pool_use_lifo=True,
        # Parameters hold hashes and names. Error texts reach the log (promise P8).
        hide_parameters=True,
    )


def sqlite_engine(file: SqliteFile, *, wait: float) -> AsyncEngine:
    """One connection, which writes; `wait` seconds for it and for other processes' locks.

    SQLite takes one writer at a time. Queueing for the one connection is fair and quiet;
    several would poll each other's file lock. Reads in transactions queue, too: the one read
    that must not wait has its own connection (`lookup_sqlite`).
    """
    import aiosqlite  # not for who uses PostgreSQL

    async def connect(*_: object, **__: object) -> "aiosqlite.Connection":
        # mode=rw: a database that went missing is a fault, not a new and empty one.
        connection = aiosqlite.connect(file.uri("rw"), uri=True, timeout=wait)
        connection._thread.daemon = True  # a lost connection must not keep the process alive
        return await connection

    engine = create_async_engine(
        "sqlite+aiosqlite://",
        async_creator=connect,
        poolclass=AsyncAdaptedQueuePool,
        pool_size=1,
        max_overflow=0,
        pool_timeout=wait,
        hide_parameters=True,
    )
    event.listen(engine.sync_engine, "connect", _prepare)
    event.listen(engine.sync_engine, "begin", _begin_immediate)
    return engine


def _prepare(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
    # None: the driver leaves BEGIN to us. Its own comes late, and as a reader that may find
    # itself unable to become a writer (SQLITE_BUSY at once, without waiting).
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.execute("PRAGMA journal_mode = WAL")
    # WAL's usual NORMAL may lose the last commits in a power cut. A lost revocation is a
    # revoked token that works again, and a lost refresh a spent one: every commit is synced.
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.close()


def _begin_immediate(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")
