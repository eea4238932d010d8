"""Copies of a PostgreSQL template that one test after another uses; what it wrote is taken back.

To make and to drop a database takes a tenth of a second, to put rows back a small part of that. A
copy that a test changed beyond its rows, or has filled, is dropped.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import defaultdict
from collections.abc import Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlsplit

import asyncpg

T = TypeVar("T")

#: The rows of each table.
Rows = Mapping[str, Sequence["asyncpg.Record"]]

#: In bytes. The planner takes a table that was never analysed for one of ten pages at least; beyond
#: them its plans would depend on the tests that were here before.
_FULL = 10 * 8192

# All but rows that the next test could notice.
_STATE = """
    SELECT (
        SELECT md5(string_agg(
            concat_ws(' ', c.relname, c.reltuples, a.attname, a.atttypid, a.attnotnull), ','
            ORDER BY c.oid, a.attnum
        ))
        FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
        WHERE c.relnamespace = 'public'::regnamespace
    ) AS shape, (
        SELECT max(pg_relation_size(oid)) > $1 FROM pg_class
        WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'i')
    ) AS filled, EXISTS (
        SELECT 1 FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase
        WHERE d.datname = current_database()
    ) AS configured
"""

#: How often it is looked whether the test's connections are gone, and the seconds in between.
_LOOKS, _PAUSE = 20, 0.01


@dataclass(frozen=True)
class Copy:
    """A database, the connection that looks after it, and what it was when it was made."""

    name: str
    url: str
    connection: asyncpg.Connection[asyncpg.Record]
    state: asyncpg.Record
    rows: Rows


class Copies:
    """The copies on one server. They have an event loop of their own, in a thread of its own."""

    def __init__(self, server: str) -> None:
        self._server = server
        self._unused: dict[str, list[Copy]] = defaultdict(list)
        self._thread = ThreadPoolExecutor(1)
        self._loop = asyncio.Runner()

    def take(self, template: str) -> Copy:
        """A database like `template`, which nobody may be connected to."""
        unused = self._unused[template]
        return unused.pop() if unused else self._run(self._make(template))

    def give_back(self, copy: Copy, template: str) -> str:
        """Takes back what was written; gives all rows that were there, as text."""
        try:
            rows, good = self._run(_restore(copy))
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            # Its connection was cut, or may not do without foreign keys.
            rows, good = self._run(read_all(copy.url)), False
        if good:
            self._unused[template].append(copy)
        else:
            self._run(self._drop(copy))
        return text_of(rows)

    def close(self) -> None:
        """Drops all."""
        for copy in [copy for unused in self._unused.values() for copy in unused]:
            self._run(self._drop(copy))
        self._thread.submit(self._loop.close).result()
        self._thread.shutdown()

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._thread.submit(self._loop.run, work).result()

    async def _make(self, template: str) -> Copy:
        name = f"keyturn_{secrets.token_hex(6)}"
        await execute(self._server, creation(name, template))
        url = urlsplit(self._server)._replace(path=f"/{name}").geturl()
        connection = await asyncpg.connect(url)
        return Copy(name, url, connection, await _state(connection), await _read(connection))

    async def _drop(self, copy: Copy) -> None:
        copy.connection.terminate()
        await execute(self._server, dropping(copy.name))


async def _restore(copy: Copy) -> tuple[Rows, bool]:
    """The rows that were there, and whether the database is what it was when it was made."""
    connection = copy.connection
    alone = await _alone(connection)
    rows = await _read(connection)
    if not alone or await _state(connection) != copy.state:
        return rows, False
    async with connection.transaction():
        await connection.execute("SET LOCAL session_replication_role = replica")
        for table, original in copy.rows.items():
            if rows[table] != original:
                await connection.execute(f'DELETE FROM "{table}"')
                await connection.copy_records_to_table(table, records=map(tuple, original))
    return rows, True


async def _alone(connection: asyncpg.Connection[asyncpg.Record]) -> bool:
    """Whether nobody else is connected: what was cut off may still write."""
    for _ in range(_LOOKS):
        if not await connection.fetchval(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        ):
            return True
        await asyncio.sleep(_PAUSE)
    return False


async def _state(connection: asyncpg.Connection[asyncpg.Record]) -> asyncpg.Record:
    state = await connection.fetchrow(_STATE, _FULL)
    assert state is not None
    return state


async def _read(connection: asyncpg.Connection[asyncpg.Record]) -> Rows:
    names = await connection.fetch(
        "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1"
    )
    return {name: await connection.fetch(f'SELECT * FROM "{name}"') for (name,) in names}


async def read_all(url: str) -> Rows:
    """All rows of all tables."""
    connection = await asyncpg.connect(url)
    try:
        return await _read(connection)
    finally:
        await connection.close()


def text_of(rows: Rows) -> str:
    """A line a row."""
    return "\n".join(line(row) for table in rows.values() for row in table)


def line(row: Any) -> str:
    """A row's values, as text."""
    # Bytes too: a secret that was stored unsealed would not show in hex.
    return " | ".join(
        value.decode(errors="replace") if isinstance(value, bytes) else str(value) for value in row
    )


def creation(name: str, template: str) -> str:
    """The statement that copies `template`."""
    # Copying files is far quicker than logging the copy, with fsync off and a small template.
    return f'CREATE DATABASE "{name}" TEMPLATE "{template}" STRATEGY FILE_COPY'


def dropping(name: str) -> str:
    """The statement that drops a database."""
    # FORCE: a test that left connections open still gives its database back.
    return f'DROP DATABASE "{name}" WITH (FORCE)'


async def execute(url: str, statement: str) -> None:
    """Runs a statement on a connection of its own."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
