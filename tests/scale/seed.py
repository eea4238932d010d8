"""Fills a migrated PostgreSQL with a large installation, by SQL alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

import asyncpg

from tests.scale.shape import GROWING, PREPARE, Size, steps

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


class SeedError(RuntimeError):
    """The database cannot be filled."""


async def seed(
    url: str, size: Size, *, say: Callable[[str], None] = lambda _: None, vacuum: bool = True
) -> None:
    """Fills the database at `url`, and lets PostgreSQL gather its statistics.

    `vacuum` False only analyses. Raises SeedError unless the database is migrated and empty.
    """
    connection = await asyncpg.connect(url, server_settings={"timezone": "UTC", "jit": "off"})
    try:
        await _require_empty(connection)
        async with connection.transaction():
            await _fill(connection, size, say)
        with _told(say, "statistics"):
            await connection.execute("VACUUM ANALYZE" if vacuum else "ANALYZE")
    finally:
        await connection.close()


async def is_seeded(url: str) -> bool:
    """Whether there are tenants in the database."""
    connection = await asyncpg.connect(url)
    try:
        return bool(await connection.fetchval("SELECT EXISTS (SELECT 1 FROM tenants)"))
    finally:
        await connection.close()


async def _require_empty(connection: Connection) -> None:
    try:
        filled = await connection.fetchval("SELECT EXISTS (SELECT 1 FROM tenants)")
    except asyncpg.UndefinedTableError:
        raise SeedError("the database has no schema: keyturn migrate") from None
    if filled:
        raise SeedError("the database has tenants already")


async def _fill(connection: Connection, size: Size, say: Callable[[str], None]) -> None:
    # Sorting all entries of an index once is far quicker than adding them one by one.
    indexes = await connection.fetch(
        """
        SELECT indexname, indexdef FROM pg_indexes
        WHERE schemaname = current_schema() AND tablename = ANY ($1::text[])
          AND indexname NOT IN (SELECT conname FROM pg_constraint)
        """,
        list(GROWING),
    )
    for index in indexes:
        await connection.execute(f'DROP INDEX "{index["indexname"]}"')
    await connection.execute(
        """
        SET LOCAL work_mem = '64MB';
        SET LOCAL maintenance_work_mem = '128MB';
        -- Else VACUUM, which comes at once, would find rows that may not be on the disk yet.
        SET LOCAL synchronous_commit = on
        """
    )
    # The statements keep references whole by themselves. Who may not switch the checks off waits.
    await connection.execute(
        """
        DO $$ BEGIN
            SET LOCAL session_replication_role = replica;
        EXCEPTION WHEN insufficient_privilege THEN NULL; END $$
        """
    )
    await connection.execute(PREPARE)
    await connection.execute("SELECT setseed(0.5)")
    for name, statements in steps(size):
        with _told(say, name):
            await connection.execute(statements)
    with _told(say, "indexes"):
        for index in indexes:
            await connection.execute(index["indexdef"])


@contextmanager
def _told(say: Callable[[str], None], name: str) -> Iterator[None]:
    begin = time.perf_counter()
    yield
    say(f"{name}: {time.perf_counter() - begin:.1f} s")
