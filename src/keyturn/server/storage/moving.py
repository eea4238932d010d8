"""All rows of an SQLite file into a PostgreSQL database, table by table, in bounded memory.

Rows go over in the order of their keys, some at a time, each time in a transaction of its own. So
what is there after an interruption is the beginning of what is to be there: that is checked, and
the rest follows. `installation` comes last: without its row nobody gets a token of half a store.
"""

import hashlib
import json
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Select, Table, delete, func, select, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from ..domain.errors import StorageNotReady
from .beside import held
from .copies import PATIENCE, reading
from .engine import connect_postgres
from .faults import translated
from .migration import migrate
from .schema import REVISIONS, current_revision
from .tables import installation, metadata, roles, tenant_tree, tenants
from .urls import SqliteFile, parse_url

#: Rows in one transaction, and in memory at once.
BATCH = 1_000
# "keyturm" in ASCII, as in `migration`: one of these at a time.
_ADVISORY_LOCK = 0x6B657974_75726D

#: Told of each table: its name, the rows that are there, and all of them.
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class MovedTable:
    """One table on both sides: rows and checksums, and how many rows went over this time.

    `replaced` are rows in whose texts stood what PostgreSQL does not keep: NUL, half a letter.
    """

    name: str
    rows: int
    there: int
    moved: int
    replaced: int
    checksum: str
    checksum_there: str

    @property
    def same(self) -> bool:
        """Whether both sides have the same rows."""
        return self.rows == self.there and self.checksum == self.checksum_there


async def move(
    source_url: str, target_url: str, progress: Progress, *, verify_only: bool = False
) -> tuple[MovedTable, ...]:
    """Copies what is not there yet, then compares all of it. May be repeated.

    Nobody may serve the source meanwhile, and nothing of it is changed. Raises StorageNotReady
    for another pair of databases, for a source that is served or a target with other data, and
    Unavailable; what went over until then stays.
    """
    if not isinstance(parse_url(source_url), SqliteFile):
        raise StorageNotReady("This moves an SQLite file, and KEYTURN_DATABASE_URL is none.")
    target = parse_url(target_url)
    if isinstance(target, SqliteFile):
        raise StorageNotReady("This moves into PostgreSQL, and --to names an SQLite file.")
    server = target

    async def connect(*_: object, **__: object) -> object:
        return await connect_postgres(server, statement_seconds=PATIENCE)

    engine = create_async_engine(
        "postgresql+asyncpg://", async_creator=connect, poolclass=NullPool, hide_parameters=True
    )
    try:
        with held(source_url):
            if not verify_only:
                await migrate(target_url)
            async with reading(source_url) as source, engine.connect() as lock:
                await _begin(source, lock)
                mover = _Mover(source, engine, progress)
                moved = {} if verify_only else await mover.move()
                return tuple([await mover.compared(table, moved) for table in _ORDER])
    finally:
        await engine.dispose()


#: After those that they name.
_ORDER = (*(t for t in metadata.sorted_tables if t is not installation), installation)


async def _begin(source: AsyncConnection, target: AsyncConnection) -> None:
    with translated():
        for side, which in ((source, "the SQLite file"), (target, "the target")):
            revision = await side.run_sync(current_revision)
            if revision != REVISIONS[-1]:
                raise StorageNotReady(
                    f"The schema of {which} is not this release's. Run `keyturn migrate` on it."
                )
        alone = await target.scalar(
            text("SELECT pg_try_advisory_lock(:lock)"), {"lock": _ADVISORY_LOCK}
        )
        await target.commit()  # the lock stays with the connection
    if not alone:
        raise StorageNotReady("Another process moves data into the target.")


