"""What every revocation list keeps, in memory or in Redis, over every store."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
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

from .memory_store import MemoryStore

FOREVER = datetime(FOREVER_YEAR, 1, 1, tzinfo=UTC)
#: "Within a second", and slack for a busy machine.
SOON = 4.0


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
        assert time.monotonic() - started < SOON, "not within a second"
        await asyncio.sleep(0.02)


async def found_soon(node: RevocationList, revocation: Revocation) -> None:
    async def found() -> bool:
        return await node.find([of(revocation)]) == (revocation,)

    await soon(found)


#: Several nodes on SQLite with Redis between them are nobody's house, but cost half a minute.
HOUSES = ["fake-memory", "fake-redis", "sqlite-memory", "postgres-memory", "postgres-redis"]


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


@pytest.fixture
async def redis_url(request: pytest.FixtureRequest, house: str) -> str | None:
    if house.endswith("memory"):
        return None
    url: str = request.getfixturevalue("redis_server").url
    async with Redis.from_url(url, protocol=2) as client:
        await client.flushall()
    return url


@pytest.fixture
async def nodes(store: Store, redis_url: str | None) -> AsyncIterator[Nodes]:
    nodes = Nodes(store, redis_url)
    async with nodes.stack:
        yield nodes


@pytest.fixture
async def node(nodes: Nodes) -> KeptList:
    return await nodes.open()


@pytest.fixture
async def other(nodes: Nodes, node: KeptList) -> KeptList:
    return await nodes.open()


EVERY_KIND = [
    entry(RevocationKind.TOKEN),
    entry(RevocationKind.SESSION),
    entry(RevocationKind.KEY),
    entry(RevocationKind.USER, epoch=7),
    entry(RevocationKind.USER, subject="all"),
    entry(RevocationKind.TENANT),
]


class TestFind:
    @pytest.mark.parametrize("revocation", EVERY_KIND, ids=lambda one: f"{one.kind}-{one.epoch}")
    async def test_finds_what_was_published(
        self, nodes: Nodes, node: KeptList, revocation: Revocation
    ) -> None:
        await nodes.revoke(node, revocation)

        assert await node.find([of(revocation)]) == (revocation,)

    async def test_finds_nothing_for_unknown_subjects(self, nodes: Nodes, node: KeptList) -> None:
        await nodes.revoke(node, entry(RevocationKind.TOKEN, "one"))

        assert await node.find([(RevocationKind.TOKEN, "two")]) == ()
        assert await node.find([]) == ()

    async def test_kinds_do_not_mix(self, nodes: Nodes, node: KeptList) -> None:
        await nodes.revoke(node, entry(RevocationKind.TOKEN, "same"))

        assert await node.find([(kind, "same") for kind in RevocationKind if kind != "token"]) == ()

    async def test_finds_all_of_several(self, nodes: Nodes, node: KeptList) -> None:
        await nodes.revoke(node, *EVERY_KIND)

        found = await node.find([*map(of, EVERY_KIND), (RevocationKind.KEY, "unknown")])

        assert set(found) == set(EVERY_KIND)

    async def test_forgets_what_has_expired(self, nodes: Nodes, node: KeptList) -> None:
        short = Revocation(RevocationKind.TOKEN, "short", in_(0.3))
        await nodes.revoke(node, short)
        assert await node.find([of(short)]) == (short,)

        await asyncio.sleep(0.4)

        assert await node.find([of(short)]) == ()

    async def test_odd_subjects_spoil_nothing(self, nodes: Nodes, node: KeptList) -> None:
        await nodes.revoke(node, entry(RevocationKind.TOKEN))
        odd = ["", " ", "a:b", "{x}", "*", "\n", "é", "\N{GRINNING FACE}", "x" * 5000]

        found = await node.find(
            [*((RevocationKind.TOKEN, name) for name in odd), of(EVERY_KIND[0])]
        )

        assert [one.subject for one in found] == ["s1"]

    async def test_hundred_at_once(self, nodes: Nodes, node: KeptList) -> None:
        revoked = [entry(RevocationKind.SESSION, f"dead-{i}") for i in range(50)]
        await nodes.revoke(node, *revoked)
        asked = [
            [(RevocationKind.SESSION, f"{what}-{i}")]
            for i in range(50)
            for what in ("dead", "alive")
        ]

        answers = await asyncio.gather(*(node.find(subjects) for subjects in asked))

        for subjects, answer in zip(asked, answers, strict=True):
            assert [of(one) for one in answer] == (subjects if "dead" in subjects[0][1] else [])


class TestEpoch:
    async def test_is_never_lowered(self, nodes: Nodes, node: KeptList, other: KeptList) -> None:
        new, old = (entry(RevocationKind.USER, "u", epoch) for epoch in (9, 8))
        await nodes.revoke(node, new)
        await nodes.revoke(other, old)

        async def nine(node: RevocationList) -> bool:
            (found,) = await node.find([(RevocationKind.USER, "u")])
            return found.epoch == 9

        assert await nine(node)
        await soon(lambda: nine(other))
        assert await nine(node)
        assert await nine(await nodes.open())

    async def test_is_raised(self, nodes: Nodes, node: KeptList, other: KeptList) -> None:
        await nodes.revoke(node, entry(RevocationKind.USER, "u", 1))
        newest = Revocation(RevocationKind.USER, "u", in_(400), 2)
        await nodes.revoke(other, newest)

        assert await other.find([of(newest)]) == (newest,)
        await found_soon(node, newest)

    async def test_ends_with_the_last_entry(self, nodes: Nodes, node: KeptList) -> None:
        long = Revocation(RevocationKind.USER, "u", in_(300), 1)
        short = Revocation(RevocationKind.USER, "u", in_(100), 2)
        await nodes.revoke(node, long)
        await nodes.revoke(node, short)

        expected = Revocation(RevocationKind.USER, "u", long.expires_at, 2)
        assert await node.find([of(long)]) == (expected,)
        assert await (await nodes.open()).find([of(long)]) == (expected,)

    async def test_no_epoch_kills_all(self, nodes: Nodes, node: KeptList) -> None:
        every = entry(RevocationKind.USER, "u")
        await nodes.revoke(node, every)
        await nodes.revoke(node, Revocation(RevocationKind.USER, "u", every.expires_at, 3))

        assert await node.find([of(every)]) == (every,)
        assert await (await nodes.open()).find([of(every)]) == (every,)


class TestOtherNodes:
    @pytest.mark.parametrize("revocation", EVERY_KIND, ids=lambda one: f"{one.kind}-{one.epoch}")
    async def test_hear_within_a_second(
        self, nodes: Nodes, node: KeptList, other: KeptList, revocation: Revocation
    ) -> None:
        await nodes.revoke(node, revocation)

        if nodes.redis_url is not None:
            # At once.
            assert await other.find([of(revocation)]) == (revocation,)
        await found_soon(other, revocation)

    async def test_hear_of_what_was_never_published(
        self, nodes: Nodes, node: KeptList, other: KeptList
    ) -> None:
        revocation = entry(RevocationKind.KEY, "unpublished")
        await nodes.commit(revocation)

        await found_soon(node, revocation)
        await found_soon(other, revocation)

    async def test_know_at_their_start(self, nodes: Nodes, node: KeptList) -> None:
        await nodes.commit(*EVERY_KIND)

        late = await nodes.open()

        assert set(await late.find([*map(of, EVERY_KIND)])) == set(EVERY_KIND)


class TestLifting:
    async def test_frees_the_tenant(self, nodes: Nodes, node: KeptList, other: KeptList) -> None:
        suspended = entry(RevocationKind.TENANT, "t")
        await nodes.revoke(node, suspended)
        await found_soon(other, suspended)

        await nodes.lift(node, of(suspended))

        assert await node.find([of(suspended)]) == ()

        async def free() -> bool:
            return await other.find([of(suspended)]) == ()

        await soon(free)
        assert await (await nodes.open()).find([of(suspended)]) == ()

    async def test_suspending_again(self, nodes: Nodes, node: KeptList, other: KeptList) -> None:
        suspended = entry(RevocationKind.TENANT, "t")
        for _ in range(3):
            await nodes.revoke(node, suspended)
            assert await node.find([of(suspended)]) == (suspended,)
            await nodes.lift(node, of(suspended))
            assert await node.find([of(suspended)]) == ()
        await nodes.revoke(other, suspended)

        assert await other.find([of(suspended)]) == (suspended,)
        await found_soon(node, suspended)
        await asyncio.sleep(1.2)
        assert await node.find([of(suspended)]) == (suspended,)

    async def test_of_what_was_never_suspended(self, nodes: Nodes, node: KeptList) -> None:
        await nodes.lift(node, (RevocationKind.TENANT, "t"))

        assert await node.find([(RevocationKind.TENANT, "t")]) == ()


class TestPublish:
    async def test_an_old_entry_takes_nothing_away(self, nodes: Nodes, node: KeptList) -> None:
        live = entry(RevocationKind.USER, "u", 5)
        await nodes.revoke(node, live)
        await node.publish([Revocation(RevocationKind.USER, "u", in_(-10), 4)])

        assert await node.find([of(live)]) == (live,)

    async def test_many_at_once(self, nodes: Nodes, node: KeptList, other: KeptList) -> None:
        many = [entry(RevocationKind.SESSION, f"s{i}") for i in range(2000)]
        await asyncio.gather(*(nodes.revoke(node, *many[i::5]) for i in range(5)))

        for start in range(0, len(many), 500):
            part = many[start : start + 500]
            assert set(await node.find([*map(of, part)])) == set(part)
        await found_soon(other, many[-1])

    async def test_repeated(self, nodes: Nodes, node: KeptList) -> None:
        one = entry(RevocationKind.KEY)
        for _ in range(3):
            await nodes.revoke(node, one)

        assert await node.find([of(one), of(one)]) == (one,)
