"""A Redis Cluster of three processes: the list is where one slot is, wherever that goes."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from keyturn.server.revocation.redis_entries import MARKER, key
from tests.servers import free_port

from .conftest import House, of, session
from .redis_process import RedisProcess
from .test_redis_faults import until, until_ok

SLOTS = 16_384
START_SECONDS = 30.0


class Cluster:
    """Three primaries; `owner` is the one whose slot the list's keys are in."""

    def __init__(self, nodes: list[RedisProcess]) -> None:
        self.nodes = nodes
        self.slot = int(nodes[0].do("CLUSTER", "KEYSLOT", MARKER))

    @property
    def url(self) -> str:
        return f"redis+cluster://{','.join(f'127.0.0.1:{node.port}' for node in self.nodes)}"

    @property
    def owner(self) -> RedisProcess:
        return next(node for node in self.nodes if self._owns(node))

    @property
    def others(self) -> list[RedisProcess]:
        return [node for node in self.nodes if node is not self.owner]

    def move(self, target: RedisProcess) -> None:
        """Gives the list's slot, and what is in it, to another process."""
        source = self.owner
        ids = {node: node.do("CLUSTER", "MYID").decode() for node in (source, target)}
        target.do("CLUSTER", "SETSLOT", self.slot, "IMPORTING", ids[source])
        source.do("CLUSTER", "SETSLOT", self.slot, "MIGRATING", ids[target])
        keys = source.do("CLUSTER", "GETKEYSINSLOT", self.slot, 1000)
        if keys:
            source.do("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", *keys)
        for node in (target, source, *self.nodes):
            node.do("CLUSTER", "SETSLOT", self.slot, "NODE", ids[target])

    async def whole(self) -> None:
        """Waits until every process knows of all slots."""
        started = time.monotonic()
        while not all(self._well(node) for node in self.nodes):
            assert time.monotonic() - started < START_SECONDS
            await asyncio.sleep(0.05)

    def _owns(self, node: RedisProcess) -> bool:
        # Whoever does not own the slot points elsewhere, without looking for the key.
        mine = node.do("CLUSTER", "MYID")
        for start, end, primary, *_ in node.do("CLUSTER", "SLOTS"):
            if start <= self.slot <= end:
                return bool(primary[2] == mine)
        return False

    @staticmethod
    def _well(node: RedisProcess) -> bool:
        said = node.do("CLUSTER", "INFO")
        return "cluster_state:ok" in str(said) and "cluster_known_nodes:3" in str(said)


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    with ExitStack() as stack:
        nodes, buses = [], []
        for number in range(3):
            directory = tmp_path / str(number)
            directory.mkdir()
            bus = str(free_port())
            options = ["--cluster-enabled", "yes", "--cluster-port", bus]
            # The slots of a process that is away are not the list's.
            options += ["--cluster-node-timeout", "2000", "--cluster-require-full-coverage", "no"]
            node = RedisProcess(directory, *options)
            node.start()
            stack.callback(node.kill)
            nodes.append(node)
            buses.append(bus)
        for number, (node, bus) in enumerate(zip(nodes, buses, strict=True)):
            first, last = SLOTS * number // 3, SLOTS * (number + 1) // 3 - 1
            node.do("CLUSTER", "ADDSLOTSRANGE", first, last)
            node.do("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            if number:
                nodes[0].do("CLUSTER", "MEET", "127.0.0.1", node.port, bus)
        made = Cluster(nodes)
        await made.whole()
        yield made


@pytest.fixture
async def house(cluster: Cluster) -> AsyncIterator[House]:
    house = House(cluster.url)
    async with house.stack:
        yield house


class TestCluster:
    async def test_is_found_from_any_of_its_nodes(self, cluster: Cluster) -> None:
        for node in cluster.nodes:
            for url in (node.url, node.url.replace("redis:", "redis+cluster:")):
                house = House(url)
                async with house.stack:
                    one, _ = await house.open()
                    await until_ok(one)
                    await house.revoke(one, session("dead"))
        assert cluster.owner.do("EXISTS", key(of(session("dead")))) == 1

    async def test_a_node_of_it_that_is_away_is_passed_over(self, cluster: Cluster) -> None:
        house = House(cluster.url)
        # The first in the URL.
        cluster.move(cluster.nodes[1])
        cluster.nodes[0].kill()
        async with house.stack:
            node, _ = await house.open()
            await until_ok(node)
            await house.revoke(node, session("dead"))
        assert cluster.nodes[1].do("EXISTS", key(of(session("dead")))) == 1

    async def test_revocations_survive_the_slots_move(self, cluster: Cluster, house: House) -> None:
        node, _ = await house.open(redis_timeout=0.5)
        blind, view = await house.open(redis_timeout=0.5)
        await until_ok(node, blind)
        await house.revoke(node, session("before"))
        view.deaf = True
        for target in cluster.others:
            cluster.move(target)
            name = f"after {target.port}"
            await house.revoke(node, session(name))
            for subject in ("before", name):
                assert await blind.find([of(session(subject))])
                assert await node.find([of(session(subject))])
            view.deaf = False
            await until_ok(node, blind)
            view.deaf = True
            assert target.do("EXISTS", key(of(session("before"))), key(of(session(name)))) == 2

    async def test_revocations_survive_the_owners_death(
        self, cluster: Cluster, house: House
    ) -> None:
        node, _ = await house.open(redis_timeout=0.5)
        blind, view = await house.open(redis_timeout=0.5)
        await until_ok(node, blind)
        await house.revoke(node, session("before"))
        view.deaf = True
        owner = cluster.owner
        owner.kill()
        assert await blind.find([of(session("before"))])
        await house.revoke(node, session("meanwhile"))
        assert await blind.find([of(session("meanwhile"))])
        await until(lambda: node.state().status == "degraded")

        # It comes back as the node it was, without its data.
        owner.forget()
        owner.start()
        for subject in ("before", "meanwhile"):
            assert await blind.find([of(session(subject))])
        await cluster.whole()
        view.deaf = False
        await until_ok(node, blind)
        assert owner.do("EXISTS", key(of(session("before"))), key(of(session("meanwhile")))) == 2
