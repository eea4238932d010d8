"""A revision only adds: the release before works on what it leaves (deploy/upgrading.md).

The rule holds from `RULED` on. What came before was never released.
"""

from __future__ import annotations

import asyncio
import itertools
import re
from dataclasses import dataclass
from typing import Any

import pytest
from alembic import command
from sqlalchemy import Connection, inspect, text

from keyturn.server.storage import migrate, migration, revision_of
from keyturn.server.storage.engine import sqlite_engine
from keyturn.server.storage.schema import REVISIONS, engine_for_schema
from keyturn.server.storage.urls import SqliteFile, parse_url

#: The first revision that may only add.
RULED = "0005"

STEPS = [pair for pair in itertools.pairwise(REVISIONS) if pair[1] >= RULED]


@dataclass(frozen=True)
class Shape:
    """What a table is to who writes and reads it."""

    #: Type, whether NULL may stand there, whether something does by itself.
    columns: dict[str, tuple[str, bool, bool]]
    key: tuple[str, ...]
    unique: frozenset[tuple[str, ...]]
    foreign: frozenset[tuple[str, ...]]
    checks: dict[str, str]


def shapes(connection: Connection) -> dict[str, Shape]:
    seen = inspect(connection)
    return {name: _shape(seen, name) for name in seen.get_table_names()}


def _shape(seen: Any, table: str) -> Shape:
    unique = [tuple(one["column_names"]) for one in seen.get_unique_constraints(table)]
    unique += [tuple(one["column_names"]) for one in seen.get_indexes(table) if one.get("unique")]
    return Shape(
        {
            c["name"]: (str(c["type"]), bool(c["nullable"]), c.get("default") is not None)
            for c in seen.get_columns(table)
        },
        tuple(seen.get_pk_constraint(table)["constrained_columns"]),
        frozenset(unique),
        frozenset(tuple(key["constrained_columns"]) for key in seen.get_foreign_keys(table)),
        {str(c["name"]): c["sqltext"] for c in seen.get_check_constraints(table)},
    )


def narrower(before: dict[str, Shape], after: dict[str, Shape]) -> list[str]:
    """What code that knows `before` alone could run into."""
    found = []
    for name, old in before.items():
        new = after.get(name)
        if new is None:
            found.append(f"{name} is gone")
            continue
        for column, (kind, nullable, _) in old.columns.items():
            now = new.columns.get(column)
            if now is None:
                found.append(f"{name}.{column} is gone")
            elif now[0] != kind:
                found.append(f"{name}.{column} has another type")
            elif nullable and not now[1]:
                found.append(f"{name}.{column} must have a value now")
        added = new.columns.keys() - old.columns.keys()
        for column in sorted(added):
            _, nullable, default = new.columns[column]
            if not (nullable or default):
                found.append(f"{name}.{column} is new, and must be given a value")
        if new.key != old.key:
            found.append(f"{name} has another key")
        for kind, ours, theirs in (
            ("unique", old.unique, new.unique),
            ("foreign", old.foreign, new.foreign),
        ):
            for columns in sorted(theirs - ours):
                if not set(columns) <= added:
                    found.append(f"{name}: {kind} {columns} is new")
        for check, words in new.checks.items():
            if not _wider(old.checks.get(check), words) and not _about(words, added):
                found.append(f"{name}: the check {check} is new, or allows less")
    return found


def _wider(before: str | None, after: str) -> bool:
    """The same, or a list of words that has those of before."""
    if before is None:
        return False
    words = [set(re.findall(r"'([^']*)'", one)) for one in (before, after)]
    return before == after or (bool(words[0]) and words[0] <= words[1])


def _about(check: str, added: set[str]) -> bool:
    return any(re.search(rf"\b{column}\b", check) for column in added)


async def upgraded(url: str, revision: str) -> dict[str, Shape]:
    """The shapes once the database was brought to that revision."""

    def work(connection: Connection) -> dict[str, Shape]:
        config = migration._config()
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
        return shapes(connection)

    target = parse_url(url)
    if isinstance(target, SqliteFile):
        migration._make_file(target.path)
        engine = sqlite_engine(target, wait=5)
    else:
        engine = engine_for_schema(target)
    try:
        async with engine.begin() as connection:
            if connection.dialect.server_version_info is None:
                await connection.run_sync(connection.dialect.initialize)
            return await connection.run_sync(work)
    finally:
        await engine.dispose()


@pytest.mark.parametrize(("before", "after"), STEPS)
async def test_a_revision_only_adds(empty_database_url: str, before: str, after: str) -> None:
    old = await upgraded(empty_database_url, before)
    assert narrower(old, await upgraded(empty_database_url, after)) == []


async def test_what_narrows_is_found(empty_database_url: str) -> None:
    """Of the time before the rule."""
    old = await upgraded(empty_database_url, "0002")
    found = narrower(old, await upgraded(empty_database_url, "0003"))
    assert found == ["signing_keys.slot_since is new, and must be given a value"]


async def test_each_narrowing_is_found(empty_database_url: str) -> None:
    old = await upgraded(empty_database_url, RULED)
    users, tenants = old["users"], old["tenants"]
    columns = dict(users.columns)
    columns["epoch"] = ("TEXT", False, False)
    del columns["description"]
    changed = Shape(
        columns,
        ("username",),
        users.unique | {("display_name",)},
        users.foreign | {("created_by",)},
        {**users.checks, "ck_users_kind": "kind IN ('human')"},
    )
    tighter = {
        **tenants.columns,
        "suspended_at": (*tenants.columns["suspended_at"][:1], False, False),
    }
    found = narrower(
        {"users": users, "tenants": tenants, "roles": old["roles"]},
        {
            "users": changed,
            "tenants": Shape(tighter, tenants.key, tenants.unique, tenants.foreign, tenants.checks),
        },
    )
    assert len(found) == 8
    assert "users.description is gone" in found
    assert "tenants.suspended_at must have a value now" in found
    assert "roles is gone" in found


async def test_nobody_waits_long_behind_a_migration(
    empty_postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It gives up its place, and tries again, as long as somebody uses the table."""
    url = empty_postgres_url
    await upgraded(url, "0004")
    monkeypatch.setattr(migration, "LOCK_SECONDS", 0.2)
    monkeypatch.setattr(migration, "LOCK_PAUSE", 0.05)
    target = parse_url(url)
    assert not isinstance(target, SqliteFile)
    engine = engine_for_schema(target)
    write = text("UPDATE tenants SET version = version + 1")
    try:
        async with engine.connect() as reader, engine.connect() as writer:
            await reader.execute(text("LOCK TABLE tenants IN ROW EXCLUSIVE MODE"))
            migrating = asyncio.create_task(migrate(url))
            for _ in range(5):
                # Behind the migration, if that waits; it would wait for the first one for ever.
                await writer.execute(text("SET LOCAL statement_timeout = '20s'"))
                await writer.execute(write)
                await writer.commit()
                await asyncio.sleep(0.1)
            assert not migrating.done()
            await reader.commit()
            assert await migrating == "0004"
    finally:
        await engine.dispose()
    assert await revision_of(url) == REVISIONS[-1]