class _Mover:
    def __init__(self, source: AsyncConnection, target: AsyncEngine, progress: Progress) -> None:
        self._source = source
        self._target = target
        self._progress = progress

    async def move(self) -> dict[str, int]:
        """The rows that went over, by table."""
        there = {table.name: await self._count(table) for table in _ORDER}
        await self._unseed(there)
        moved = {}
        for table in _ORDER:
            if (known := there[table.name]) and not await self._begun(table, known):
                raise _other(table)
            moved[table.name] = await self._rest(table, known)
        return moved

    async def _unseed(self, there: dict[str, int]) -> None:
        """The one row that a migration made and the source has otherwise: until the end."""
        if not there[installation.name]:
            return
        if all(not there[t.name] for t in _ORDER if t not in (installation, roles)):
            async with self._target.begin() as connection:
                await connection.execute(delete(installation))
            there[installation.name] = 0

    async def _begun(self, table: Table, known: int) -> bool:
        """Whether what is there are the first rows of what is to be there."""
        ours = _Sum()
        async for some in _stream(self._source, _ordered(table).limit(known)):
            ours.add(table, some)
        return ours.rows == known and ours.text == (await self._sum_there(table)).text

    async def _rest(self, table: Table, known: int) -> int:
        total = int((await self._source.execute(_counted(table))).scalar_one())
        moved = 0
        self._progress(table.name, known, total)
        async for some in _stream(self._source, _ordered(table).offset(known)):
            rows = [
                {c.name: portable(v) for c, v in zip(table.columns, row, strict=True)}
                for row in some
            ]
            with translated():
                async with self._target.begin() as connection:
                    statement = postgresql.insert(table).on_conflict_do_nothing()
                    await connection.execute(statement, rows)
            moved += len(rows)
            self._progress(table.name, known + moved, total)
        return moved

    async def compared(self, table: Table, moved: dict[str, int]) -> MovedTable:
        """Reads both sides from end to end."""
        ours = _Sum()
        async for some in _stream(self._source, _ordered(table)):
            ours.add(table, some)
        theirs = await self._sum_there(table)
        return MovedTable(
            table.name,
            ours.rows,
            theirs.rows,
            moved.get(table.name, 0),
            ours.replaced,
            ours.text,
            theirs.text,
        )

    async def _sum_there(self, table: Table) -> "_Sum":
        found = _Sum()
        with translated():
            async with self._target.connect() as connection:
                async for some in _stream(connection, select(table)):
                    found.add(table, some)
        return found

    async def _count(self, table: Table) -> int:
        with translated():
            async with self._target.connect() as connection:
                return int((await connection.execute(_counted(table))).scalar_one())


class _Sum:
    """A checksum of rows in whatever order: the two databases sort texts in their own ways."""

    def __init__(self) -> None:
        self.rows = 0
        self.replaced = 0
        self._sum = 0

    def add(self, table: Table, some: Sequence[Sequence[Any]]) -> None:
        for row in some:
            kept = [portable(value) for value in row]
            self.replaced += kept != list(row)
            line = json.dumps([_plain(value) for value in kept], sort_keys=True).encode()
            self._sum += int.from_bytes(hashlib.sha256(line).digest(), "big")
            self.rows += 1

    @property
    def text(self) -> str:
        return f"{self._sum % 2**256:064x}"


async def _stream(
    connection: AsyncConnection, wanted: Select[Any]
) -> AsyncIterator[Sequence[Sequence[Any]]]:
    result = await connection.stream(wanted.execution_options(yield_per=BATCH))
    async for some in result.partitions(BATCH):
        yield some


def _counted(table: Table) -> Select[Any]:
    return select(func.count()).select_from(table)


def _ordered(table: Table) -> Select[Any]:
    """By its key; tenants from the root down, since each names the one above it."""
    keys = list(table.primary_key)
    if table is not tenants:
        return select(table).order_by(*keys)
    above = select(func.count()).where(tenant_tree.c.descendant_id == tenants.c.id)
    return select(table).order_by(above.scalar_subquery(), *keys)


def portable(value: Any) -> Any:
    """A value as PostgreSQL keeps it: it refuses NUL and lone surrogates, in JSON, too."""
    match value:
        case str():
            if "\0" in value:
                value = value.replace("\0", "\u2400")
            return value if value.isascii() else value.encode("utf-8", "replace").decode()
        case list():
            return [portable(one) for one in value]
        case dict():
            return {portable(name): portable(one) for name, one in value.items()}
        case float() if value.is_integer():
            return int(value)  # jsonb knows numbers, not how they were written
    return value


def _plain(value: Any) -> Any:
    match value:
        case datetime():
            return ["time", value.astimezone(UTC).isoformat()]
        case bytes():
            return ["bytes", value.hex()]
    return value


def _other(table: Table) -> StorageNotReady:
    return StorageNotReady(
        f"The target has other data, in {table.name}: name an empty database."
        " (Or the SQLite file was served since the last attempt.)"
    )
