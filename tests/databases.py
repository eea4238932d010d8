"""A migrated database of its own for each test, on each backend; searched for secrets at its end.

Tests take `database_url` (or `storage`, an open one) and run twice. Those about one backend take
`sqlite_url` or `postgres_url`. A template is migrated once and copied, which takes milliseconds;
on PostgreSQL, where it takes more, a copy serves one test after another.
"""

from __future__ import annotations

import asyncio
import secrets
import shutil
import sqlite3
from collections.abc import AsyncIterator, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import pytest
from sqlalchemy import Engine
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from keyturn.server.storage import Storage, migrate, open_storage
from keyturn.server.storage import engine as engine_module
from tests.copies import Copies, creation, dropping, execute, line, read_all, text_of
from tests.secret_scan import scan_for_secrets
from tests.servers import PostgresServer

T = TypeVar("T")


@pytest.fixture(scope="session", autouse=True)
def _compiled_once() -> Iterator[None]:
    """Statements are compiled once a process, as in a service, and not for each test's engine.

    What is compiled belongs to a dialect: all engines of a kind get the first one's.
    """
    firsts: dict[str, Engine] = {}

    def create(url: str, **options: Any) -> AsyncEngine:
        created = create_async_engine(url, **options)
        engine = created.sync_engine
        first = firsts.setdefault(url, engine)
        engine.dialect = engine.pool._dialect = first.dialect
        engine._compiled_cache = first._compiled_cache
        return created

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine_module, "create_async_engine", create)
        yield


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file, to be copied."""
    path = tmp_path_factory.mktemp("sqlite") / "template.db"
    run(migrate(f"sqlite:///{path}"))
    return path


@pytest.fixture(scope="session")
def postgres_template(postgres_server: PostgresServer) -> Iterator[str]:
    """The name of a migrated PostgreSQL database, to be copied."""
    name = f"keyturn_template_{secrets.token_hex(4)}"
    with database(postgres_server.url, name) as url:
        run(migrate(url))
        yield name


@pytest.fixture
def sqlite_url(sqlite_template: Path, tmp_path: Path) -> Iterator[str]:
    """A migrated and otherwise empty SQLite database."""
    path = tmp_path / "keyturn.db"
    shutil.copy(sqlite_template, path)
    yield f"sqlite:///{path}"
    no_secrets(dump_sqlite(path))


@pytest.fixture(scope="session")
def postgres_copies(postgres_server: PostgresServer) -> Iterator[Copies]:
    """The copies of all PostgreSQL templates."""
    copies = Copies(postgres_server.url)
    yield copies
    copies.close()


@pytest.fixture
def postgres_url(postgres_template: str, postgres_copies: Copies) -> Iterator[str]:
    """A migrated and otherwise empty PostgreSQL database."""
    copy = postgres_copies.take(postgres_template)
    yield copy.url
    no_secrets(postgres_copies.give_back(copy, postgres_template))


@pytest.fixture
def empty_postgres_url(postgres_server: PostgresServer) -> Iterator[str]:
    """A PostgreSQL database without a schema."""
    with database(postgres_server.url, f"keyturn_{secrets.token_hex(6)}") as url:
        yield url


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest) -> str:
    """A migrated and otherwise empty database; the test runs on each backend."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture(params=["sqlite", "postgres"])
def empty_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database that was never migrated; the test runs on each backend."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/empty.db"
    url: str = request.getfixturevalue("empty_postgres_url")
    return url


@pytest.fixture
async def storage(database_url: str) -> AsyncIterator[Storage]:
    """An open storage; the test runs on each backend."""
    async with open_storage(database_url) as opened:
        yield opened


@contextmanager
def database(server: str, name: str, template: str = "template1") -> Iterator[str]:
    """A database on `server`, dropped at the end."""
    run(execute(server, creation(name, template)))
    try:
        yield urlsplit(server)._replace(path=f"/{name}").geturl()
    finally:
        run(execute(server, dropping(name)))


async def dump_postgres(url: str) -> str:
    """All rows of all tables, as text."""
    return text_of(await read_all(url))


def dump_sqlite(path: Path) -> str:
    """All rows of all tables, as text."""
    with closing(sqlite3.connect(path)) as connection:
        names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        rows = [connection.execute(f'SELECT * FROM "{name}"').fetchall() for (name,) in names]
    return "\n".join(line(row) for table in rows for row in table)


def no_secrets(dump: str) -> None:
    """Fails the test when a dump holds a secret."""
    findings = scan_for_secrets(dump)
    if findings:
        pytest.fail(f"the database holds secrets: {findings}")


def run(work: Coroutine[Any, Any, T]) -> T:
    """What `work` gives, from an event loop in a thread of its own."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()
