"""Brings a database to this version's schema. Alembic, which is slow, is for one that is behind."""

import asyncio
import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncEngine

from ..domain.errors import Contended
from ..domain.permissions import BUILT_IN_ROLES
from .engine import sqlite_engine
from .faults import translated
from .schema import MIGRATION_SECONDS, REVISIONS, current_revision, engine_for_schema
from .tables import roles
from .unit import Unit
from .urls import SqliteFile, parse_url

if TYPE_CHECKING:
    from alembic.config import Config

#: How long a change of the schema waits for a table that is in use, in seconds: whoever comes
#: after it waits behind it. How often it tries, and the pause in between.
LOCK_SECONDS, LOCK_TRIES, LOCK_PAUSE = 2.0, 30, 1.0

# Any number, as long as nobody else in the database takes it: "keyturn" in ASCII.
_ADVISORY_LOCK = 0x6B657974_75726E


async def migrate(url: str) -> str | None:
    """Makes or updates the schema and the built-in roles; does nothing when all is there.

    Gives the revision that was found; None when there was no schema.

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
        engine = engine_for_schema(target)
    try:
        for _ in range(LOCK_TRIES - 1):
            try:
                return await _migrated(engine)
            except Contended:
                # Nothing of it happened, and whoever waited behind it gets on meanwhile.
                await asyncio.sleep(LOCK_PAUSE)
        return await _migrated(engine)
    finally:
        await engine.dispose()


async def _migrated(engine: AsyncEngine) -> str | None:
    with translated():
        async with engine.begin() as connection:
            # On SQLite BEGIN IMMEDIATE is the lock.
            if connection.dialect.name == "postgresql":
                await connection.execute(
                    text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _ADVISORY_LOCK}
                )
                # Only now: others who migrate may take longer.
                await connection.execute(
                    text("SELECT set_config('lock_timeout', :wait, true)"),
                    {"wait": f"{int(LOCK_SECONDS * 1000)}ms"},
                )
            found = await connection.run_sync(current_revision)
            if found is None or found in REVISIONS[:-1]:
                await connection.run_sync(_upgrade)
            if found is None or found in REVISIONS:
                await _keep_built_in_roles(Unit(connection))
            return found


def _config() -> "Config":
    from alembic.config import Config  # as below

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    # Alembic splits lists of paths by itself otherwise, and warns of it.
    config.set_main_option("path_separator", "os")
    return config


def _upgrade(connection: Connection) -> None:
    from alembic import command  # a quarter of a second, which most starts need not spend

    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


async def _keep_built_in_roles(unit: Unit) -> None:
    for role in BUILT_IN_ROLES:
        statement = unit.insert(roles)
        kept = {
            "name": role.name,
            "name_folded": role.name.casefold(),
            "description": role.description,
            "permissions": sorted(role.permissions),
        }
        row = {"id": role.id, "version": role.version, **kept}
        changed = {name: statement.excluded[name] for name in kept}
        await unit.run(
            statement.on_conflict_do_update(index_elements=[roles.c.id], set_=changed), row
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
