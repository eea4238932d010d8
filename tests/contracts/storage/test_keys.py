"""`ports.ApiKeys`: listing, changing, rotating and revoking; what uses leave behind."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from keyturn.server.domain.errors import Code
from keyturn.server.domain.ids import new_id
from keyturn.server.domain.model import ApiKey, KeyHash, OldSecret, Rotation, UserKind
from keyturn.server.domain.permissions import EDITOR, VIEWER
from keyturn.server.services.ports import KeyFilter, KeyUse, Page, Slice
from keyturn.server.storage import Storage, open_storage
from keyturn.server.storage.store import DatabaseTransaction
from tests.contracts.storage.plans import plan
from tests.contracts.storage.world import HASH, NOW, World, new_key_id, refused, walk

NEWEST = KeyHash(b"\0newest", 3)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
ENDS = Rotation(NOW, NOW + DAY, ends_on_use=True)
STAYS = replace(ENDS, ends_on_use=False)


async def _add(storage: Storage, *keys: ApiKey) -> list[ApiKey]:
    async with storage.store.transaction() as work:
        for key in keys:
            await work.api_keys.add(key, HASH)
    return list(keys)


async def _get(world: World, key_id: str) -> ApiKey:
    async with world.storage.store.transaction() as work:
        key = await work.api_keys.get(key_id)
    assert key is not None
    return key


async def _use(world: World, *uses: KeyUse) -> None:
    async with world.storage.store.transaction() as work:
        await work.api_keys.note_uses(uses)


async def _rotate(world: World, rotation: Rotation, key_hash: KeyHash = NEWEST) -> None:
    async with world.storage.store.transaction() as work:
        await work.api_keys.rotate(world.key, key_hash, rotation)


def _key(world: World, user: str = "", home: str = "") -> ApiKey:
    return ApiKey(new_key_id(), user or world.user, home or world.root, "a key", NOW)


class TestAddAndGet:
    async def test_key_comes_back_with_all_it_had(self, world: World) -> None:
        full = ApiKey(
            id=new_key_id(),
            user_id=world.user,
            home_tenant_id=world.root,
            name="ünïcode 🗝",
            created_at=NOW,
            created_by=new_id(),
            tenant_id=world.root,
            role_ids=(VIEWER.id, EDITOR.id),
            endpoint_ids=(new_id(), new_id()),
            networks=("10.0.0.0/8", "2001:db8::/32"),
            expires_at=NOW + DAY,
            idle_timeout=3600,
            revoked_at=NOW,
            revoked_reason="lost",
            last_used_at=NOW,
            last_used_from="::1",
            use_count=2**40,
            version=7,
        )
        bare = _key(world)
        empty = replace(_key(world), role_ids=(), endpoint_ids=(), networks=())
        for key in await _add(world.storage, full, bare, empty):
            assert await _get(world, key.id) == key

    async def test_none_for_what_is_no_key(self, world: World) -> None:
        async with world.storage.store.transaction() as work:
            for key_id in ("", "\0", "\ud800", new_key_id()):
                assert await work.api_keys.get(key_id) is None

    @pytest.mark.parametrize("ids", [("junk",), (VIEWER.id, "\0")])
    async def test_400_narrowed_by_what_is_no_id(self, world: World, ids: tuple[str, ...]) -> None:
        for key in (replace(_key(world), role_ids=ids), replace(_key(world), endpoint_ids=ids)):
            refusal = await refused(_add(world.storage, key))
            assert refusal.code is Code.INVALID_REQUEST


class TestPages:
    async def _of_user(self, storage: Storage, user: str, part: Slice) -> Page[ApiKey]:
        async with storage.store.transaction() as work:
            return await work.api_keys.of_user(user, part)

    async def _at_home(
        self, storage: Storage, tenant: str, user: str | None, part: Slice
    ) -> Page[ApiKey]:
        async with storage.store.transaction() as work:
            return await work.api_keys.at_home(tenant, part, KeyFilter(user_id=user))

    async def test_pages_cover_a_users_keys_once_in_order(self, world: World) -> None:
        first = await _get(world, world.key)
        other = await world.new_user("other")
        keys = [first, *await _add(world.storage, *(_key(world) for _ in range(11)))]
        await _add(world.storage, _key(world, other))
        keys.sort(key=lambda key: key.id)
        for limit in (1, 5, 12, 50):
            assert await walk(partial(self._of_user, world.storage, world.user), limit) == keys

    async def test_ids_sort_by_code_point(self, world: World) -> None:
        ids = [letter * 22 for letter in "aZ9zA0"]
        await _add(world.storage, *(replace(_key(world), id=key_id) for key_id in ids))
        found = await walk(partial(self._of_user, world.storage, world.user), 2)
        assert [key.id for key in found] == sorted([*ids, world.key])

    async def test_pages_cover_a_tenants_keys_and_not_those_below(self, world: World) -> None:
        below = await world.tenant(world.root, "below")
        neighbour = await world.new_user("neighbour")
        lower = await world.new_user("lower", home=below)
        mine = await _get(world, world.key)
        theirs = await _add(world.storage, *(_key(world, neighbour) for _ in range(3)))
        await _add(world.storage, _key(world, lower, below))
        here = partial(self._at_home, world.storage, world.root)
        assert await walk(partial(here, None), 2) == sorted([mine, *theirs], key=lambda key: key.id)
        assert await walk(partial(here, neighbour), 2) == sorted(theirs, key=lambda key: key.id)
        assert await walk(partial(here, lower), 2) == []
        assert await walk(partial(here, new_id()), 2) == []

    @pytest.mark.parametrize("after", [("\0",), ("\ud800",), ("a", "b"), ()])
    async def test_400_malformed_cursor(self, world: World, after: tuple[str, ...]) -> None:
        refusal = await refused(self._of_user(world.storage, world.user, Slice(5, after)))
        assert refusal.code is Code.INVALID_REQUEST

    async def test_pages_are_read_in_the_order_of_an_index(self, world: World) -> None:
        part = Slice(5, (world.key,))
        for user, index in ((None, "home_tenant_id_id"), (world.user, "user_id_id")):

            def read(work: DatabaseTransaction, user: str | None = user) -> Awaitable[Page[ApiKey]]:
                return work.api_keys.at_home(world.root, part, KeyFilter(user_id=user))

            used = await plan(world.storage, read)
            assert f"ix_api_keys_{index}" in used
            assert "Sort" not in used
            assert "TEMP B-TREE" not in used


class TestMadeBy:
    async def test_live_keys_of_others_in_the_tenant_and_below(self, world: World) -> None:
        middle = await world.tenant(world.root, "middle")
        below = await world.tenant(middle, "below")
        maker = await world.new_user("maker", kind=UserKind.HUMAN)
        async with world.storage.store.transaction() as work:
            now = await work.now()
        made = replace(_key(world), created_by=maker)
        at_middle, at_below, lasting = (
            replace(made, id=new_key_id(), home_tenant_id=middle),
            replace(made, id=new_key_id(), home_tenant_id=below),
            replace(made, id=new_key_id(), home_tenant_id=below, expires_at=now + DAY),
        )
        await _add(
            world.storage,
            made,
            at_middle,
            at_below,
            lasting,
            replace(at_below, id=new_key_id(), user_id=maker),
            replace(at_below, id=new_key_id(), created_by=world.user),
            replace(at_below, id=new_key_id(), revoked_at=NOW),
            replace(at_below, id=new_key_id(), expires_at=now - HOUR),
        )
        async with world.storage.store.transaction() as work:
            assert await work.api_keys.made_by(maker, middle) == tuple(
                sorted((at_middle, at_below, lasting), key=lambda key: key.id)
            )
            assert len(await work.api_keys.made_by(maker, world.root)) == 4
            assert await work.api_keys.made_by(new_id(), world.root) == ()

    async def test_they_are_found_by_an_index(self, world: World) -> None:
        used = await plan(world.storage, lambda work: work.api_keys.made_by(world.user, world.root))
        assert "ix_api_keys_created_by" in used


class TestCount:
    async def test_counts_what_can_be_used_up_to_a_limit(self, world: World) -> None:
        below = await world.tenant(world.root, "below")
        await _add(
            world.storage,
            _key(world),
            replace(_key(world), expires_at=NOW + HOUR),
            replace(_key(world), expires_at=NOW),
            replace(_key(world), revoked_at=NOW),
            _key(world, home=below),
        )
        async with world.storage.store.transaction() as work:
            for at_most, count in ((0, 0), (2, 2), (3, 3), (100, 3)):
                assert await work.api_keys.count_at_home(world.root, NOW, at_most) == count
            assert await work.api_keys.count_at_home(world.root, NOW + HOUR, 100) == 2

    async def test_counts_what_a_user_can_use_up_to_a_limit(self, world: World) -> None:
        before = 1  # the world's
        await _add(
            world.storage,
            _key(world),
            replace(_key(world), expires_at=NOW + HOUR),
            replace(_key(world), expires_at=NOW),
            replace(_key(world), revoked_at=NOW),
            _key(world, home=await world.tenant(world.root, "below")),
        )
        async with world.storage.store.transaction() as work:
            for at_most, count in ((0, 0), (2, 2), (100, before + 3)):
                assert await work.api_keys.count_of_user(world.user, NOW, at_most) == count
            later = NOW + HOUR
            assert await work.api_keys.count_of_user(world.user, later, 100) == before + 2


class TestSave:
    async def test_name_and_narrowing_are_written_and_nothing_else(self, world: World) -> None:
        before = await _get(world, world.key)
        changed = replace(
            before, name="new", role_ids=(EDITOR.id,), endpoint_ids=(), networks=("::/0",)
        )
        meddled = replace(changed, use_count=99, expires_at=NOW, tenant_id=world.root)
        async with world.storage.store.transaction() as work:
            assert await work.api_keys.save(meddled) == replace(meddled, version=2)
        assert await _get(world, world.key) == replace(changed, version=2)

    async def test_narrowing_is_lifted(self, world: World) -> None:
        narrowed = replace(_key(world), role_ids=(), endpoint_ids=(), networks=())
        await _add(world.storage, narrowed)
        free = replace(narrowed, role_ids=None, endpoint_ids=None, networks=None)
        async with world.storage.store.transaction() as work:
            saved = await work.api_keys.save(free)
        assert await _get(world, narrowed.id) == saved == replace(free, version=2)

    async def test_404_key_that_is_gone(self, world: World) -> None:
        async with world.storage.store.transaction() as work:
            refusal = await refused(work.api_keys.save(_key(world)))
        assert refusal.code is Code.NOT_FOUND


class TestRotate:
    async def test_present_secret_becomes_the_old_one(self, world: World) -> None:
        before = await _get(world, world.key)
        await _rotate(world, STAYS)
        assert await _get(world, world.key) == replace(before, rotation=STAYS, version=2)
        record = await world.find()
        assert record.hash == NEWEST
        assert record.old_secret == OldSecret(HASH, STAYS.old_until, ends_on_use=False)

    async def test_second_rotation_ends_the_first_secret(self, world: World) -> None:
        third = KeyHash(b"third", 4)
        later = Rotation(NOW + HOUR, NOW + 2 * DAY, ends_on_use=True)
        await _rotate(world, STAYS)
        await _rotate(world, later, third)
        record = await world.find()
        assert record.hash == third
        assert record.old_secret == OldSecret(NEWEST, later.old_until, ends_on_use=True)
        key = await _get(world, world.key)
        assert (key.rotation, key.version) == (later, 3)


class TestRevoke:
    async def test_key_is_revoked_once_and_says_why(self, world: World) -> None:
        async with world.storage.store.transaction() as work:
            assert await work.api_keys.revoke(world.key, NOW, "lost")
            assert not await work.api_keys.revoke(world.key, NOW + DAY, "again")
            for key_id in (new_key_id(), "\0"):
                assert not await work.api_keys.revoke(key_id, NOW, "lost")
        key = await _get(world, world.key)
        assert (key.revoked_at, key.revoked_reason) == (NOW, "lost")


class TestNoteUses:
    async def test_uses_add_up_and_the_latest_stays(self, world: World) -> None:
        later = NOW + timedelta(seconds=9)
        await _use(world)
        await _use(world, KeyUse(world.key, 2, later, "::1", NEWEST))
        await _use(world, KeyUse(world.key, 3, NOW, "10.0.0.1"), KeyUse(new_key_id(), 1, NOW, None))
        key = await _get(world, world.key)
        assert (key.use_count, key.last_used_at, key.last_used_from) == (5, later, "::1")
        assert key.version == 1
        assert (await world.find()).hash == NEWEST

    async def test_new_secrets_use_ends_the_old_one(self, world: World) -> None:
        await _rotate(world, ENDS)
        used = NOW + HOUR
        await _use(world, KeyUse(world.key, 1, used, None))
        assert (await world.find()).old_secret is not None
        await _use(world, KeyUse(world.key, 1, used, None, ends_old=True))
        assert (await world.find()).old_secret is None
        key = await _get(world, world.key)
        assert key.rotation == replace(ENDS, old_until=used)
        await _use(world, KeyUse(world.key, 1, used + HOUR, None, ends_old=True))
        assert (await _get(world, world.key)).rotation == key.rotation

    async def test_old_secret_stays_if_the_rotation_said_so(self, world: World) -> None:
        await _rotate(world, STAYS)
        await _use(world, KeyUse(world.key, 1, NOW + HOUR, None, ends_old=True))
        record = await world.find()
        assert record.old_secret == OldSecret(HASH, STAYS.old_until, ends_on_use=False)
        assert (await _get(world, world.key)).rotation == STAYS

    async def test_use_that_expired_the_old_secret_long_ago_moves_no_time(
        self, world: World
    ) -> None:
        await _rotate(world, ENDS)
        await _use(world, KeyUse(world.key, 1, ENDS.old_until + DAY, None, ends_old=True))
        assert (await _get(world, world.key)).rotation == ENDS

    async def test_use_before_a_rotation_says_nothing_of_the_secrets_after_it(
        self, world: World
    ) -> None:
        await _rotate(world, ENDS)
        earlier = NOW - timedelta(seconds=1)
        rehash = KeyHash(b"of the old secret", 4)
        await _use(world, KeyUse(world.key, 1, earlier, None, rehash, ends_old=True))
        record = await world.find()
        assert record.hash == NEWEST
        assert record.old_secret == OldSecret(HASH, ENDS.old_until, ends_on_use=True)

    async def test_hash_under_the_newest_pepper_stays(self, world: World) -> None:
        await _rotate(world, ENDS)
        rehash = KeyHash(b"of the old secret", NEWEST.pepper_version)
        await _use(world, KeyUse(world.key, 1, NOW + HOUR, None, rehash))
        assert (await world.find()).hash == NEWEST

    async def test_batches_in_any_order_never_wait_for_each_other(self, database_url: str) -> None:
        async with open_storage(database_url) as one, open_storage(database_url) as two:
            world = World(one)
            world.root = await world.tenant(None, "root")
            world.user = await world.new_user("reader")
            keys = await _add(one, *(_key(world) for _ in range(20)))
            uses = [KeyUse(key.id, 1, datetime.now(UTC), None, NEWEST, True) for key in keys]

            async def note(number: int) -> None:
                left = uses[::-1] if number % 2 else uses
                while left:
                    async with (one, two)[number % 2].store.transaction() as work:
                        busy = await work.api_keys.note_uses(left)
                    left = [use for use in left if use.key_id in busy]

            await asyncio.gather(*map(note, range(20)))
            assert {(await _get(world, key.id)).use_count for key in keys} == {20}

    async def test_what_a_change_holds_is_left_for_another_time(self, postgres_url: str) -> None:
        async with open_storage(postgres_url) as one, open_storage(postgres_url) as two:
            world = World(one)
            world.root = await world.tenant(None, "root")
            world.user = await world.new_user("reader")
            held, free = await _add(one, *(_key(world) for _ in range(2)))
            uses = [KeyUse(key.id, 1, datetime.now(UTC), None) for key in (held, free)]
            async with one.store.transaction() as change:
                await change.api_keys.hold(held.id)
                async with two.store.transaction() as work:
                    gone = KeyUse("0" * 22, 1, datetime.now(UTC), None)
                    assert await work.api_keys.note_uses([*uses, gone]) == {held.id}
            counts = [(await _get(world, key.id)).use_count for key in (held, free)]
            assert counts == [0, 1]
