"""What can be seen of a database from outside, by one connection that writes nothing."""

import asyncio
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import ColumnElement, and_, func, or_, select, text
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import NullPool

from ..domain.errors import StorageNotReady
from .columns import db_now
from .engine import connect_postgres, sqlite_engine
from .faults import translated
from .schema import current_revision
from .tables import api_keys
from .urls import SqliteFile, parse_url

#: How often a server is asked for its time.
CLOCK_READ = 3


@dataclass(frozen=True, slots=True)
class Slots:
    """A server's connections: `allowed` for this user, `taken` of them by anybody."""

    allowed: int
    taken: int


@dataclass(frozen=True, slots=True)
class DatabaseClock:
    """How far a server's clock is `ahead` of this machine's (negative: behind), in seconds.

    It is known up to `unsure` seconds: half a round trip.
    """

    ahead: float
    unsure: float


@dataclass(frozen=True, slots=True)
class DatabaseFacts:
    """What a database says of itself.

    `product` is its name, `version` its number; `slots` is None where there is no limit.
    `revision` is the schema's, None without one. `clock` is None where it is this machine's.
    """

    product: str
    version: tuple[int, ...]
    revision: str | None
    in_recovery: bool = False
    read_only: bool = False
    slots: Slots | None = None
    clock: DatabaseClock | None = None


@dataclass(frozen=True, slots=True)
class SomeKeys:
    """How many keys there are of a sort, and the names and ids of the first few."""

    count: int
    first: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class AgingKeys:
    """API keys that were not revoked: `expired`, about to (`soon`), and `unused` for long."""

    expired: SomeKeys
    soon: SomeKeys
    unused: SomeKeys


def database_file(url: str) -> Path | None:
    """The file of an embedded database; None for a server's."""
    target = parse_url(url)
    return target.path if isinstance(target, SqliteFile) else None


@asynccontextmanager
async def looking(url: str, *, wait: float = 2.0) -> AsyncIterator[AsyncConnection]:
    """A connection to look with, to a standby, too. Raises Unavailable and StorageNotReady."""
    target = parse_url(url)
    if isinstance(target, SqliteFile):
        if not await asyncio.to_thread(target.path.is_file):
            raise StorageNotReady("There is no database file. Run `keyturn migrate` first.")
        engine = sqlite_engine(target, wait=wait)
    else:
        server = target.anywhere

        async def connect(*_: object, **__: object) -> object:
            return await connect_postgres(server)

        engine = create_async_engine(
            "postgresql+asyncpg://", async_creator=connect, poolclass=NullPool, hide_parameters=True
        )
    try:
        with translated():
            async with engine.connect() as connection:
                yield connection
    finally:
        await engine.dispose()


async def database_facts(url: str) -> DatabaseFacts:
    """Raises Unavailable, and StorageNotReady for a file that is not there."""
    async with looking(url) as connection:
        revision = await connection.run_sync(current_revision)
        if connection.dialect.name == "sqlite":
            version = (await connection.execute(text("SELECT sqlite_version()"))).scalar_one()
            only = (await connection.execute(text("PRAGMA query_only"))).scalar_one()
            return DatabaseFacts("SQLite", _number(version), revision, read_only=bool(only))
        shown = (
            await connection.execute(
                text(
                    "SELECT current_setting('server_version') AS version,"
                    " pg_is_in_recovery() AS in_recovery,"
                    " current_setting('transaction_read_only') = 'on' AS read_only,"
                    " current_setting('max_connections')::int"
                    "  - current_setting('superuser_reserved_connections')::int AS allowed,"
                    " (SELECT count(*) FROM pg_stat_activity"
                    "  WHERE backend_type = 'client backend') - 1 AS taken,"
                    " (SELECT nullif(datconnlimit, -1) FROM pg_database"
                    "  WHERE datname = current_database()) AS of_database,"
                    " (SELECT nullif(rolconnlimit, -1) FROM pg_roles"
                    "  WHERE rolname = current_user) AS of_user"
                )
            )
        ).one()
        limits = [shown.allowed, shown.of_database, shown.of_user]
        allowed = min(limit for limit in limits if limit is not None)
        return DatabaseFacts(
            "PostgreSQL",
            _number(shown.version),
            revision,
            shown.in_recovery,
            shown.read_only,
            Slots(allowed, shown.taken),
            await _clock(connection),
        )


async def _clock(connection: AsyncConnection) -> DatabaseClock:
    """By the shortest of a few round trips."""
    measured = []
    # The first one prepares the statement, too, and is left out.
    for _ in range(1 + CLOCK_READ):
        before, started = datetime.now(UTC), time.perf_counter()
        now = (await connection.execute(select(db_now()))).scalar_one()
        half = (time.perf_counter() - started) / 2
        middle = before + timedelta(seconds=half)
        measured.append(DatabaseClock((now - middle).total_seconds(), half))
    return min(measured[1:], key=lambda one: one.unsure)


async def aging_keys(
    url: str, *, within: timedelta, unused_for: timedelta, at_most: int
) -> AgingKeys:
    """Keys that expire `within`, or were made and not used `unused_for`. Reads all keys."""
    never = api_keys.c.expires_at.is_(None)
    async with looking(url) as connection:
        now = (await connection.execute(select(db_now()))).scalar_one()
        used = func.coalesce(api_keys.c.last_used_at, api_keys.c.created_at)
        expired = api_keys.c.expires_at <= now
        soon = and_(api_keys.c.expires_at > now, api_keys.c.expires_at <= now + within)
        unused = and_(or_(never, api_keys.c.expires_at > now), used < now - unused_for)

        async def some(which: ColumnElement[bool]) -> SomeKeys:
            alive = api_keys.c.revoked_at.is_(None)
            wanted = and_(alive, api_keys.c.for_console.is_(False), which)
            counted = await connection.execute(select(func.count()).where(wanted))
            first = await connection.execute(
                select(api_keys.c.name, api_keys.c.id)
                .where(wanted)
                .order_by(api_keys.c.expires_at, api_keys.c.id)
                .limit(at_most)
            )
            return SomeKeys(counted.scalar_one(), tuple((row.name, row.id) for row in first))

        return AgingKeys(await some(expired), await some(soon), await some(unused))


def _number(version: str) -> tuple[int, ...]:
    match = re.match(r"[\d.]+", version)
    return tuple(int(part) for part in match[0].strip(".").split(".")) if match else ()
