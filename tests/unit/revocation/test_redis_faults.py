"""The fault table's lines about Redis: slower perhaps, never a revoked token accepted.

`blind` closes what the tail would hear, so that the local copy cannot help: what is found then
was found in Redis or asked of the database.
"""

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from redis.asyncio import Redis

from keyturn.server.domain.errors import Unavailable
from keyturn.server.domain.model import Revocation, RevocationKind
from keyturn.server.domain.revocations import FOREVER_YEAR
from keyturn.server.revocation import KeptList
from keyturn.server.revocation.redis_entries import MARKER, key
from tests.contracts.revocation.memory_store import MemoryStore

from .conftest import House, of, session
from .redis_process import RedisProcess

#: The promise is 250 ms; the rest is for a busy machine. Without a limit it would be for ever.
QUICK = 5.0
SOON = 20.0
TENANT = Revocation(RevocationKind.TENANT, "t", datetime(FOREVER_YEAR, 1, 1, tzinfo=UTC))


async def until(condition: Callable[[], bool]) -> None:
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < SOON
        await asyncio.sleep(0.02)


async def until_ok(*nodes: KeptList) -> None:
    for node in nodes:
        await until(lambda node=node: node.state().status == "ok")  # type: ignore[misc]


async def node_and_blind(house: House) -> tuple[KeptList, KeptList, MemoryStore]:
    """A node, and one that knows only what it asks for."""
    node, _ = await house.open(redis_timeout=0.5)
    blind, view = await house.open(redis_timeout=0.5)
    await until_ok(node, blind)
    view.deaf = True
    await asyncio.sleep(0.05)
    return node, blind, view


async def reads(client: Redis) -> int:
    count: int = (await client.info("commandstats")).get("cmdstat_mget", {}).get("calls", 0)
    return count


class TestAnswersFromRedis:
    async def test_without_the_database(self, house: House) -> None:
        node, blind, view = await node_and_blind(house)
        await house.revoke(node, session("dead"))
        view.down = True

        assert await blind.find([of(session("dead"))])
        assert not await blind.find([of(session("alive"))])
        assert view.finds == 0

    async def test_a_suspension_at_once(self, house: House) -> None:
        node, blind, view = await node_and_blind(house)
        await house.revoke(node, TENANT)

        assert await blind.find([of(TENANT)]) == (TENANT,)
        # Only the database can tell it from a leftover.
        assert view.finds == 1

    async def test_hundred_finds_are_few_reads(self, house: House, redis: RedisProcess) -> None:
        node, blind, _ = await node_and_blind(house)
        await house.revoke(node, session("dead"))
        async with redis.client() as client:
            before = await reads(client)
            answers = await asyncio.gather(*(blind.find([of(session("dead"))]) for _ in range(100)))
            after = await reads(client)

        assert all(answers)
        assert after - before < 10


class TestFlushed:
    async def test_the_very_next_find_finds(self, house: House, redis: RedisProcess) -> None:
        node, blind, view = await node_and_blind(house)
        await house.revoke(node, session("dead"))
        async with redis.client() as client:
            await client.flushall()

        assert await blind.find([of(session("dead"))])
        assert view.finds == 1

    async def test_is_filled_again(self, house: House, redis: RedisProcess) -> None:
        node, _ = await house.open()
        many = [session(f"s{i}") for i in range(1000)]
        await house.revoke(node, *many, TENANT)
        async with redis.client() as client:
            await client.flushall()
            await node.find([of(session("any"))])
            await until_ok(node)

            assert await client.exists(MARKER)
            assert await client.exists(*(key(of(one)) for one in (*many, TENANT))) == 1001
            assert 0 < await client.pttl(key(of(many[0]))) <= 360_000
            assert await client.ttl(key(of(TENANT))) == -1

    async def test_by_several_nodes_at_once(self, house: House, redis: RedisProcess) -> None:
        nodes = [(await house.open(redis_timeout=1.0))[0] for _ in range(5)]
        many = [session(f"s{i}") for i in range(1000)]
        await house.revoke(nodes[0], *many)
        async with redis.client() as client:
            await client.flushall()
            for found in await asyncio.gather(*(node.find([of(many[7])]) for node in nodes)):
                assert found
            # What a node knows by itself it may tell before it sees that Redis was flushed.
            async with asyncio.timeout(10):
                while await client.exists(*(key(of(one)) for one in many)) < 1000:  # noqa: ASYNC110 - nothing tells of it
                    await asyncio.sleep(0.05)
            await until_ok(*nodes)

    async def test_in_the_middle_of_a_filling(self, house: House, redis: RedisProcess) -> None:
        await house.commit(session("dead"))
        node, view = await house.open()
        await until_ok(node)
        view.tail_delay = 0.3
        async with redis.client() as client:
            await client.flushall()
            await node.find([of(session("any"))])
            # The filling waits for its tail now; this flush takes its key along.
            await asyncio.sleep(0.2)
            await client.flushall()
            await asyncio.sleep(0.35)
            assert not await client.exists(MARKER)
            view.tail_delay = 0.0
            await until_ok(node)

            assert await client.exists(key(of(session("dead"))))


