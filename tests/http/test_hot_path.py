"""What one exchange asks of the stores: one read, and no more when it was read a moment ago.

Only what a request itself asks is counted, not what runs beside it.
"""

import json
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import asyncpg
import pytest
from asyncpg.prepared_stmt import PreparedStatement
from sqlalchemy import event

from keyturn.server.services import recent_keys
from keyturn.server.storage import SqliteLookup, driver, engine
from keyturn.server.storage.lookup_postgres import LOOKUP
from tests.http.conftest import Running

Start = Callable[..., Awaitable[Running]]

_asked: ContextVar[list[str] | None] = ContextVar("asked", default=None)


def _note(statement: str) -> None:
    asked = _asked.get()
    if asked is not None:
        asked.append(" ".join(statement.split()))


@contextmanager
def counted() -> Iterator[list[str]]:
    """The statements that are run inside, in order."""
    asked: list[str] = []
    token = _asked.set(asked)
    try:
        yield asked
    finally:
        _asked.reset(token)


@pytest.fixture
async def watched(start: Start, monkeypatch: pytest.MonkeyPatch) -> Running:
    """A service all of whose connections tell what they are asked."""
    connect = engine.connect_postgres

    async def connected(*args: Any, **options: Any) -> "asyncpg.Connection[asyncpg.Record]":
        connection = await connect(*args, **options)
        connection.add_query_logger(lambda record: _note(record.query))
        return connection

    for module in (engine, driver):
        monkeypatch.setattr(module, "connect_postgres", connected)
    # The driver's logger does not tell of what was prepared.
    execute = getattr(PreparedStatement, "_PreparedStatement__do_execute")  # noqa: B009 - mypy

    async def executed(self: Any, executor: Any) -> Any:
        _note(self.get_query())
        return await execute(self, executor)

    monkeypatch.setattr(PreparedStatement, "_PreparedStatement__do_execute", executed)
    service: Running = await start()
    parts = service.service.parts
    if isinstance(parts.lookup, SqliteLookup):
        parts.lookup._connection.set_trace_callback(_note)
        store: Any = parts.store
        sync_engine = store._engine.sync_engine
        event.listen(sync_engine, "before_cursor_execute", lambda *seen: _note(seen[2]))
    return service


def reads(asked: list[str]) -> int:
    """How many lookups that were. Nothing else is among them."""
    lookup = " ".join(LOOKUP.split())
    if lookup in asked:
        assert set(asked) == {lookup}
        return len(asked)
    # On SQLite one lookup is some SELECTs of one snapshot.
    assert {statement.split()[0] for statement in asked} <= {"BEGIN", "SELECT", "--", "ROLLBACK"}
    assert asked.count("BEGIN") == asked.count("ROLLBACK")
    return asked.count("BEGIN")


async def by_client_credentials(service: Running) -> int:
    answer = await service.token(
        grant_type="client_credentials",
        client_id=service.demo.key.key_id,
        client_secret=service.api_key,
    )
    return answer.status_code


async def by_password(service: Running, **more: Any) -> int:
    return 200 if await service.exchange(**more) else 0


async def in_a_tenant(service: Running) -> int:
    return await by_password(service, tenant=service.acme)


async def narrowed(service: Running) -> int:
    return await by_password(service, scope="tenants:read")


EXCHANGES = [by_password, by_client_credentials, in_a_tenant, narrowed]


class TestExchange:
    @pytest.mark.parametrize("exchange", EXCHANGES)
    async def test_reads_once_and_writes_nothing(
        self, watched: Running, exchange: Callable[[Running], Awaitable[int]]
    ) -> None:
        with counted() as asked:
            assert await exchange(watched) == 200
        assert reads(asked) == 1

    @pytest.mark.parametrize("exchange", EXCHANGES)
    async def test_reads_once_for_several_of_one_moment(
        self,
        watched: Running,
        exchange: Callable[[Running], Awaitable[int]],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(recent_keys, "GOOD_FOR", 60.0)
        with counted() as asked:
            for _ in range(10):
                assert await exchange(watched) == 200
        # Once a second this node writes what was used, and forgets what it read of it.
        assert 1 <= reads(asked) <= 3

    async def test_of_an_invented_key_reads_nothing(self, watched: Running) -> None:
        with counted() as asked:
            answer = await watched.token(
                grant_type="password", username=watched.username, password=f"kt_{'x' * 73}"
            )
        assert answer.status_code == 400
        assert asked == []

    async def test_of_a_wrong_secret_reads_and_writes_as_little(self, watched: Running) -> None:
        other = await watched.add_key()
        with counted() as asked:
            answer = await watched.token(
                grant_type="password", username="somebody", password=other.text
            )
        assert answer.status_code == 400
        assert reads(asked) == 1


class TestOthers:
    async def test_a_refresh_writes_one_row_and_reads_nothing_more(self, watched: Running) -> None:
        body = await watched.exchange()
        with counted() as asked:
            body = (await watched.refresh(body["refresh_token"])).json()
            body = (await watched.refresh(body["refresh_token"])).json()
        steps = [s for s in asked if s.startswith(("INSERT INTO sessions", "UPDATE sessions"))]
        assert len(steps) == 2
        assert reads([s for s in asked if s not in steps and s != "BEGIN IMMEDIATE"]) <= 1

    async def test_me_and_introspection_read_keys_only(self, watched: Running) -> None:
        body = await watched.exchange()
        await watched.introspect(body["access_token"])
        with counted() as asked:
            assert (await watched.get("/iam/users/me", body["access_token"])).status_code == 200
            assert (await watched.introspect(body["access_token"])).json()["active"]
        assert reads(asked) <= 3


#: Starts the service of its environment, and tells what its first exchange imports.
_FIRST_EXCHANGE = """
import asyncio, json, os, sys
from urllib.parse import urlencode
from keyturn.server.app import from_environment

async def main():
    app, answers = from_environment(), []
    body = urlencode(json.load(sys.stdin)).encode()
    kind = b"application/x-www-form-urlencoded"
    scope = {
        "type": "http", "method": "POST", "path": "/iam/auth/token", "query_string": b"",
        "headers": [(b"content-type", kind)], "client": ("127.0.0.1", 1), "scheme": "http",
    }
    async def receive():
        return {"type": "http.request", "body": body, "more_body": False}
    async def send(message):
        answers.append(message)
    async with app.router.lifespan_context(app):
        before = set(sys.modules)
        await app(scope, receive, send)
        new = sorted(set(sys.modules) - before)
        print(json.dumps([answers[0]["status"], new]))

asyncio.run(main())
"""


class TestFirstExchange:
    def test_imports_nothing(self, service: Running) -> None:
        settings = service.settings
        environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith("KEYTURN_")},
            "KEYTURN_DATABASE_URL": settings.database_url.get_secret_value(),
            "KEYTURN_MASTER_SECRET": settings.master_secret.get_secret_value(),
            "KEYTURN_LOG_LEVEL": "error",
        }
        form = {"grant_type": "password", "username": service.username, "password": service.api_key}
        done = subprocess.run(
            [sys.executable, "-c", _FIRST_EXCHANGE],
            input=json.dumps(form),
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout) == [200, []]
