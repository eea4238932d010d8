"""The databases under the service: made for the bench, with the demo in them, gone afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, urlsplit

import asyncpg

from keyturn.server.app import migrate
from keyturn.server.parts import open_parts
from keyturn.server.services.bootstrap import Demo, make_demo
from keyturn.server.settings import Settings
from tests.servers import POSTGRES_URL, running_postgres

SQLITE = "sqlite"
POSTGRESQL = "postgresql"
STORES = (POSTGRESQL, SQLITE)

# What a server in production does, unlike the one the tests use.
_DURABLE = {
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "autovacuum": "on",
}


@dataclass(frozen=True)
class Prepared:
    """A database with a demo, and what a service on it has to be told. Holds secrets."""

    environment: dict[str, str] = field(repr=False)
    username: str
    api_key: str = field(repr=False)
    admin_username: str
    admin_api_key: str = field(repr=False)
    tenant: str


@contextlib.contextmanager
def prepared(store: str, directory: Path) -> Iterator[Prepared]:
    """A fresh database with the demo in it. Raises ServerError without a PostgreSQL."""
    with contextlib.ExitStack() as stack:
        if store == SQLITE:
            url = f"sqlite:///{quote(str(directory / 'bench.db'))}"
        else:
            server = stack.enter_context(running_postgres(settings=_DURABLE))
            url = stack.enter_context(_database(server.url))
        settings = Settings(database_url=url, master_secret=secrets.token_urlsafe(40))
        demo = asyncio.run(_fill(settings))
        yield Prepared(
            environment={
                "KEYTURN_DATABASE_URL": url,
                "KEYTURN_MASTER_SECRET": settings.master_secret.get_secret_value(),
            },
            username=demo.user.username,
            api_key=demo.key.text,
            admin_username=demo.platform.user.username,
            admin_api_key=demo.platform.key.text,
            tenant=demo.tenants[0].id,
        )


def described(store: str) -> str:
    """How durable its writes are."""
    if store == SQLITE:
        return "SQLite: a file in the temporary directory"
    if os.environ.get(POSTGRES_URL):
        return f"PostgreSQL: the server named by {POSTGRES_URL}, with its own settings"
    return "PostgreSQL: " + ", ".join(f"{name} {value}" for name, value in _DURABLE.items())


async def _fill(settings: Settings) -> Demo:
    await migrate(settings)
    async with open_parts(settings) as parts:
        return await make_demo(parts.store, parts.key_format)


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