class TestRestarted:
    async def test_empty(self, house: House, redis: RedisProcess) -> None:
        node, blind, _ = await node_and_blind(house)
        await house.revoke(node, session("dead"))
        redis.kill()
        assert await blind.find([of(session("dead"))])
        redis.forget()
        redis.start()

        assert await blind.find([of(session("dead"))])
        await until_ok(node)
        assert await node.find([of(session("dead"))])

    async def test_from_an_old_snapshot(self, house: House, redis: RedisProcess) -> None:
        """With a marker in it, and a suspension that was lifted since."""
        node, blind, _ = await node_and_blind(house)
        await house.revoke(node, TENANT)
        async with redis.client() as client:
            assert await client.exists(MARKER)
            await client.save()
        redis.keep_snapshot()
        await house.revoke(node, session("dead"))
        lifted = Revocation(RevocationKind.TENANT, "t", datetime.now(UTC) - timedelta(seconds=1))
        await house.store.rows.lift(of(TENANT))
        await node.publish([lifted])
        redis.kill()
        redis.restore_snapshot()
        redis.start()
        async with redis.client() as client:
            assert await client.exists(MARKER)
            assert not await client.exists(key(of(session("dead"))))

            assert await blind.find([of(session("dead"))])
            assert await node.find([of(session("dead"))])
            await until(lambda: node.state().status == "degraded")
            await until_ok(node)
            found = await node.find([of(session("dead")), of(TENANT)])
            assert [of(one) for one in found] == [of(session("dead"))]
            # The leftover is gone for good.
            assert not await client.exists(key(of(TENANT)))
            assert await client.exists(key(of(session("dead"))))

    async def test_between_two_finds(self, house: House, redis: RedisProcess) -> None:
        """The connection is found broken only when it is used."""
        node, blind, _ = await node_and_blind(house)
        await house.revoke(node, session("dead"))
        for _ in range(3):
            redis.kill()
            redis.start()
            assert await blind.find([of(session("dead"))])


class TestFrozen:
    async def test_answers_in_time(self, house: House, redis: RedisProcess) -> None:
        node, _ = await house.open()
        await house.commit(session("dead"))
        redis.freeze()
        for _ in range(5):
            started = time.monotonic()
            assert await node.find([of(session("dead"))])
            assert time.monotonic() - started < QUICK

    async def test_publishes_in_time_and_is_filled_later(
        self, house: House, redis: RedisProcess
    ) -> None:
        node, _ = await house.open()
        other, _ = await house.open()
        redis.freeze()
        started = time.monotonic()
        await house.revoke(node, session("dead"))
        assert time.monotonic() - started < QUICK
        assert await other.find([of(session("dead"))])
        await until(lambda: node.state().status == "degraded")
        redis.go_on()

        await until_ok(node, other)
        async with redis.client() as client:
            assert await client.exists(key(of(session("dead"))))

    async def test_hundred_finds_in_time(self, house: House, redis: RedisProcess) -> None:
        node, view = await house.open()
        await house.commit(session("dead"))
        redis.freeze()
        started = time.monotonic()
        answers = await asyncio.gather(*(node.find([of(session("dead"))]) for _ in range(100)))

        assert all(answers)
        assert time.monotonic() - started < QUICK
        assert view.finds < 10


class TestOutOfMemory:
    async def test_the_very_next_find_finds(self, house: House, redis: RedisProcess) -> None:
        node, blind, _ = await node_and_blind(house)
        async with redis.client() as client:
            await client.config_set("maxmemory", 1)
            await house.revoke(node, session("dead"))
            # Nobody may take what could not be written for not being there.
            assert not await client.exists(MARKER)
            assert await blind.find([of(session("dead"))])
            assert await node.find([of(session("dead"))])
            assert "OutOfMemoryError" in node.state().reason

            await client.config_set("maxmemory", 0)
            await until_ok(node)
            assert await client.exists(key(of(session("dead"))))


