"""What is kept of keys read a moment ago, and when it is read anew."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from keyturn.server.domain.errors import Refusal, Unavailable, bad_client
from keyturn.server.domain.model import KeyHash, KeyRecord, UserKind
from keyturn.server.services.ports import KeyLookup
from keyturn.server.services.recent_keys import GOOD_FOR, MOST, MOST_WEIGHT, RecentKeys

KEY = KeyRecord(
    key_id="k",
    hash=KeyHash(bytes(32), 1),
    expires_at=datetime(2031, 1, 1, tzinfo=UTC),
    revoked_at=None,
    key_tenant_id=None,
    user_id="u",
    username="robot",
    user_kind=UserKind.SERVICE,
    user_disabled_at=None,
    epoch=3,
    roles=(),
)


class Database:
    """Knows every key but `none`; counts how often it is read, and can be held up."""

    def __init__(self) -> None:
        self.record = KEY
        self.reads = 0
        self.open = asyncio.Event()
        self.open.set()

    async def find(
        self,
        key_id: str,
        *,
        tenants: Sequence[str] | None = None,
        after: str = "",
        limit: int = 20,
    ) -> KeyRecord | None:
        self.reads += 1
        found = None if key_id == "none" else replace(self.record, key_id=key_id)
        await self.open.wait()
        return found


class World:
    def __init__(self) -> None:
        self.database = Database()
        self.now = 100.0
        self.keys = RecentKeys(self.database, lambda: self.now)

    async def read(self, key_id: str = "k", tenants: Sequence[str] | None = None) -> int:
        """How many reads of the database that took."""
        before, reading = self.database.reads, self.keys.reading()
        await reading.find(key_id, tenants=tenants)
        reading.keep()
        return self.database.reads - before


@pytest.fixture
def world() -> World:
    return World()


class TestReading:
    async def test_is_done_once_a_second(self, world: World) -> None:
        assert [await world.read() for _ in range(3)] == [1, 0, 0]
        world.now += GOOD_FOR - 0.001
        assert await world.read() == 0
        world.now += 0.001
        assert await world.read() == 1

    async def test_counts_its_second_from_its_beginning(self, world: World) -> None:
        world.database.open.clear()
        reading = asyncio.create_task(world.read())
        await asyncio.sleep(0)
        world.now += GOOD_FOR
        world.database.open.set()
        assert await reading == 1
        assert await world.read() == 1

    async def test_of_other_tenants_is_another_one(self, world: World) -> None:
        assert await world.read(tenants=["a"]) == 1
        assert await world.read(tenants=("a",)) == 0
        assert await world.read(tenants=["b"]) == 1
        assert await world.read(tenants=[]) == 1
        assert await world.read() == 1

    async def test_finds_nothing_anew_each_time(self, world: World) -> None:
        assert [await world.read("none") for _ in range(3)] == [1, 1, 1]

    async def test_anew_asks_the_database_and_is_kept(self, world: World) -> None:
        await world.read()
        world.database.record = replace(KEY, epoch=4)
        reading = world.keys.reading(anew=True)
        found = await reading.find("k")
        assert (found and found.epoch, reading.recent) == (4, False)
        reading.keep()
        kept = await world.keys.reading().find("k")
        assert kept
        assert kept.epoch == 4

    async def test_says_whether_it_found_what_was_kept(self, world: World) -> None:
        first, second = world.keys.reading(), world.keys.reading()
        await first.find("k")
        first.keep()
        await second.find("k")
        assert (first.recent, second.recent) == (False, True)


class TestManyAtOnce:
    async def test_read_once(self, world: World) -> None:
        world.database.open.clear()
        readings = [world.keys.reading() for _ in range(5)]
        finding = [asyncio.create_task(reading.find("k")) for reading in readings]
        await asyncio.sleep(0)
        world.database.open.set()
        found = await asyncio.gather(*finding)
        assert [record and record.key_id for record in found] == ["k"] * 5
        assert world.database.reads == 1
        assert [reading.recent for reading in readings] == [False, True, True, True, True]

    async def test_read_again_by_who_comes_after_a_change(self, world: World) -> None:
        world.database.open.clear()
        first = asyncio.create_task(world.keys.reading().find("k"))
        await asyncio.sleep(0)
        world.keys.forget()
        world.database.record = replace(KEY, epoch=4)
        second = asyncio.create_task(world.keys.reading().find("k"))
        await asyncio.sleep(0)
        world.database.open.set()
        records = await asyncio.gather(first, second)
        assert [record and record.epoch for record in records] == [3, 4]

    @pytest.mark.parametrize("fault", [asyncio.CancelledError(), Unavailable("away")])
    async def test_nobody_fails_for_another(self, world: World, fault: BaseException) -> None:
        async def fail(*_: object, **__: object) -> KeyRecord | None:
            await world.database.open.wait()
            raise fault

        world.database.open.clear()
        work, world.database.find = world.database.find, fail  # type: ignore[method-assign]
        first = asyncio.create_task(world.keys.reading().find("k"))
        await asyncio.sleep(0)
        second = asyncio.create_task(world.keys.reading().find("k"))
        await asyncio.sleep(0)
        world.database.find = work  # type: ignore[method-assign]
        world.database.open.set()
        with pytest.raises(type(fault)):
            await first
        assert await second

    async def test_who_stops_waiting_stops_nobody(self, world: World) -> None:
        world.database.open.clear()
        finding = [asyncio.create_task(world.keys.reading().find("k")) for _ in range(3)]
        await asyncio.sleep(0)
        finding[1].cancel()
        await asyncio.sleep(0)
        world.database.open.set()
        assert await finding[0]
        assert await finding[2]
        assert world.database.reads == 1


class TestForgetting:
    async def test_has_all_read_anew(self, world: World) -> None:
        await world.read("a")
        await world.read("b")
        world.keys.forget()
        assert await world.read("a") + await world.read("b") == 2

    async def test_keeps_nothing_that_began_to_be_read_before(self, world: World) -> None:
        world.database.open.clear()
        reading = asyncio.create_task(world.read())
        await asyncio.sleep(0)
        world.keys.forget()
        world.database.open.set()
        await reading
        assert await world.read() == 1


class TestBounds:
    async def test_so_many_are_kept_and_the_oldest_goes(self, world: World) -> None:
        for number in range(MOST + 1):
            await world.read(str(number))
        assert len(world.keys._kept) == MOST
        assert await world.read("0") == 1
        assert await world.read(str(MOST)) == 0

    async def test_what_all_of_them_weigh_is_bounded(self, world: World) -> None:
        listed = tuple(str(number) for number in range(MOST_WEIGHT // 10))
        world.database.record = replace(KEY, endpoint_ids=listed)
        for number in range(30):
            await world.read(str(number))
        assert len(world.keys._kept) < 10
        assert world.keys._weight <= MOST_WEIGHT
        assert await world.read("29") == 0

    async def test_what_is_over_is_dropped(self, world: World) -> None:
        for number in range(5):
            await world.read(str(number))
        world.now += GOOD_FOR
        await world.read("new")
        assert len(world.keys._kept) == 1

    async def test_what_served_nobody_is_not_kept(self, world: World) -> None:
        await world.keys.reading().find("k")
        assert await world.read() == 1
        with pytest.raises(Refusal):
            await world.keys.look(self._refused)
        assert await world.read("other") == 1

    async def _refused(self, keys: KeyLookup) -> int:
        await keys.find("other")
        raise bad_client("a wrong secret")


class TestLook:
    async def _need_epoch(self, keys: KeyLookup, epoch: int) -> int | None:
        found = await keys.find("k")
        if found is None or found.epoch < 0:
            return None
        if found.epoch < epoch:
            raise bad_client("another epoch")
        return found.epoch

    async def test_is_content_with_a_recent_record(self, world: World) -> None:
        await world.read()
        assert await world.keys.look(lambda keys: self._need_epoch(keys, 3)) == 3
        assert world.database.reads == 1

    async def test_refuses_nothing_by_one(self, world: World) -> None:
        await world.read()
        world.database.record = replace(KEY, epoch=4)
        assert await world.keys.look(lambda keys: self._need_epoch(keys, 4)) == 4

    async def test_takes_no_for_an_answer_from_the_database_only(self, world: World) -> None:
        world.database.record = replace(KEY, epoch=-1)
        await world.read()
        world.database.record = KEY
        assert await world.keys.look(lambda keys: self._need_epoch(keys, 3)) == 3

    @pytest.mark.parametrize("kept", [False, True])
    async def test_refuses_by_what_is_there_now(self, world: World, kept: bool) -> None:
        if kept:
            await world.read()
        with pytest.raises(Refusal, match="another epoch"):
            await world.keys.look(lambda keys: self._need_epoch(keys, 9))
        assert world.database.reads == 1 + kept
