"""A database that cannot answer is `Unavailable`, soon, and forgotten when it is back (P5)."""

from __future__ import annotations

import asyncio
import errno
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from time import monotonic
from urllib.parse import urlsplit

import asyncpg
import pytest
from sqlalchemy.exc import DBAPIError

from keyturn.server.domain.errors import Contended, Unavailable
from keyturn.server.storage import Storage, engine, open_storage
from keyturn.server.storage.faults import connecting
from keyturn.server.storage.lookup_postgres import PostgresLookup
from keyturn.server.storage.tables import users
from keyturn.server.storage.unit import Unit
from keyturn.server.storage.urls import PostgresServer
from tests.contracts.storage.world import NOW, World


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port that accepts connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


async def test_closed_port_is_unavailable_at_once(
    closed_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "CONNECT_SECONDS", 60.0)
    begin = monotonic()
    with pytest.raises(Unavailable):
        async with open_storage(f"postgresql://nobody@127.0.0.1:{closed_port}/none"):
            pass
    assert monotonic() - begin < 20


async def test_silent_server_is_unavailable_in_time(
    silent_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "CONNECT_SECONDS", 0.3)
    begin = monotonic()
    with pytest.raises(Unavailable):
        async with open_storage(
            f"postgresql://nobody@127.0.0.1:{silent_port}/none?sslmode=disable"
        ):
            pass
    assert monotonic() - begin < 2


