"""Which schema a database has, and whether this version can work on it."""

import asyncio

from sqlalchemy import Connection, inspect, text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from ..domain.errors import StorageNotReady
from .engine import connect_postgres, sqlite_engine
from .faults import translated
from .urls import PostgresServer, SqliteFile, parse_url

#: The revisions that this version knows, oldest first. Written here, too (a test holds them
#: against migrations/), so that a start need not read the scripts.
REVISIONS = ("0001", "0002", "0003", "0004", "0005", "0006", "0007", "0008")

#: Seconds to wait for another process that is migrating, and for one statement of ours.
MIGRATION_SECONDS = 120.0


async def revision_of(url: str) -> str | None:
    """The schema's revision in the database; None when it was never migrated.

    Raises Unavailable, and StorageNotReady when an SQLite file is not there.
    """
    target = parse_url(url)
    if isinstance(target, SqliteFile):
        engine = sqlite_engine(target, wait=MIGRATION_SECONDS)
    else:
        engine = engine_for_schema(target)
    try:
        return await _revision(engine, target)
    finally:
        await engine.dispose()


async def require_schema(engine: AsyncEngine, target: SqliteFile | PostgresServer) -> None:
    """Raises StorageNotReady unless the database has this version's schema, or a newer one's.

    A newer one is fine: during an upgrade old processes go on, and may be restarted.
    """
    revision = await _revision(engine, target)
    if revision is None or revision in REVISIONS[:-1]:
        state = "has no schema" if revision is None else "has the schema of an older version"
        raise StorageNotReady(f"The database {state}. Run `keyturn migrate` first.")


async def _revision(engine: AsyncEngine, target: SqliteFile | PostgresServer) -> str | None:
    if isinstance(target, SqliteFile) and not await asyncio.to_thread(target.path.is_file):
        raise StorageNotReady("There is no database file. Run `keyturn migrate` first.")
    with translated():
        async with engine.connect() as connection:
            return await connection.run_sync(current_revision)


def current_revision(connection: Connection) -> str | None:
    """The revision that Alembic wrote down; None when it never did."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return found


def engine_for_schema(server: PostgresServer) -> AsyncEngine:
    """An engine for a few statements that may take long."""

    async def connect(*_: object, **__: object) -> object:
        return await connect_postgres(server, statement_seconds=MIGRATION_SECONDS)

    return create_async_engine(
        "postgresql+asyncpg://", async_creator=connect, poolclass=NullPool, hide_parameters=True
    )
