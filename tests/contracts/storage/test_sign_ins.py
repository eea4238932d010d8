"""`ports.SignIns` and `ports.SecondFactors`: what is kept of them, and each code's one use."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from keyturn.server.domain.ids import new_id
from keyturn.server.domain.model import KeyHash, UserKind
from keyturn.server.domain.sign_ins import SecondFactor, SignIn
from keyturn.server.services.ports import Perishable
from keyturn.server.storage import copy_facts
from tests.contracts.storage.world import HASH, NOW, World, new_key_id

HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)


def sign_in(world: World, **changes: object) -> SignIn:
    plain = SignIn(
        new_key_id(), world.user, world.root, NOW, NOW + 10 * HOUR, 1800, 0, "a browser", "::1", NOW
    )
    return replace(plain, **changes)  # type: ignore[arg-type]


async def begin(world: World, *some: SignIn) -> None:
    async with world.storage.store.transaction() as work:
        for one in some:
            await work.sign_ins.add(one, HASH)


async def live(world: World, minutes: int = 1) -> list[str]:
    async with world.storage.store.transaction() as work:
        found = await work.sign_ins.live_of(world.user, NOW + minutes * MINUTE)
    return [one.id for one in found]


class TestSignIns:
    async def test_come_back_as_they_were(self, world: World) -> None:
        one = sign_in(world)
        await begin(world, one)
        async with world.storage.store.transaction() as work:
            assert await work.sign_ins.live_of(world.user, NOW) == (one,)
            assert await work.sign_ins.live_of("nobody", NOW) == ()
            assert await work.sign_ins.live_of(new_id(), NOW) == ()

    async def test_the_newest_first_without_those_that_are_over(self, world: World) -> None:
        good = [sign_in(world, created_at=NOW - n * MINUTE) for n in (3, 2, 1)]
        ended, unused, expired = (
            sign_in(world),
            sign_in(world, idle_timeout=30),
            sign_in(world, expires_at=NOW),
        )
        await begin(world, *good, ended, unused, expired)
        async with world.storage.store.transaction() as work:
            assert await work.api_keys.revoke(ended.id, NOW, "ended")
        assert await live(world) == [one.id for one in reversed(good)]

    async def test_are_over_with_the_sessions_of_their_epoch(self, world: World) -> None:
        await begin(world, sign_in(world))
        async with world.storage.store.transaction() as work:
            await work.users.raise_epochs([world.user])
        assert len(await live(world)) == 1
        async with world.storage.store.transaction() as work:
            epochs = await work.users.raise_epochs([world.user], end_sessions=True)
        assert await live(world) == []
        again = sign_in(world, epoch=epochs[world.user])
        await begin(world, again)
        assert await live(world) == [again.id]
        async with world.storage.store.transaction() as work:
            await work.users.raise_floor()
        assert await live(world) == []

    async def test_the_lookup_tells_them_from_keys(self, world: World) -> None:
        one = sign_in(world, epoch=7)
        await begin(world, one)
        record = await world.find(one.id)
        assert (record.for_console, record.sessions_epoch) == (True, 7)
        assert (record.idle_timeout, record.expires_at) == (1800, one.expires_at)
        assert not (await world.find()).for_console

    async def test_are_keys_of_callers_and_no_others(self, world: World) -> None:
        one = sign_in(world)
        await begin(world, one)
        async with world.storage.store.transaction() as work:
            assert await work.api_keys.get(one.id) is None
            key = await work.api_keys.of_caller(one.id)
            assert key is not None
            assert key.for_console
            known = await work.api_keys.of_caller(world.key)
            assert known == await work.api_keys.get(world.key)
            assert await work.api_keys.hold(one.id) is not None

    async def test_hold_gives_the_epoch_of_whoever_is_enabled(self, world: World) -> None:
        async with world.storage.store.transaction() as work:
            await work.users.raise_epochs([world.user])
            assert await work.sign_ins.hold(world.user) == 1
            assert await work.sign_ins.hold(new_id()) is None
            floor = await work.users.raise_floor()
            assert await work.sign_ins.hold(world.user) == floor
            await work.users.set_disabled(world.user, NOW)
            assert await work.sign_ins.hold(world.user) is None

    async def test_are_ended_apart_when_a_copy_is_restored(self, world: World) -> None:
        await begin(world, sign_in(world), sign_in(world))
        async with world.storage.store.transaction() as work:
            assert await work.restored.end_sign_ins(NOW) == 2
            assert await work.restored.end_sign_ins(NOW) == 0
            assert await work.restored.revoke_keys(NOW) == 1
        assert await live(world) == []

    async def test_go_some_days_after_their_end_and_keys_stay(self, world: World) -> None:
        await world.new_key(expires_at=NOW)
        old, new = sign_in(world), sign_in(world)
        async with world.storage.store.transaction() as work:
            now = await work.now()
        new = replace(new, expires_at=now - 6 * 24 * HOUR)
        await begin(world, old, new)
        async with world.storage.store.transaction() as work:
            kept = timedelta(days=7)
            assert await work.housekeeping.delete(Perishable.SIGN_INS, kept=kept, at_most=9) == 1
            assert await work.api_keys.of_caller(old.id) is None
            assert await work.api_keys.of_caller(new.id) is not None
            assert await work.api_keys.get(world.key) is not None

    async def test_are_no_reason_to_keep_a_master_secret(
        self, world: World, database_url: str
    ) -> None:
        async with world.storage.store.transaction() as work:
            other = KeyHash(HASH.digest, HASH.pepper_version + 1)
            await work.sign_ins.add(sign_in(world), other)
        assert (await copy_facts(database_url)).peppers == (HASH.pepper_version,)


@pytest.fixture
async def person(world: World) -> str:
    user = await world.new_user("ada", kind=UserKind.HUMAN)
    async with world.storage.store.transaction() as work:
        await work.second_factors.put(SecondFactor(user, b"\0sealed", NOW, 10, ("aa", "bb", "cc")))
    return user


class TestSecondFactors:
    async def test_come_back_replace_each_other_and_go(self, world: World, person: str) -> None:
        async with world.storage.store.transaction() as work:
            factors = work.second_factors
            first = await factors.get(person)
            assert first == SecondFactor(person, b"\0sealed", NOW, 10, ("aa", "bb", "cc"))
            await factors.put(SecondFactor(person, b"other", NOW + HOUR, 11, ()))
            second = await factors.get(person)
            assert second == SecondFactor(person, b"other", NOW + HOUR, 11, (), version=2)
            assert await factors.get(new_id()) is None
            assert await factors.get("nobody") is None
            assert await factors.remove(person)
            assert not await factors.remove(person)
            assert await factors.get(person) is None

    async def test_go_with_their_users(self, world: World, person: str) -> None:
        async with world.storage.store.transaction() as work:
            await work.users.remove(person)
            assert not await work.second_factors.all_after(None, 10)

    async def test_a_step_is_taken_once_and_none_before_it(self, world: World, person: str) -> None:
        async with world.storage.store.transaction() as work:
            took = [await work.second_factors.take_step(person, n) for n in (10, 11, 11, 9, 13, 12)]
            assert took == [False, True, False, False, True, False]
            assert not await work.second_factors.take_step(new_id(), 99)

    async def test_a_code_is_taken_once_the_others_stay(self, world: World, person: str) -> None:
        async with world.storage.store.transaction() as work:
            took = [await work.second_factors.take_code(person, c) for c in ("bb", "bb", "zz")]
            assert took == [True, False, False]
            factor = await work.second_factors.get(person)
            assert factor is not None
            assert factor.recovery == ("aa", "cc")
            assert await work.second_factors.replace_codes(person, ["dd"])
            assert await work.second_factors.take_code(person, "dd")
            assert not await work.second_factors.replace_codes(new_id(), ["dd"])

    async def test_tries_are_counted_until_a_code_is_taken(self, world: World, person: str) -> None:
        async def count() -> int | None:
            async with world.storage.store.transaction() as work:
                return await work.second_factors.count_try(person, 3)

        counted = await asyncio.gather(*(count() for _ in range(5)))
        assert sorted(nth or 0 for nth in counted) == [0, 0, 1, 2, 3]
        async with world.storage.store.transaction() as work:
            factors = work.second_factors
            assert not await factors.take_step(person, 10)
            assert not await factors.take_code(person, "zz")
            await factors.replace_codes(person, ["dd"])
            factor = await factors.get(person)
            assert factor is not None
            assert factor.wrong == 3
            assert await factors.take_step(person, 11)
            assert await factors.count_try(person, 3) == 1
            assert await factors.take_code(person, "dd")
            assert await factors.count_try(person, 3) == 1
            await factors.put(SecondFactor(person, b"other", NOW, 11, ()))
            assert await factors.count_try(person, 3) == 1
            assert await factors.count_try(new_id(), 3) is None

    async def test_of_many_at_once_one_takes_it(self, world: World, person: str) -> None:
        async def code(which: str) -> bool:
            async with world.storage.store.transaction() as work:
                return await work.second_factors.take_code(person, which)

        async def step() -> bool:
            async with world.storage.store.transaction() as work:
                return await work.second_factors.take_step(person, 11)

        assert sum(await asyncio.gather(*(code("aa") for _ in range(4)))) == 1
        assert sum(await asyncio.gather(*(step() for _ in range(4)))) == 1
        assert all(await asyncio.gather(code("bb"), code("cc")))

    async def test_are_read_and_sealed_anew_one_after_the_other(
        self, world: World, person: str
    ) -> None:
        other = await world.new_user("bob", kind=UserKind.HUMAN)
        async with world.storage.store.transaction() as work:
            factors = work.second_factors
            await factors.put(SecondFactor(other, b"x", NOW, 0, ()))
            (first,) = await factors.all_after(None, 1)
            (second,) = await factors.all_after(first.user_id, 2)
            assert {first.user_id, second.user_id} == {person, other}
            await factors.reseal(other, b"anew")
            changed = await factors.get(other)
            assert changed == SecondFactor(other, b"anew", NOW, 0, ())

    async def test_none_is_left_when_a_copy_is_restored(self, world: World, person: str) -> None:
        async with world.storage.store.transaction() as work:
            assert await work.restored.forget_second_factors() == 1
            assert await work.second_factors.get(person) is None