class TestSeveralAddresses:
    async def test_one_that_is_away_is_passed_over_and_then_asked_last(
        self, silent_port: int, closed_port: int, postgres_url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(engine, "CONNECT_SECONDS", 9.0)
        parts = urlsplit(postgres_url)
        user, _, alive = parts.netloc.rpartition("@")
        away = f"127.0.0.1:{silent_port},127.0.0.1:{closed_port}"
        server = PostgresServer(parts._replace(netloc=f"{user}@{away},{alive}").geturl())
        connection = await engine.connect_postgres(server)
        assert await connection.fetchval("SELECT 1") == 1
        await connection.close()
        assert [one.where for one in server.in_turn()] == [alive, *away.split(",")]

    async def test_a_read_only_one_is_passed_over(self, postgres_url: str) -> None:
        parts = urlsplit(postgres_url)
        user, _, alive = parts.netloc.rpartition("@")
        server = PostgresServer(parts._replace(netloc=f"{user}@{alive},localhost:1").geturl())
        options = {"default_transaction_read_only": "on"}
        with pytest.raises(Unavailable) as caught:
            await engine.connect_postgres(server, settings=options)
        assert caught.value.detail.startswith(f"{alive} takes no writes; localhost:1 refuses")

    async def test_none_that_answers_is_unavailable_in_time(
        self, silent_port: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(engine, "CONNECT_SECONDS", 0.4)
        begin = monotonic()
        with pytest.raises(Unavailable, match=r"does not answer in time; .* in time"):
            async with open_storage(
                f"postgresql://nobody@127.0.0.1:{silent_port},127.0.0.1:{silent_port}/none"
                "?sslmode=disable"
            ):
                pass
        assert monotonic() - begin < 2


async def test_wrong_database_is_unavailable(postgres_url: str) -> None:
    url = urlsplit(postgres_url)._replace(path="/there-is-none").geturl()
    with pytest.raises(Unavailable):
        async with open_storage(url):
            pass


async def test_terminated_connections_are_replaced(postgres_url: str) -> None:
    async with open_storage(postgres_url, pool_size=3) as storage:
        world = await World.build(storage)
        for _ in range(2):
            await asyncio.gather(*(world.find() for _ in range(3)))
            await _terminate(postgres_url)
            await world.find()
            async with storage.store.transaction() as work:
                assert await work.users.get(world.user) is not None
            await storage.store.ping()


async def test_connection_cut_inside_a_transaction_is_unavailable(postgres_url: str) -> None:
    async with open_storage(postgres_url, pool_size=1) as storage:

        async def cut() -> None:
            async with storage.store.transaction() as work:
                await work.now()
                await _terminate(postgres_url)
                await work.now()

        with pytest.raises(Unavailable):
            await cut()
        await storage.store.ping()


async def test_read_only_server_is_unavailable_until_it_takes_writes(postgres_url: str) -> None:
    name = urlsplit(postgres_url).path[1:]
    async with open_storage(postgres_url) as storage:
        world = await World.build(storage)
        await _admin(
            postgres_url, f'ALTER DATABASE "{name}" SET default_transaction_read_only = on'
        )
        await _terminate(postgres_url)
        for call in (world.find, storage.store.ping):
            with pytest.raises(Unavailable):
                await call()
        with pytest.raises(Unavailable):
            async with storage.store.transaction() as work:
                await work.users.set_disabled(world.user, NOW)
        await _admin(postgres_url, f'ALTER DATABASE "{name}" RESET default_transaction_read_only')
        await world.find()
        async with storage.store.transaction() as work:
            assert await work.users.set_disabled(world.user, NOW)


async def test_no_free_connection_is_unavailable_after_the_wait(database_url: str) -> None:
    async with open_storage(database_url, pool_size=1, wait=0.2) as storage:
        async with storage.store.transaction():
            begin = monotonic()
            with pytest.raises(Unavailable):
                async with storage.store.transaction():
                    pass
            assert monotonic() - begin < 1.5
        await storage.store.ping()


async def test_no_free_connection_for_the_lookup_is_unavailable(postgres_url: str) -> None:
    async with open_storage(postgres_url, pool_size=1, wait=0.1) as storage:
        assert isinstance(storage.lookup, PostgresLookup)
        turns = storage.lookup._lines._turns
        await turns.take()
        with pytest.raises(Unavailable):
            await storage.lookup.find("x")
        turns.give_back()
        assert await storage.lookup.find("x") is None


async def test_file_locked_by_another_process_is_unavailable(sqlite_url: str) -> None:
    path = sqlite_url.removeprefix("sqlite:///")
    async with open_storage(sqlite_url, wait=0.2) as storage:
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(Unavailable):
                await storage.store.ping()
            assert await storage.lookup.find("x") is None, "reads never wait"
        await storage.store.ping()


async def test_transaction_that_takes_too_long_is_unavailable_and_undone(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = await World.build(storage)
    monkeypatch.setattr(storage.store, "_patience", 0.3)

    async def dawdle() -> None:
        async with storage.store.transaction() as work:
            await work.users.raise_epochs([world.user])
            await asyncio.sleep(5)

    with pytest.raises(Unavailable):
        await dawdle()
    monkeypatch.undo()
    assert (await world.find()).epoch == 0


async def test_cancelled_calls_leave_the_pools_whole(database_url: str) -> None:
    async with open_storage(database_url, pool_size=2) as storage:
        world = await World.build(storage)

        async def work() -> None:
            await world.find()
            async with storage.store.transaction() as transaction:
                await transaction.users.raise_epochs([world.user])

        for delay in range(8):
            tasks = [asyncio.create_task(work()) for _ in range(4)]
            await asyncio.sleep(delay / 500)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*(work() for _ in range(4)))


async def test_mistakes_stay_mistakes_and_show_no_parameters(storage: Storage) -> None:
    world = await World.build(storage)
    async with storage.store._engine.connect() as connection:
        with pytest.raises(DBAPIError) as raised:
            await Unit(connection).run(users.insert(), {"id": world.user, "username": "hush"})
        assert "hush" not in str(raised.value)


async def _terminate(url: str) -> None:
    await _admin(
        url,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE application_name = 'keyturn' AND datname = current_database()",
    )


async def _admin(url: str, statement: str) -> None:
    # A setting of the connection comes before one of the database.
    writable = {"default_transaction_read_only": "off"}
    connection = await asyncpg.connect(url, server_settings=writable)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


async def test_one_of_two_that_wait_crosswise_is_told_so(postgres_url: str) -> None:
    async with open_storage(postgres_url) as storage:
        world = await World.build(storage)
        other = await world.new_user("other")
        both = asyncio.Barrier(2)

        async def change(first: str, second: str) -> None:
            async with storage.store.transaction() as work:
                await work.users.raise_epochs([first])
                await both.wait()
                await work.users.raise_epochs([second])

        outcomes = await asyncio.gather(
            change(world.user, other), change(other, world.user), return_exceptions=True
        )
        assert [type(outcome) for outcome in outcomes if outcome] == [Contended]


class TestConnecting:
    @pytest.mark.parametrize(
        ("fault", "said"),
        [
            (asyncpg.InvalidPasswordError("ada: s3cret"), "db:5432 refused the password"),
            (asyncpg.InvalidCatalogNameError("ada"), 'database "x" does not exist on db:5432 (cre'),
            (asyncpg.InvalidAuthorizationSpecificationError("ada"), "not into the database"),
            (asyncpg.TooManyConnectionsError("ada"), "no more connections"),
            (asyncpg.TargetServerAttributeNotMatched("ada"), "db:5432 takes no writes"),
            (socket.gaierror(-2, "ada"), "no address is known of db:5432"),
            (TimeoutError("ada"), "db:5432 does not answer"),
            (ConnectionRefusedError(errno.ECONNREFUSED, "ada"), "db:5432 refuses connections"),
            (OSError(f"Multiple: [Errno {errno.ECONNREFUSED}] ada, …"), "refuses connections"),
            (ConnectionResetError("ada"), "db:5432 closes connections"),
        ],
        ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
    )
    def test_says_what_is_wrong_and_where_and_not_as_whom(
        self, fault: Exception, said: str
    ) -> None:
        server = PostgresServer("postgresql://ada:s3cret@db:5432/x")
        with pytest.raises(Unavailable) as caught, connecting(server.where, server.database):
            raise fault
        assert said in caught.value.detail
        assert "ada" not in caught.value.detail
        assert "s3cret" not in caught.value.detail

    @pytest.mark.parametrize(
        ("dsn", "where", "database"),
        [
            ("postgresql://u:p@[::1]:5433/a%20b", "[::1]:5433", "a b"),
            ("postgresql://u@one:1,two:2/x?sslmode=require", "one:1,two:2", "x"),
            ("postgresql:///x?host=/run/pg&port=5433&password=p", "/run/pg:5433", "x"),
            ("postgresql://", "", ""),
        ],
    )
    def test_where_it_is(self, dsn: str, where: str, database: str) -> None:
        server = PostgresServer(dsn)
        assert (server.where, server.database) == (where, database)
