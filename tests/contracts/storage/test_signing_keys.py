"""Signing keys and what is sealed beside them, on each backend."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy.exc import IntegrityError

from keyturn.server.domain.ids import new_id
from keyturn.server.domain.model import ApiKey, KeyHash, Rotation, StoredSigningKey
from keyturn.server.services.ports import KeptAnswer, UnmovedKey
from keyturn.server.storage import Storage
from tests.contracts.storage.world import HASH, World, new_key_id

NOW = datetime(2026, 1, 1, tzinfo=UTC)
NEWEST, EARLIER = 7, 6


def key(kid: str, slot: str, algorithm: str = "ES256") -> StoredSigningKey:
    return StoredSigningKey(kid, algorithm, slot, {"kty": "EC", "kid": kid}, b"sealed", NOW, NOW)


class TestSigningKeys:
    async def test_a_key_moves_and_goes(self, storage: Storage) -> None:
        later = NOW + timedelta(hours=1)
        async with storage.store.transaction() as tx:
            for made in (key("a", "current"), key("b", "next")):
                assert await tx.signing_keys.add(made)
            await tx.signing_keys.move("a", "retired", later)
            await tx.signing_keys.move("b", "current", later)
            assert await tx.signing_keys.add(key("c", "next"))
        async with storage.store.transaction() as tx:
            assert await tx.signing_keys.all() == (
                replace(key("a", "retired"), slot_since=later),
                replace(key("b", "current"), slot_since=later),
                key("c", "next"),
            )
            await tx.signing_keys.remove("a")
            await tx.signing_keys.remove("unknown")
        async with storage.store.transaction() as tx:
            assert [found.kid for found in await tx.signing_keys.all()] == ["b", "c"]

    async def test_a_slot_has_one_key(self, storage: Storage) -> None:
        async with storage.store.transaction() as tx:
            await tx.signing_keys.add(key("a", "current"))
            await tx.signing_keys.add(key("b", "next"))
        with pytest.raises(IntegrityError):
            async with storage.store.transaction() as tx:
                await tx.signing_keys.move("b", "current", NOW)

    async def test_resealed_it_is_the_same_key(self, storage: Storage) -> None:
        async with storage.store.transaction() as tx:
            await tx.signing_keys.add(key("a", "current"))
            await tx.signing_keys.reseal("a", b"anew")
        async with storage.store.transaction() as tx:
            expected = replace(key("a", "current"), sealed_private=b"anew")
            assert await tx.signing_keys.all() == (expected,)

    async def test_who_holds_them_acts_alone(self, storage: Storage) -> None:
        at_work, most = 0, 0

        async def act(number: int) -> None:
            nonlocal at_work, most
            async with storage.store.transaction() as tx:
                await tx.signing_keys.hold()
                at_work += 1
                most = max(most, at_work)
                await asyncio.sleep(0.02)
                there = await tx.signing_keys.all()
                assert await tx.signing_keys.add(key(f"{len(there)}", "retired"))
                at_work -= 1

        await asyncio.gather(*(act(number) for number in range(4)))
        assert most == 1


class TestSeals:
    async def test_counts_keys_that_can_be_used_under_an_earlier_pepper(
        self, storage: Storage, world: World
    ) -> None:
        cases: dict[str, tuple[int, timedelta | None]] = {
            "newest": (NEWEST, None),
            "earlier": (EARLIER, timedelta(hours=1)),
            "expired": (EARLIER, -timedelta(hours=1)),
            "revoked": (EARLIER, None),
        }
        async with storage.store.transaction() as tx:
            now = await tx.now()
            user = await tx.users.get(world.user)
            assert user is not None
            ids = {}
            before = await tx.seals.keys_outside([NEWEST], now)
            for name, (version, ends) in cases.items():
                made = ApiKey(
                    new_key_id(),
                    world.user,
                    world.root,
                    name,
                    now,
                    expires_at=None if ends is None else now + ends,
                )
                await tx.api_keys.add(made, KeyHash(name.encode(), version))
                ids[name] = made.id
            await tx.api_keys.revoke(made.id, now, "revoked")
            assert await tx.seals.keys_outside([NEWEST], now) == before + 1
            assert await tx.seals.keys_outside([NEWEST, EARLIER], now) == before
            found = await tx.seals.some_keys_outside([NEWEST], now, 10)
            assert len(found) == before + 1
            assert found[-1] == UnmovedKey(ids["earlier"], user.username, None)
            assert await tx.seals.some_keys_outside([NEWEST], now, before) == found[:-1]

    async def test_counts_a_rotated_secret_as_long_as_it_is_good(
        self, storage: Storage, world: World
    ) -> None:
        async with storage.store.transaction() as tx:
            now = await tx.now()
            assert await tx.seals.keys_outside([HASH.pepper_version], now) == 0
            rotation = Rotation(now, now + timedelta(hours=1), False)
            await tx.api_keys.rotate(world.key, KeyHash(b"new", NEWEST), rotation)
            assert await tx.seals.keys_outside([NEWEST], now) == 1
            assert await tx.seals.keys_outside([NEWEST], now + timedelta(hours=2)) == 0

    async def test_counts_answers_that_are_kept_still(self, storage: Storage) -> None:
        async with storage.store.transaction() as tx:
            now = await tx.now()
            for version, end in ((NEWEST, 1), (EARLIER, 1), (EARLIER, -1)):
                sealed = version.to_bytes(4, "big") + b"sealed"
                answer = KeptAnswer(b"request", sealed)
                ends = now + timedelta(hours=end)
                await tx.kept_answers.add(new_id().encode(), answer, ends)
            assert await tx.seals.answers_outside([NEWEST], now) == 1
            assert await tx.seals.answers_outside([NEWEST, EARLIER], now) == 0
