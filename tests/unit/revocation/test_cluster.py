"""A Redis Cluster of three processes: the list is where one slot is, wherever that goes."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from keyturn.server.revocation.redis_entries import key

from .conftest import House, of, session
from .redis_cluster import Cluster, running_cluster
from .test_redis_faults import until, until_ok


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with running_cluster(tmp_path) as made:
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
        await until(lambda: cluster.whole)
        view.deaf = False
        await until_ok(node, blind)
        assert owner.do("EXISTS", key(of(session("before"))), key(of(session("meanwhile")))) == 2
