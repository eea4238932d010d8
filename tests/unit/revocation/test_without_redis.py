"""One node with its memory and the database, whose faults come and go."""

import asyncio
import time
from datetime import UTC, datetime, timedelta

import pytest

from keyturn.server.domain.errors import Unavailable
from keyturn.server.domain.model import Revocation, RevocationKind
from keyturn.server.domain.revocations import FOREVER_YEAR
from keyturn.server.revocation import follower, open_revocation_list
from tests.contracts.revocation.memory_store import MemoryStore

from .conftest import House, of, session

TENANT = Revocation(RevocationKind.TENANT, "t", datetime(FOREVER_YEAR, 1, 1, tzinfo=UTC))


async def test_a_fresh_copy_asks_nobody(without_redis: House) -> None:
    node, view = await without_redis.open()
    for _ in range(100):
        assert await node.find([of(session("any"))]) == ()

    assert view.finds == 0


class TestStale:
    async def test_asks_the_database(self, without_redis: House) -> None:
        node, view = await without_redis.open()
        view.deaf = True
        await asyncio.sleep(follower.FRESH_FOR + 0.1)
        await without_redis.commit(session("dead"))

        assert await node.find([of(session("dead"))])
        assert view.finds == 1

    async def test_refuses_without_the_database(self, without_redis: House) -> None:
        node, view = await without_redis.open()
        await without_redis.revoke(node, session("dead"))
        view.down = True
        await asyncio.sleep(follower.FRESH_FOR + 0.1)

        with pytest.raises(Unavailable):
            await node.find([of(session("any"))])
        # What is known for good needs nobody.
        assert await node.find([of(session("dead"))])

        view.down = False
        started = time.monotonic()
        while node.state().status != "ok":
            assert time.monotonic() - started < 20
            await asyncio.sleep(0.02)
        assert await node.find([of(session("any"))]) == ()

    async def test_does_not_trust_an_old_suspension(self, without_redis: House) -> None:
        node, view = await without_redis.open()
        await without_redis.revoke(node, TENANT)
        view.deaf = True
        await asyncio.sleep(follower.FRESH_FOR + 0.1)
        await without_redis.store.rows.lift(of(TENANT))

        assert await node.find([of(TENANT)]) == ()

    async def test_many_finds_are_few_queries(self, without_redis: House) -> None:
        node, view = await without_redis.open()
        view.deaf = True
        view.delay = 0.02
        await asyncio.sleep(follower.FRESH_FOR + 0.1)
        await without_redis.commit(session("dead"))

        answers = await asyncio.gather(*(node.find([of(session("dead"))]) for _ in range(500)))

        assert all(answers)
        assert view.finds <= 4

    async def test_waits_for_a_bounded_time(self) -> None:
        store = MemoryStore()
        async with open_revocation_list(store, redis_url=None, database_timeout=0.2) as node:
            store.deaf = True
            store.delay = 60
            await asyncio.sleep(follower.FRESH_FOR + 0.1)
            started = time.monotonic()
            with pytest.raises(Unavailable):
                await node.find([of(session("any"))])
            assert time.monotonic() - started < 10  # of 60


class TestStart:
    async def test_without_the_database(self) -> None:
        store = MemoryStore()
        store.down = True
        async with open_revocation_list(store, redis_url=None) as node:
            assert node.state().status == "degraded"
            with pytest.raises(Unavailable):
                await node.find([of(session("any"))])
            store.down = False
            await store.rows.add([session("dead")])
            assert await node.find([of(session("dead"))])
            await asyncio.sleep(1)
            assert node.state().status == "ok"

    @pytest.mark.parametrize(
        "url", ["http://h", "redis://h:port", "redis+sentinel://h", "redis+x://h"]
    )
    async def test_refuses_what_is_no_url(self, url: str) -> None:
        with pytest.raises(ValueError, match="the Redis URL cannot be used"):
            async with open_revocation_list(MemoryStore(), redis_url=url):
                pass

    async def test_refuses_a_tail_too_slow_for_the_promise(self) -> None:
        with pytest.raises(ValueError, match="tail_interval"):
            async with open_revocation_list(MemoryStore(), redis_url=None, tail_interval=0.6):
                pass


class TestTailUnderWay:
    """What is told here while a tail is under way may be younger than its answer."""

    async def test_does_not_lift_a_new_suspension(self, without_redis: House) -> None:
        node, view = await without_redis.open()
        await without_redis.revoke(node, TENANT)
        await without_redis.store.rows.lift(of(TENANT))
        view.tail_delay = 0.6
        await asyncio.sleep(0.6)
        # The tail that says "lifted" is under way.
        await without_redis.revoke(node, TENANT)
        view.tail_delay = 0
        ends = time.monotonic() + 1.5
        while time.monotonic() < ends:
            assert await node.find([of(TENANT)])
            await asyncio.sleep(0.02)

    async def test_does_not_suspend_again(self, without_redis: House) -> None:
        node, view = await without_redis.open()
        view.tail_delay = 0.6
        await without_redis.commit(TENANT)
        await asyncio.sleep(0.6)
        await without_redis.store.rows.lift(of(TENANT))
        await node.publish([Revocation(TENANT.kind, TENANT.subject, datetime.now(UTC))])
        view.tail_delay = 0
        ends = time.monotonic() + 1.5
        while time.monotonic() < ends:
            assert not await node.find([of(TENANT)])
            await asyncio.sleep(0.02)


async def test_all_is_read_anew_after_a_long_gap(
    without_redis: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follower, "ALL_ANEW_AFTER", 0.3)
    node, view = await without_redis.open()
    await without_redis.revoke(node, TENANT)
    await asyncio.sleep(0.6)
    view.deaf = True
    # The database has forgotten the row before this node heard that it was lifted.
    del without_redis.store.rows.rows[of(TENANT)]
    await asyncio.sleep(0.6)
    view.deaf = False
    await asyncio.sleep(0.6)

    assert view.finds == 0
    assert await node.find([of(TENANT)]) == ()
    assert view.finds == 0


async def test_a_clock_that_is_behind_lifts_late_but_lifts() -> None:
    store = MemoryStore()
    skew = timedelta(seconds=-1)
    async with open_revocation_list(
        store, redis_url=None, clock=lambda: datetime.now(UTC) + skew
    ) as node:
        await store.rows.add([TENANT])
        await node.publish([TENANT])
        await store.rows.lift(of(TENANT))
        await asyncio.sleep(2.2)
        assert await node.find([of(TENANT)]) == ()
