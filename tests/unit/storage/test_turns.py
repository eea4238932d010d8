"""Who waits for a connection: tenants in turn, bounded, and no place is ever lost."""

import asyncio
import random

import pytest

from keyturn.server.domain.errors import Unavailable
from keyturn.server.services.ports.observing import PoolUse
from keyturn.server.services.ports.turns import group
from keyturn.server.storage.turns import Turns


def turns(size: int = 1, *, wait: float = 5.0, most: int = 1_000) -> Turns:
    return Turns(PoolUse("places", size), wait=wait, most=most)


async def rest() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


class Crowd:
    """Calls that take a place in the name of a tenant; `served` is their order."""

    def __init__(self, places: Turns) -> None:
        self.places = places
        self.served: list[str] = []
        self.tasks: list[asyncio.Task[None]] = []

    def send(self, tenant: str, times: int = 1) -> list[asyncio.Task[None]]:
        new = [asyncio.create_task(self._call(tenant)) for _ in range(times)]
        self.tasks += new
        return new

    async def _call(self, tenant: str) -> None:
        group.set(tenant)
        await self.places.take()
        try:
            self.served.append(tenant)
            await asyncio.sleep(0)
        finally:
            self.places.give_back()


@pytest.fixture
async def crowd() -> Crowd:
    return Crowd(turns())


class TestOrder:
    async def test_one_of_few_waits_for_one_of_many(self, crowd: Crowd) -> None:
        crowd.send("a", 200)
        await rest()
        before = len(crowd.served)
        crowd.send("b", 3)
        await asyncio.gather(*crowd.tasks)
        first, second, third = (i - before for i, t in enumerate(crowd.served) if t == "b")
        assert first <= 4
        assert (second - first, third - second) == (2, 2)
        assert len(crowd.served) == 203

    async def test_each_of_many_tenants_has_its_turn(self, crowd: Crowd) -> None:
        await crowd.places.take()
        crowd.send("a", 100)
        for tenant in "bcdefg":
            crowd.send(tenant, 2)
        await rest()
        crowd.places.give_back()
        await asyncio.gather(*crowd.tasks)
        assert "".join(crowd.served[:14]) == "abcdefg" * 2

    async def test_of_one_tenant_the_first_one_comes_first(self) -> None:
        places, order = turns(), []
        await places.take()

        async def call(number: int) -> None:
            await places.take()
            order.append(number)
            places.give_back()

        tasks = [asyncio.create_task(call(number)) for number in range(20)]
        await rest()
        places.give_back()
        await asyncio.gather(*tasks)
        assert order == list(range(20))

    async def test_nobody_waits_while_there_is_a_place(self) -> None:
        places = turns(3)
        for _ in range(3):
            await asyncio.wait_for(places.take(), 0.1)
        assert places._lines == {}


class TestBounds:
    async def test_too_many_of_one_are_refused_and_nobody_else(self) -> None:
        crowd = Crowd(turns(most=5))
        await crowd.places.take()
        flood = crowd.send("a", 9)
        await rest()
        other = crowd.send("b")
        await rest()
        crowd.places.give_back()
        ends = await asyncio.gather(*flood, *other, return_exceptions=True)
        assert sum(isinstance(end, Unavailable) for end in ends[:9]) == 4
        assert ends[9] is None

    async def test_a_wait_has_an_end(self) -> None:
        places = turns(wait=0.01)
        await places.take()
        with pytest.raises(Unavailable):
            await places.take()
        assert places._lines == {}
        places.give_back()
        await asyncio.wait_for(places.take(), 0.1)

    async def test_no_place_is_lost_whoever_gives_up_and_when(self) -> None:
        """Cancelled while they wait, in the moment of their turn, and afterwards."""
        chance = random.Random(11)
        places = turns(3)
        crowd = Crowd(places)
        for _ in range(400):
            crowd.send(chance.choice("abc"), chance.randrange(3))
            if crowd.tasks and chance.random() < 0.5:
                chance.choice(crowd.tasks[-20:]).cancel()
            if chance.random() < 0.5:
                await asyncio.sleep(0)
        ends = await asyncio.gather(*crowd.tasks, return_exceptions=True)
        assert any(isinstance(end, asyncio.CancelledError) for end in ends)
        assert any(end is None for end in ends)
        assert places._lines == {}
        assert places._free == 3
