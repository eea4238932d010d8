"""The database: tables, migrations and repositories, over SQLite or PostgreSQL.

The only importer of sqlalchemy, alembic and the drivers. `open_storage` gives what implements
the ports `Store` and `KeyLookup`; frozen records of `domain.model` come out, faults come out as
`domain.errors.Unavailable`.

Beside the domain's errors there is one: StorageNotReady, when the schema is not there.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..domain.errors import StorageNotReady
from ..services.ports.observing import PoolUse
from .beside import FileMemory, held
from .copies import CopyFacts, back_up, copy_facts, url_of
from .engine import STATEMENT_SECONDS, TRANSACTION_SECONDS, postgres_engine, sqlite_engine
from .facts import aging_keys, database_facts, database_file
from .lookup_sqlite import SqliteLookup
from .migration import migrate
from .notifications import Notifications
from .schema import REVISIONS, require_schema, revision_of
from .steps import DatabaseSteps, PostgresSteps
from .store import DatabaseStore
from .turns import Turns
from .urls import SqliteFile, is_sqlite, parse_url

if TYPE_CHECKING:
    from .lookup_postgres import PostgresLookup

__all__ = [
    "REVISIONS",
    "CopyFacts",
    "DatabaseStore",
    "FileMemory",
    "SqliteLookup",
    "Storage",
    "StorageNotReady",
    "aging_keys",
    "back_up",
    "copy_facts",
    "database_facts",
    "database_file",
    "held",
    "is_sqlite",
    "migrate",
    "open_storage",
    "revision_of",
    "url_of",
]


@dataclass(frozen=True, slots=True)
class Storage:
    """An open database: `store` for units of work, `lookup` and `steps` for the hot paths."""

    store: DatabaseStore
    lookup: "PostgresLookup | SqliteLookup"
    steps: PostgresSteps | DatabaseSteps
    pools: tuple[PoolUse, ...]


@asynccontextmanager
async def open_storage(
    url: str,
    *,
    pool_size: int = 10,
    wait: float = 2.0,
    waiting: int = 256,
    patience: float | None = None,
) -> AsyncIterator[Storage]:
    """Opens the database and closes it at the end.

    On PostgreSQL up to `pool_size` connections serve the store, as many the lookup and as many the
    steps, so that who waits for a lock is in nobody's way who reads; and one listens for other
    nodes. SQLite has one that writes and one that looks up. `wait` is how many seconds a call waits
    for a free one, and `waiting` how many calls of one tenant may: tenants take turns. `patience`
    (seconds) is what a transaction and a statement may take, where that is to be longer than while
    serving. Raises StorageNotReady, Unavailable, and ValueError for a URL it does not know.
    """
    target = parse_url(url)
    if isinstance(target, SqliteFile):
        engine = sqlite_engine(target, wait=wait)
    else:
        engine = postgres_engine(
            target,
            pool_size=pool_size,
            wait=wait,
            statement_seconds=patience or STATEMENT_SECONDS,
        )
    limit = patience or TRANSACTION_SECONDS
    try:
        await require_schema(engine, target)
        if isinstance(target, SqliteFile):
            store = DatabaseStore(engine, _turns(1, wait, waiting), patience=limit)
            finding = SqliteLookup(target)
            try:
                yield Storage(store, finding, DatabaseSteps(store), (store.use,))
            finally:
                await finding.close()
        else:
            # Not for who uses SQLite: they bring the other driver.
            from .driver import Lines
            from .lookup_postgres import LOOKUP_SECONDS, PostgresLookup

            reading = Lines(
                target, size=pool_size, wait=wait, waiting=waiting, patience=LOOKUP_SECONDS
            )
            writing = Lines(target, size=pool_size, wait=wait, waiting=waiting, kind="refreshes")
            turns = _turns(pool_size, wait, waiting)
            store = DatabaseStore(engine, turns, Notifications(target), patience=limit)
            try:
                yield Storage(
                    store,
                    PostgresLookup(reading),
                    PostgresSteps(writing),
                    (reading.use, writing.use, store.use),
                )
            finally:
                await reading.close()
                await writing.close()
    finally:
        await engine.dispose()


def _turns(size: int, wait: float, waiting: int) -> Turns:
    return Turns(PoolUse("transactions", size), wait=wait, most=waiting)
