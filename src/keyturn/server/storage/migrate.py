"""Brings a database to this version's schema, and tells whether it is there."""

import asyncio
import os
import sqlite3
import time
from contextlib import closing
from functools import cache
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from ..domain.errors import StorageNotReady
from ..domain.permissions import BUILT_IN_ROLES
from .engine import connect_postgres, sqlite_engine
from .faults import translated
from .tables import roles
from .unit import Unit
from .urls import PostgresServer, SqliteFile, parse_url

#: Seconds to wait for another process that is migrating, and for one statement of ours.
MIGRATION_SECONDS = 120.0

# Any number, as long as nobody else in the database takes it: "keyturn" in ASCII.
_ADVISORY_LOCK = 0x6B657974_75726E


async def migrate(url: str) -> None:
    """Makes or updates the schema and the built-in roles; does nothing when all is there.

    Safe when several processes start at once: one works, the others wait and find it done. All
    or nothing: schema, roles and revision are one transaction. A database that a newer version
    migrated is left alone. Raises Unavailable, and ValueError for a URL that `parse_url` refuses.
    """
    target = parse_url(url)
    if isinstance(target, SqliteFile):
        with translated():
            await asyncio.to_thread(_make_file, target.path)
        engine = sqlite_engine(target, wait=MIGRATION_SECONDS)
    else:
        engine = _postgres_engine(target)
    try:
        with translated():
            async with engine.begin() as connection:
                # On SQLite BEGIN IMMEDIATE is the lock.
                if connection.dialect.name == "postgresql":
                    await connection.execute(
                        text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _ADVISORY_LOCK}
                    )
                if await connection.run_sync(_upgrade):
                    await _keep_built_in_roles(Unit(connection))
    finally:
        await engine.dispose()


async def revision_of(url: str) -> str | None:
    """The schema's revision in the database; None when it was never migrated.

    Raises Unavailable, and StorageNotReady when an SQLite file is not there.
    """
    target = parse_url(url)
    if isinstance(target, SqliteFile):
        engine = sqlite_engine(target, wait=MIGRATION_SECONDS)
    else:
        engine = _postgres_engine(target)
    try:
        return await _revision(engine, target)
    finally:
        await engine.dispose()


async def require_schema(engine: AsyncEngine, target: SqliteFile | PostgresServer) -> None:
    """Raises StorageNotReady unless the database has this version's schema, or a newer one's.

    A newer one is fine: during an upgrade old processes go on, and may be restarted.
    """
    revision = await _revision(engine, target)
    known, head = _history()
    if revision is None or (revision in known and revision != head):
        state = "has no schema" if revision is None else "has the schema of an older version"
        raise StorageNotReady(f"The database {state}. Run `keyturn migrate` first.")


async def _revision(engine: AsyncEngine, target: SqliteFile | PostgresServer) -> str | None:
    if isinstance(target, SqliteFile) and not await asyncio.to_thread(target.path.is_file):
        raise StorageNotReady("There is no database file. Run `keyturn migrate` first.")
    with translated():
        async with engine.connect() as connection:
            return await connection.run_sync(_current)


def _current(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    # Alembic splits lists of paths by itself otherwise, and warns of it.
    config.set_main_option("path_separator", "os")
    return config


@cache
def _history() -> tuple[frozenset[str], str | None]:
    """The revisions that this version knows, and the last of them."""
    scripts = ScriptDirectory.from_config(_config())
    known = frozenset(script.revision for script in scripts.walk_revisions())
    return known, scripts.get_current_head()


def _upgrade(connection: Connection) -> bool:
    """False when the schema is a newer version's, whose roles are newer, too."""
    current = _current(connection)
    if current is not None and current not in _history()[0]:
        return False
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
    return True


async def _keep_built_in_roles(unit: Unit) -> None:
    for role in BUILT_IN_ROLES:
        statement = unit.insert(roles)
        row = {"id": role.id, "name": role.name, "permissions": sorted(role.permissions)}
        changed = {"name": statement.excluded.name, "permissions": statement.excluded.permissions}
        await unit.run(
            statement.on_conflict_do_update(index_elements=[roles.c.id], set_=changed), row
        )


def _postgres_engine(server: PostgresServer) -> AsyncEngine:
    async def connect(*_: object, **__: object) -> object:
        return await connect_postgres(server, statement_seconds=MIGRATION_SECONDS)

    return create_async_engine(
        "postgresql+asyncpg://", async_creator=connect, poolclass=NullPool, hide_parameters=True
    )


def _make_file(path: Path) -> None:
    """An empty database in WAL mode, readable by its owner only: it holds hashes and keys.

    Switching the mode takes the file for itself alone and does not wait when it cannot.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    give_up = time.monotonic() + MIGRATION_SECONDS
    while True:
        try:
            with closing(sqlite3.connect(path)) as connection:
                connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError:
            if time.monotonic() > give_up:
                raise
            time.sleep(0.05)
