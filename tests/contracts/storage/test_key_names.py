"""`ports.ApiKeys.name_taken`: one live key of a name for one user."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from keyturn.server.domain.model import ApiKey
from tests.contracts.storage.world import HASH, NOW, World, new_key_id

DAY = timedelta(days=1)


async def test_live_keys_of_the_same_user_take_a_name_to_the_letter(world: World) -> None:
    other = await world.new_user("other")
    key = ApiKey(new_key_id(), world.user, world.root, "export", NOW)
    ended = replace(key, id=new_key_id(), name="ended", expires_at=NOW)
    ending = replace(key, id=new_key_id(), name="ending", expires_at=NOW + DAY)
    revoked = replace(key, id=new_key_id(), name="revoked", revoked_at=NOW)
    others = replace(key, id=new_key_id(), name="others", user_id=other)
    async with world.storage.store.transaction() as work:
        for one in (key, ended, ending, revoked, others):
            await work.api_keys.add(one, HASH)
        taken = [
            name
            for name in ("export", "Export", "ended", "ending", "revoked", "others")
            if await work.api_keys.name_taken(world.user, name, NOW)
        ]
        assert taken == ["export", "ending"]
        assert not await work.api_keys.name_taken(world.user, "ending", NOW + DAY)
