"""Nodes of one installation, over every store, in memory and with Redis."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from redis.asyncio import Redis

from keyturn.server.domain.model import Revocation, RevocationKind
from keyturn.server.domain.revocations import FOREVER_YEAR, Subject
from keyturn.server.revocation import KeptList, open_revocation_list
from keyturn.server.services.ports import RevocationList, Store
from keyturn.server.storage import open_storage
from tests.unit.revocation.redis_cluster import Cluster, running_cluster

from .memory_store import MemoryStore

FOREVER = datetime(FOREVER_YEAR, 1, 1, tzinfo=UTC)
#: "Within a second", which tests/faults/ measures; the rest is for a busy machine.
SOON = 20.0


def in_(seconds: float) -> datetime:
    """To the millisecond, which every store keeps."""
    now = datetime.now(UTC) + timedelta(seconds=seconds)
    return now.replace(microsecond=now.microsecond // 1000 * 1000)


def entry(kind: RevocationKind, subject: str = "s1", epoch: int | None = None) -> Revocation:
    ends = FOREVER if kind is RevocationKind.TENANT else in_(300)
    return Revocation(kind, subject, ends, epoch)


def of(revocation: Revocation) -> Subject:
    return (revocation.kind, revocation.subject)


@dataclass
class Nodes:
    """Nodes on one store and, perhaps, one Redis."""

    store: Store
    redis_url: str | None
    stack: AsyncExitStack = field(default_factory=AsyncExitStack)

    async def open(self) -> KeptList:
        node = await self.stack.enter_async_context(
            open_revocation_list(self.store, redis_url=self.redis_url, redis_timeout=1.0)
        )
        assert node.state().status == "ok", node.state()
        return node

    async def commit(self, *entries: Revocation) -> None:
        async with self.store.transaction() as tx:
            await tx.revocations.add(entries)

    async def revoke(self, by: KeptList, *entries: Revocation) -> None:
        await self.commit(*entries)
        await by.publish(entries)

    async def lift(self, by: KeptList, subject: Subject) -> None:
        async with self.store.transaction() as tx:
            await tx.revocations.lift([subject])
        await by.publish([Revocation(subject[0], subject[1], in_(-1))])


async def soon(condition: Callable[[], Awaitable[bool]]) -> None:
    """Waits until it holds; fails when that takes too long."""
    started = time.monotonic()
    while not await condition():
        assert time.monotonic() - started < SOON, "not in time"
        await asyncio.sleep(0.02)


async def found_soon(node: RevocationList, revocation: Revocation) -> None:
    async def found() -> bool:
        return await node.find([of(revocation)]) == (revocation,)

    await soon(found)


#: Several nodes on SQLite with Redis between them are nobody's house, but cost half a minute.
HOUSES = [
    "fake-memory",
    "fake-redis",
    "sqlite-memory",
    "postgres-memory",
    "postgres-redis",
    pytest.param("postgres-cluster", marks=pytest.mark.slow_fault),
]


@pytest.fixture(params=HOUSES)
def house(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
async def store(request: pytest.FixtureRequest, house: str) -> AsyncIterator[Store]:
    database = house.split("-", maxsplit=1)[0]
    if database == "fake":
        yield MemoryStore()
        return
    async with open_storage(request.getfixturevalue(f"{database}_url")) as storage:
        yield storage.store


@pytest.fixture(scope="session")
def redis_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three processes, for all tests of this one."""
    with running_cluster(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


@pytest.fixture
async def redis_url(request: pytest.FixtureRequest, house: str) -> str | None:
    if house.endswith("memory"):
        return None
    if house.endswith("cluster"):
        cluster: Cluster = request.getfixturevalue("redis_cluster")
        cluster.owner.do("FLUSHALL")
        return cluster.url
    url: str = request.getfixturevalue("redis_server").url
    async with Redis.from_url(url, protocol=2) as client:
        await client.flushall()
    return url


@pytest.fixture
async def nodes(store: Store, redis_url: str | None) -> AsyncIterator[Nodes]:
    nodes = Nodes(store, redis_url)
    async with nodes.stack:
        yield nodes
