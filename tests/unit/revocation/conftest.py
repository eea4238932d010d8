"""Nodes with a Redis of their own and a database whose faults can be switched on."""

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from keyturn.server.domain.model import Revocation, RevocationKind
from keyturn.server.domain.revocations import Subject
from keyturn.server.revocation import KeptList, open_revocation_list
from tests.contracts.revocation.memory_store import MemoryStore

from .redis_process import RedisProcess


def session(subject: str) -> Revocation:
    ends = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=300)
    return Revocation(RevocationKind.SESSION, subject, ends)


def of(revocation: Revocation) -> Subject:
    return (revocation.kind, revocation.subject)


@dataclass
class House:
    """A store, perhaps a Redis, and nodes, each with its own view of the store."""

    redis_url: str | None
    store: MemoryStore = field(default_factory=MemoryStore)
    stack: AsyncExitStack = field(default_factory=AsyncExitStack)

    async def open(
        self, *, redis_timeout: float = 0.1, allow_eviction: bool = False
    ) -> tuple[KeptList, MemoryStore]:
        view = self.store.another()
        node = await self.stack.enter_async_context(
            open_revocation_list(
                view,
                redis_url=self.redis_url,
                redis_timeout=redis_timeout,
                allow_eviction=allow_eviction,
            )
        )
        return node, view

    async def commit(self, *entries: Revocation) -> None:
        await self.store.rows.add(entries)

    async def revoke(self, by: KeptList, *entries: Revocation) -> None:
        await self.commit(*entries)
        await by.publish(entries)


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisProcess]:
    process = RedisProcess(tmp_path)
    process.start()
    yield process
    process.kill()


@pytest.fixture
async def house(redis: RedisProcess) -> AsyncIterator[House]:
    house = House(redis.url)
    async with house.stack:
        yield house


@pytest.fixture
async def without_redis() -> AsyncIterator[House]:
    house = House(None)
    async with house.stack:
        yield house
