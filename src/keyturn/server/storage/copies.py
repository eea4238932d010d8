"""Copies of a database: made of an SQLite file, and looked at, wherever they were restored."""

import os
import sqlite3
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Table, and_, func, inspect, literal, or_, select, text
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import NullPool

from ..domain.errors import StorageNotReady, Unavailable
from .engine import connect_postgres
from .faults import is_damage, translated
from .schema import REVISIONS, current_revision
from .tables import api_keys, audit_events, metadata, signing_keys, tenant_tree, tenants
from .urls import SqliteFile, parse_url

if TYPE_CHECKING:
    import aiosqlite

#: Seconds that one statement may take on a database that nobody waits for.
PATIENCE = 600.0
_PAGES = 4_096


@dataclass(frozen=True, slots=True)
class CopyFacts:
    """What a copy has. `sealed` are the sealed parts of its signing keys, by `kid`.

    `broken` says what does not fit together, one line each. `peppers` are the versions of the
    master secrets that its API keys were made under.
    """

    revision: str | None
    counts: Mapping[str, int]
    newest_event: datetime | None
    broken: tuple[str, ...]
    sealed: Mapping[str, bytes]
    peppers: Collection[int]


def back_up(url: str, to: Path) -> int:
    """Copies an SQLite file while it is served; gives the copy's size in bytes.

    The copy is one file, readable by its owner only, and whole or not there. Raises
    StorageNotReady for another database than SQLite's, and for a file that is there already.
    """
    target = parse_url(url)
    if not isinstance(target, SqliteFile):
        raise StorageNotReady(
            "This copies SQLite files. For PostgreSQL use pg_dump, or archive its log:"
            " see deploy/backup.md."
        )
    if to.exists():
        raise StorageNotReady(f"{to} is there already: name another file.")
    fresh = to.with_name(f".{to.name}.new")
    try:
        os.close(os.open(fresh, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        raise StorageNotReady(
            f"{fresh} is there: another copy is being made, or was left unfinished. Remove it then."
        ) from None
    except OSError as error:
        raise StorageNotReady(f"cannot write {fresh}: {error.strerror}") from None
    try:
        with translated():
            with (
                closing(sqlite3.connect(target.uri("ro"), uri=True)) as source,
                closing(sqlite3.connect(fresh)) as copy,
            ):
                source.backup(copy, pages=_PAGES)
                # One file without a log beside it, whatever the source has.
                copy.execute("PRAGMA journal_mode = DELETE")
            with fresh.open("rb") as written:
                os.fsync(written.fileno())
            fresh.rename(to)
    finally:
        fresh.unlink(missing_ok=True)
    return to.stat().st_size


@asynccontextmanager
async def reading(url: str) -> AsyncIterator[AsyncConnection]:
    """A connection that only reads, all of it one moment's state. Raises Unavailable."""
    target = parse_url(url)
    if isinstance(target, SqliteFile):
        if not target.path.is_file():
            raise StorageNotReady(f"There is no file {target.path}.")
        file = target

        async def open_file(*_: object, **__: object) -> "aiosqlite.Connection":
            import aiosqlite

            connection = aiosqlite.connect(file.uri("ro"), uri=True, isolation_level=None)
            connection._thread.daemon = True
            opened = await connection
            await opened.execute("BEGIN")
            return opened

        engine = create_async_engine(
            "sqlite+aiosqlite://", async_creator=open_file, poolclass=NullPool, hide_parameters=True
        )
    else:
        server = target.anywhere

        async def connect(*_: object, **__: object) -> object:
            return await connect_postgres(server, statement_seconds=PATIENCE)

        engine = create_async_engine(
            "postgresql+asyncpg://",
            async_creator=connect,
            poolclass=NullPool,
            hide_parameters=True,
            execution_options={"isolation_level": "REPEATABLE READ", "postgresql_readonly": True},
        )
    try:
        with translated():
            async with engine.connect() as connection:
                yield connection
    finally:
        await engine.dispose()


async def copy_facts(url: str) -> CopyFacts:
    """Looks at a copy without changing it. Raises Unavailable and StorageNotReady.

    A file that is damaged so that nothing can be read has no revision, and says so in `broken`.
    """
    target = parse_url(url)
    if isinstance(target, SqliteFile) and target.path.is_file() and not target.path.stat().st_size:
        return _unreadable("the copy is not whole: it is empty")
    try:
        return await _looked_at(url)
    except Unavailable as error:
        if not is_damage(error):
            raise
        why = "the file ends early, is damaged, or is none of SQLite's"
        return _unreadable(f"the copy is not whole: {why}")


def _unreadable(why: str) -> CopyFacts:
    return CopyFacts(None, {}, None, (why,), {}, ())


async def _looked_at(url: str) -> CopyFacts:
    async with reading(url) as connection:
        revision = await connection.run_sync(current_revision)
        names = await connection.run_sync(lambda c: set(inspect(c).get_table_names()))
        there = [table for table in metadata.sorted_tables if table.name in names]
        if revision is None or not there:
            return CopyFacts(revision, {}, None, ("it has no schema of Keyturn's",), {}, ())
        counts = {table.name: await _rows(connection, table) for table in there}
        broken = [*await _pages(connection), *await _orphans(connection, there)]
        if {"tenants", "tenant_tree"} <= names:
            broken += await _tree(connection)
        if counts.get("installation") != 1 and revision in REVISIONS[2:]:
            broken.append("installation has no row: nobody would get a token")
        newest = await connection.scalar(select(func.max(audit_events.c.at)))
        sealed = await connection.execute(select(signing_keys.c.kid, signing_keys.c.sealed_private))
        of_keys = select(api_keys.c.pepper_version).distinct()
        if revision not in REVISIONS[: REVISIONS.index("0007")]:
            # Sign-ins that have ended are no reason to keep a master secret.
            of_keys = of_keys.where(api_keys.c.for_console.is_(False))
        peppers = await connection.scalars(of_keys)
        return CopyFacts(
            revision,
            counts,
            newest,
            tuple(broken),
            {row.kid: row.sealed_private for row in sealed},
            tuple(peppers),
        )


async def _rows(connection: AsyncConnection, table: Table) -> int:
    """Without naming columns: an older schema has fewer."""
    counted = select(func.count()).select_from(table)
    return int((await connection.execute(counted)).scalar_one())


async def _count(connection: AsyncConnection, wanted: Any) -> int:
    counted = select(func.count()).select_from(wanted.subquery())
    return int((await connection.execute(counted)).scalar_one())


async def _pages(connection: AsyncConnection) -> list[str]:
    """SQLite's own check; PostgreSQL's is amcheck, which needs an extension."""
    if connection.dialect.name != "sqlite":
        return []
    rows = (await connection.execute(text("PRAGMA integrity_check(10)"))).scalars().all()
    return [f"the file is damaged: {row}" for row in rows if row != "ok"]


async def _orphans(connection: AsyncConnection, there: list[Table]) -> list[str]:
    """Rows that name others which are not there: a dump of some tables only, say."""
    found = []
    for table in there:
        for key in table.foreign_keys:
            child, parent = key.parent, key.column.table.alias()
            same = parent.c[key.column.name] == child
            lost = select(literal(1)).where(
                child.is_not(None), ~select(literal(1)).where(same).exists()
            )
            if count := await _count(connection, lost.select_from(table)):
                found.append(f"{table.name}.{child.name}: {count} name what is not there")
    return found


async def _tree(connection: AsyncConnection) -> list[str]:
    """The tree as it follows from each tenant's parent, held against the one that is kept."""
    leaf = select(
        tenants.c.id.label("descendant_id"),
        tenants.c.id.label("ancestor_id"),
        literal(0).label("depth"),
    ).cte("walked", recursive=True)
    up = tenants.alias()
    walked = leaf.union_all(
        select(leaf.c.descendant_id, up.c.parent_id, leaf.c.depth + 1)
        .join(up, up.c.id == leaf.c.ancestor_id)
        # A circle would never end.
        .where(up.c.parent_id.is_not(None), leaf.c.depth < 1_000)
    )
    same = and_(
        tenant_tree.c.descendant_id == walked.c.descendant_id,
        tenant_tree.c.ancestor_id == walked.c.ancestor_id,
    )
    wrong = (
        select(walked.c.descendant_id)
        .join(tenant_tree, same, isouter=True)
        .where(or_(tenant_tree.c.depth.is_(None), tenant_tree.c.depth != walked.c.depth))
    )
    missing = await _count(connection, wrong)
    whole, kept = (
        await _count(connection, select(walked)),
        await _count(connection, select(tenant_tree)),
    )
    if missing or whole != kept:
        return [f"the tree of tenants: {missing} rows are wrong, {kept} are there, not {whole}"]
    return []


def url_of(name: str) -> str:
    """A database's URL as it is, and of a file's path its URL."""
    if "://" in name:
        return name
    return SqliteFile(Path(name).absolute()).url
