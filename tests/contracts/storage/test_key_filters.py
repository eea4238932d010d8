"""`ports.ApiKeys.at_home`, filtered: what a tenant has to look after."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest

from keyturn.server.domain.model import ApiKey, Rotation
from keyturn.server.services.ports import KeyFilter, KeyUse, Page, Slice
from tests.contracts.storage.plans import plan
from tests.contracts.storage.world import HASH, NOW, World, new_key_id, walk

DAY = timedelta(days=1)


async def _add(world: World, **changes: Any) -> str:
    key = ApiKey(new_key_id(), world.user, world.root, "a key", NOW)
    async with world.storage.store.transaction() as tx:
        await tx.api_keys.add(replace(key, **changes), HASH)
    return key.id


async def _page(world: World, wanted: KeyFilter, part: Slice) -> Page[ApiKey]:
    async with world.storage.store.transaction() as tx:
        return await tx.api_keys.at_home(world.root, part, wanted)


async def _found(world: World, **wanted: Any) -> set[str]:
    page = await _page(world, KeyFilter(**wanted), Slice(100))
    return {key.id for key in page.items}


async def test_by_what_ended_them(world: World) -> None:
    now = datetime.now(UTC)
    expired = await _add(world, expires_at=now - DAY)
    ends = await _add(world, expires_at=now + DAY)
    revoked = await _add(world, revoked_at=now, expires_at=now - DAY)
    assert await _found(world, revoked=True) == {revoked}
    assert await _found(world, revoked=False) == {world.key, expired, ends}
    assert await _found(world, revoked=False, expired=True) == {expired}
    assert await _found(world, revoked=False, expired=False) == {world.key, ends}
    soon = now + 2 * DAY
    assert await _found(world, revoked=False, expired=False, expires_before=soon) == {ends}
    assert await _found(world, revoked=False, expired=True, expires_before=soon) == {expired}


@pytest.mark.parametrize("limit", [1, 2, 5])
async def test_what_ends_next_comes_first(world: World, limit: int) -> None:
    ends = [NOW + n * DAY for n in (5, 3, 3, 1, 4)]
    ids = [await _add(world, expires_at=end) for end in ends]
    ordered = [id_ for _, id_ in sorted(zip(ends, ids, strict=True))]
    wanted = KeyFilter(expires_before=NOW + 5 * DAY)
    found = [key.id for key in await walk(partial(_page, world, wanted), limit)]
    assert found == ordered[:-1]
    of_user = replace(wanted, user_id=world.user)
    assert [key.id for key in await walk(partial(_page, world, of_user), limit)] == found


async def test_unused_is_what_was_neither_made_nor_rotated_nor_used(world: World) -> None:
    used, rotated = await _add(world), await _add(world)
    made = await _add(world, created_at=NOW + 2 * DAY)
    async with world.storage.store.transaction() as tx:
        await tx.api_keys.note_uses([KeyUse(used, 1, NOW + 2 * DAY, None)])
        rotation = Rotation(NOW + 2 * DAY, NOW + 3 * DAY, ends_on_use=False)
        await tx.api_keys.rotate(rotated, HASH, rotation)
    assert await _found(world, unused_since=NOW + DAY) == {world.key}
    assert await _found(world, unused_since=NOW + 3 * DAY) == {world.key, used, rotated, made}
    assert await _found(world, unused_since=NOW) == set()


async def test_what_ends_next_is_on_its_index(world: World) -> None:
    wanted = KeyFilter(revoked=False, expired=False, expires_before=NOW)
    seen = await plan(world.storage, lambda tx: tx.api_keys.at_home(world.root, Slice(5), wanted))
    assert "ix_api_keys_ends" in seen
    # Both ends bound what is read: those that have expired are passed over.
    assert not [line for line in seen.splitlines() if "Filter" in line and "expires_at" in line]
