"""Word of other nodes' revocations: heard at once where the database can tell, and never needed."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from keyturn.server.domain.model import Revocation, RevocationKind
from keyturn.server.storage import Storage, notifications, open_storage

#: Far longer than it takes, and far shorter than for ever.
SOON = 10.0


def entry(subject: str) -> Revocation:
    return Revocation(RevocationKind.TOKEN, subject, datetime.now(UTC) + timedelta(seconds=300))


async def revoke(storage: Storage, subject: str) -> None:
    async with storage.store.transaction() as tx:
        await tx.revocations.add([entry(subject)])


async def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + SOON
    while not condition():
        assert time.monotonic() < end, "not in time"
        await asyncio.sleep(0.01)


@asynccontextmanager
async def listening(storage: Storage) -> AsyncIterator[list[int]]:
    """What is heard, as a list that grows."""
    heard: list[int] = []
    task = asyncio.create_task(storage.store.listen(lambda: heard.append(1)))
    try:
        yield heard
    finally:
        task.cancel()
        await asyncio.wait([task])


@pytest.fixture
async def pair(postgres_url: str) -> AsyncIterator[tuple[Storage, Storage]]:
    """Two nodes, both listening."""
    async with open_storage(postgres_url) as one, open_storage(postgres_url) as other:
        yield one, other


async def test_another_node_hears(pair: tuple[Storage, Storage]) -> None:
    one, other = pair
    async with listening(one) as told, listening(other) as heard:
        await until(lambda: bool(told and heard))  # both listen
        before = len(heard)
        await revoke(one, "t1")
        await until(lambda: len(heard) > before)


async def test_nothing_is_told_of_what_was_rolled_back(pair: tuple[Storage, Storage]) -> None:
    one, other = pair
    async with listening(one) as told, listening(other) as heard:
        await until(lambda: bool(told and heard))
        before = len(heard)
        with suppress(ZeroDivisionError):
            async with one.store.transaction() as tx:
                await tx.revocations.add([entry("t1")])
                raise ZeroDivisionError
        await revoke(one, "t2")
        await until(lambda: len(heard) > before)
        assert len(heard) == before + 1


async def test_many_entries_are_told_once(pair: tuple[Storage, Storage]) -> None:
    one, other = pair
    async with listening(one) as told, listening(other) as heard:
        await until(lambda: bool(told and heard))
        before = len(heard)
        async with one.store.transaction() as tx:
            await tx.revocations.add([entry(f"t{number}") for number in range(1200)])
        await revoke(one, "last")
        await until(lambda: len(heard) >= before + 2)
        assert len(heard) == before + 2


async def test_who_does_not_listen_tells_nobody(pair: tuple[Storage, Storage]) -> None:
    """An engine without LISTEN has no NOTIFY either: nothing that is written depends on it."""
    one, other = pair
    async with listening(other) as heard:
        await until(lambda: bool(heard))
        await revoke(one, "t1")
        async with one.store.transaction() as tx:
            assert await tx.revocations.find([(RevocationKind.TOKEN, "t1")])
        assert len(heard) == 1


async def test_a_lost_connection_is_made_anew(
    pair: tuple[Storage, Storage], postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notifications, "FIRST_PAUSE", 0.01)
    one, other = pair
    async with listening(one) as told, listening(other) as heard:
        await until(lambda: bool(told and heard))
        before = len(heard)
        killer = await asyncpg.connect(postgres_url)
        await killer.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND query LIKE 'LISTEN%'"
        )
        await killer.close()
        # It listens again, and has the tail read what may have been missed.
        await until(lambda: len(heard) > before)
        before = len(heard)
        await until(lambda: len(told) > 1)
        await revoke(one, "t1")
        await until(lambda: len(heard) > before)


async def test_sqlite_has_nobody_to_hear_of(sqlite_url: str) -> None:
    async with open_storage(sqlite_url) as storage:
        async with asyncio.timeout(SOON):
            await storage.store.listen(lambda: pytest.fail("heard something"))
        await revoke(storage, "t1")