class TestReplica:
    async def test_writes_are_refused(self, house: House, redis: RedisProcess) -> None:
        node, _ = await house.open()
        async with redis.client() as client:
            await client.replicaof("127.0.0.1", 1)
            await house.revoke(node, session("dead"))

            assert await node.find([of(session("dead"))])
            assert node.state().status == "degraded"
            # A filling that fails, too, leaves Redis as incomplete as it was: the marker, which
            # cannot be removed either, says nothing to the node that missed a write.
            await asyncio.sleep(1.2)
            assert await client.exists(MARKER)
            assert node.state().status == "degraded"


class TestBack:
    async def test_a_revoker_that_left_it_alone_looks_again(
        self, house: House, redis: RedisProcess
    ) -> None:
        """Others may trust Redis again before this node's next look."""
        node, other, view = await node_and_blind(house)
        for number in range(5):
            redis.kill()
            assert await node.find([of(session("any"))]) == ()
            redis.forget()
            redis.start()
            view.deaf = False
            await house.revoke(other, session(f"filled{number}"))
            assert other.state().status == "ok"
            view.deaf = True
            await house.revoke(node, session(f"dead{number}"))
            assert await other.find([of(session(f"dead{number}"))])


class TestAbsent:
    async def test_does_not_stop_the_start(self, house: House, redis: RedisProcess) -> None:
        redis.kill()
        await house.commit(session("dead"))
        node, _ = await house.open()

        assert node.state().status == "degraded"
        assert await node.find([of(session("dead"))])
        redis.start()
        await until_ok(node)

    async def test_with_the_database_absent_too(self, house: House, redis: RedisProcess) -> None:
        node, view = await house.open()
        redis.kill()
        view.down = True

        with pytest.raises(Unavailable):
            await node.find([of(session("any"))])

        redis.start()
        view.down = False
        await until_ok(node)
        assert await node.find([of(session("any"))]) == ()

    async def test_flushed_with_the_database_absent(
        self, house: House, redis: RedisProcess
    ) -> None:
        node, view = await house.open()
        view.down = True
        async with redis.client() as client:
            await client.flushall()

        with pytest.raises(Unavailable):
            await node.find([of(session("any"))])

    async def test_a_short_fault_needs_no_database(self, house: House, redis: RedisProcess) -> None:
        node, view = await house.open()
        await house.revoke(node, session("dead"))
        view.down = True
        redis.freeze()
        with pytest.raises(Unavailable):
            await node.find([of(session("any"))])
        redis.go_on()

        started = time.monotonic()
        while time.monotonic() - started < SOON:
            try:
                assert await node.find([of(session("any"))]) == ()
                break
            except Unavailable:
                await asyncio.sleep(0.05)
        else:
            pytest.fail("Redis is well, and was never written to without this node")


async def test_entries_of_others_are_repaired(house: House, redis: RedisProcess) -> None:
    node, _ = await house.open()
    # By a node that committed and died before it published.
    await house.commit(session("dead"))
    async with redis.client() as client:
        started = time.monotonic()
        while not await client.exists(key(of(session("dead")))):
            assert time.monotonic() - started < SOON
            await asyncio.sleep(0.02)
    assert node.state().status == "ok"


async def test_an_entry_that_was_taken_out_is_found_all_the_same(
    house: House, redis: RedisProcess
) -> None:
    node, _ = await house.open()
    await house.commit(session("dead"))
    async with redis.client() as client:
        started = time.monotonic()
        while not await client.delete(key(of(session("dead")))):
            assert time.monotonic() - started < SOON
            await asyncio.sleep(0.02)
        assert not await client.exists(key(of(session("dead"))))
    assert node.state().status == "ok"  # it believes Redis still

    assert await node.find([of(session("dead"))])


async def test_a_foreign_value_is_no_answer(house: House, redis: RedisProcess) -> None:
    node, _ = await house.open()
    await house.commit(session("dead"))
    async with redis.client() as client:
        await client.set(key(of(session("dead"))), "nonsense")

    assert await node.find([of(session("dead"))])


async def test_a_socket_file(tmp_path: Path) -> None:
    path = tmp_path / "r.sock"
    process = RedisProcess(tmp_path, "--unixsocket", str(path))
    process.start()
    try:
        house = House(f"unix://{path}")
        async with house.stack:
            node, _ = await house.open()
            assert node.state().status == "ok"
    finally:
        process.kill()
