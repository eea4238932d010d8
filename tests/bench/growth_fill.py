"""Fills a migrated PostgreSQL by COPY, in minutes where the service itself would take days."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from itertools import islice
from typing import Protocol, TypeAlias

import asyncpg

from keyturn.server.services.ports import ApiKeyFormat
from tests.bench.growth_shape import Filled, Shape, Size, tables

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

#: Seconds that a step (a table, an index, the statistics) may take.
STEP_SECONDS = 1_200.0

#: Rows that are sent together.
_BATCH = 10_000
#: Emptied before, in the same transaction, which need not log their rows then: all that nothing
#: but these refers to.
_EMPTIED = "tenant_tree, permissions, endpoints, users, passwords, memberships, api_keys, sessions"
#: Stay empty, and refer to those.
_REFERRING = "second_factors"
_FILLED = ["tenants", "roles", *_EMPTIED.split(", ")]


class Tell(Protocol):
    """Hears how far a step is."""

    def begin(self, step: str, total: int | None) -> None:
        """A step begins, of about so many rows; None for one that tells nothing of itself."""

    def advance(self, rows: int) -> None:
        """So many rows more."""

    def end(self) -> None:
        """The step that goes on is done."""


async def fill(url: str, size: Size, key_format: ApiKeyFormat, tell: Tell) -> Filled:
    """Fills the database, makes its indexes anew and gathers statistics, in bounded time.

    The database is migrated and otherwise empty.
    """
    shape, filled = Shape(size), Filled()
    connection = await asyncpg.connect(url, timeout=10, server_settings={"jit": "off"})
    try:
        async with connection.transaction():
            indexes = await _begin(connection)
            for table, columns, rows, total in tables(shape, key_format, filled):
                tell.begin(table, total)
                await _copy(connection, table, columns, rows, tell)
                tell.end()
            for name, definition in indexes:
                tell.begin(f"index {name}", None)
                await connection.execute(definition, timeout=STEP_SECONDS)
                tell.end()
        tell.begin("statistics", None)
        await connection.execute("VACUUM (ANALYZE)", timeout=STEP_SECONDS)
        await connection.execute("CHECKPOINT", timeout=STEP_SECONDS)
        tell.end()
    finally:
        connection.terminate()  # what goes on after an interruption ends, too
    return filled


async def _begin(connection: Connection) -> list[tuple[str, str]]:
    """Drops the indexes that are quicker made at the end; gives their definitions."""
    await connection.execute(
        f"""
        SET LOCAL maintenance_work_mem = '512MB';
        TRUNCATE {_EMPTIED}, {_REFERRING};
        -- The rows keep references whole by themselves. Who may not switch the checks off waits.
        DO $$ BEGIN
            SET LOCAL session_replication_role = replica;
        EXCEPTION WHEN insufficient_privilege THEN NULL; END $$
        """
    )
    found = await connection.fetch(
        """
        SELECT indexname, indexdef FROM pg_indexes
        WHERE schemaname = current_schema() AND tablename = ANY ($1::text[])
          AND indexname NOT IN (SELECT conname FROM pg_constraint)
        """,
        _FILLED,
    )
    for index in found:
        await connection.execute(f'DROP INDEX "{index["indexname"]}"')
    return [(index["indexname"], index["indexdef"]) for index in found]


async def _copy(
    connection: Connection, table: str, columns: str, rows: Iterable[str], tell: Tell
) -> None:
    async def batches() -> AsyncIterator[bytes]:
        rest = iter(rows)
        while batch := list(islice(rest, _BATCH)):
            yield "".join(batch).encode()
            tell.advance(len(batch))

    await connection.copy_to_table(
        table,
        source=batches(),
        columns=columns.split(),
        format="text",
        freeze=table in _EMPTIED.split(", "),
        timeout=STEP_SECONDS,
    )
