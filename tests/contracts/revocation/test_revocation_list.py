"""What every revocation list keeps, in memory or in Redis, over every store."""

import asyncio

import pytest

from keyturn.server.domain.model import Revocation, RevocationKind
from keyturn.server.revocation import KeptList
from keyturn.server.services.ports import RevocationList

from .conftest import Nodes, entry, found_soon, in_, of, soon


@pytest.fixture
async def node(nodes: Nodes) -> KeptList:
    return await nodes.open()


@pytest.fixture
async def other(nodes: Nodes, node: KeptList) -> KeptList:
    return await nodes.open()


KINDS = [
    (RevocationKind.TOKEN, "s1", None),
    (RevocationKind.SESSION, "s1", None),
    (RevocationKind.KEY, "s1", None),
    (RevocationKind.USER, "s1", 7),
    (RevocationKind.USER, "all", None),
    (RevocationKind.TENANT, "s1", None),
]


@pytest.fixture
def every_kind() -> list[Revocation]:
    return [entry(*each) for each in KINDS]


@pytest.fixture(params=KINDS, ids=lambda one: f"{one[0]}-{one[2]}")
def revocation(request: pytest.FixtureRequest) -> Revocation:
    """One of every kind. (Made for the test: it expires, and a run may be long.)"""
    return entry(*request.param)


class TestFind:
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

    async def test_finds_all_of_several(
        self, nodes: Nodes, node: KeptList, every_kind: list[Revocation]
    ) -> None:
        await nodes.revoke(node, *every_kind)

        found = await node.find([*map(of, every_kind), (RevocationKind.KEY, "unknown")])

        assert set(found) == set(every_kind)

    async def test_forgets_what_has_expired(self, nodes: Nodes, node: KeptList) -> None:
        short = Revocation(RevocationKind.TOKEN, "short", in_(0.3))
        await nodes.revoke(node, short)
        assert await node.find([of(short)]) == (short,)

        await asyncio.sleep(0.4)

        assert await node.find([of(short)]) == ()

    async def test_odd_subjects_spoil_nothing(self, nodes: Nodes, node: KeptList) -> None:
        known = entry(RevocationKind.TOKEN)
        await nodes.revoke(node, known)
        odd = ["", " ", "a:b", "{x}", "*", "\n", "é", "\N{GRINNING FACE}", "x" * 5000]

        found = await node.find([*((RevocationKind.TOKEN, name) for name in odd), of(known)])

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

    async def test_know_at_their_start(
        self, nodes: Nodes, node: KeptList, every_kind: list[Revocation]
    ) -> None:
        await nodes.commit(*every_kind)

        late = await nodes.open()

        assert set(await late.find([*map(of, every_kind)])) == set(every_kind)


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
