"""The databases under the service: made for the bench, with the demo in them, gone afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, urlsplit

import asyncpg

from keyturn.server.app import migrate
from keyturn.server.parts import open_parts
from keyturn.server.services.bootstrap import Demo, make_demo
from keyturn.server.services.ports import NewKey
from keyturn.server.settings import Settings
from tests.servers import POSTGRES_URL, REDIS_URL, running_postgres, running_redis
from tests.unlimited import UNLIMITED_ENVIRONMENT

SQLITE = "sqlite"
POSTGRESQL = "postgresql"
STORES = (POSTGRESQL, SQLITE)

#: So many that no cache of a service helps.
MANY_KEYS = 10_000

# What a server in production does, unlike the one the tests use.
_DURABLE = {
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "autovacuum": "on",
}


# A key of the demo's user, once more: all but its id and its secret.
_COPY = """
    INSERT INTO api_keys (id, hash, user_id, home_tenant_id, name, pepper_version, created_at,
                          use_count, sessions_epoch, version)
    SELECT $1, $2, user_id, home_tenant_id, name, pepper_version, created_at,
           use_count, sessions_epoch, version
    FROM api_keys WHERE id = $3
"""


@dataclass(frozen=True)
class Prepared:
    """A database with a demo, and what a service on it has to be told. Holds secrets.

    `pids` are the servers that were started for it, by what they are called in the figures.
    """

    environment: dict[str, str] = field(repr=False)
    username: str
    api_key: str = field(repr=False)
    #: More keys of the same user.
    many_keys: tuple[str, ...] = field(repr=False)
    admin_username: str
    admin_api_key: str = field(repr=False)
    tenant: str
    pids: dict[str, int]


@contextlib.contextmanager
def prepared(
    store: str, directory: Path, *, algorithm: str = "ES256", keys: int = 0
) -> Iterator[Prepared]:
    """A fresh database with the demo in it, and so many keys more; PostgreSQL with a Redis.

    Raises ServerError where one cannot be had.
    """
    pids: dict[str, int | None] = {}
    environment = {}
    with contextlib.ExitStack() as stack:
        if store == SQLITE:
            path = directory / f"bench-{secrets.token_hex(4)}.db"
            url = f"sqlite:///{quote(str(path))}"
        else:
            postgres = stack.enter_context(running_postgres(settings=_DURABLE))
            redis = stack.enter_context(running_redis())
            url = stack.enter_context(_database(postgres.url))
            environment["KEYTURN_REDIS_URL"] = urlsplit(redis.url)._replace(path="/6").geturl()
            pids = {"db": postgres.pid, "redis": redis.pid}
        settings = Settings(
            database_url=url,
            master_secret=secrets.token_urlsafe(40),
            signing_algorithm=algorithm,
        )
        demo, more = asyncio.run(_fill(settings, keys))
        rows = [(key.key_id, key.hash.digest, demo.key.key_id) for key in more]
        if store == SQLITE:
            with contextlib.closing(sqlite3.connect(path)) as database, database:
                database.executemany(_COPY.replace("$", "?"), rows)
        else:
            asyncio.run(_execute_many(url, _COPY, rows))
        yield Prepared(
            environment={
                **environment,
                **UNLIMITED_ENVIRONMENT,
                "KEYTURN_DATABASE_URL": url,
                "KEYTURN_MASTER_SECRET": settings.master_secret.get_secret_value(),
                "KEYTURN_SIGNING_ALGORITHM": algorithm,
            },
            username=demo.user.username,
            api_key=demo.key.text,
            many_keys=tuple(key.text for key in more),
            admin_username=demo.platform.user.username,
            admin_api_key=demo.platform.key.text,
            tenant=demo.tenants[0].id,
            pids={name: pid for name, pid in pids.items() if pid is not None},
        )


def described(store: str) -> str:
    """How durable its writes are."""
    if store == SQLITE:
        return "SQLite: a file in the temporary directory; no Redis"
    durable = ", ".join(f"{name} {value}" for name, value in _DURABLE.items())
    if os.environ.get(POSTGRES_URL):
        durable = f"the server named by {POSTGRES_URL}, with its own settings"
    redis = f"the one named by {REDIS_URL}" if os.environ.get(REDIS_URL) else "without persistence"
    return f"PostgreSQL: {durable}; Redis: {redis}"


async def _fill(settings: Settings, keys: int) -> tuple[Demo, list[NewKey]]:
    await migrate(settings)
    async with open_parts(settings) as parts:
        demo = await make_demo(parts.store, parts.key_format)
        return demo, [parts.key_format.new() for _ in range(keys)]


@contextlib.contextmanager
def _database(server: str) -> Iterator[str]:
    name = f"keyturn_bench_{secrets.token_hex(6)}"
    asyncio.run(_execute(server, f'CREATE DATABASE "{name}"'))
    try:
        yield urlsplit(server)._replace(path=f"/{name}").geturl()
    finally:
        asyncio.run(_execute(server, f'DROP DATABASE "{name}" WITH (FORCE)'))


async def _execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url, timeout=10)
    try:
        await connection.execute(statement, timeout=30)
    finally:
        await connection.close(timeout=5)


async def _execute_many(url: str, statement: str, rows: Sequence[tuple[object, ...]]) -> None:
    connection = await asyncpg.connect(url, timeout=10)
    try:
        await connection.executemany(statement, rows, timeout=60)
        await connection.execute("ANALYZE", timeout=60)
    finally:
        await connection.close(timeout=5)
