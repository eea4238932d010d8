"""The other repositories: keys, signing keys, the audit trail; and what a transaction is."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from sqlalchemy import select, update
from sqlalchemy.exc import DBAPIError

from keyturn.server.domain.ids import new_id
from keyturn.server.domain.model import (
    ApiKey,
    KeyHash,
    Membership,
    StoredSigningKey,
    User,
    UserKind,
)
from keyturn.server.domain.permissions import VIEWER
from keyturn.server.domain.trail import Actor, AuditEvent
from keyturn.server.services.ports import KeyUse
from keyturn.server.storage import Storage, open_storage
from keyturn.server.storage.tables import audit_events
from tests.contracts.storage.world import HASH, NOW, World, new_key_id


class TestApiKeys:
    async def test_round_trip_and_one_revocation(self, world: World) -> None:
        key = ApiKey(
            new_key_id(),
            world.user,
            world.root,
            "key",
            NOW,
            tenant_id=world.root,
            role_ids=(VIEWER.id,),
            expires_at=NOW + timedelta(days=1),
        )
        async with world.storage.store.transaction() as work:
            await work.api_keys.add(key, HASH)
            assert await work.api_keys.get(key.id) == key
            assert await work.api_keys.get("\0") is None
            assert await work.api_keys.revoke(key.id, NOW, "gone")
            assert not await work.api_keys.revoke(key.id, NOW, "gone")
            assert not await work.api_keys.revoke(new_key_id(), NOW, "gone")

    async def test_uses_add_up_and_the_latest_stays(self, world: World) -> None:
        later = NOW + timedelta(seconds=9)
        newest = KeyHash(b"new", 3)
        async with world.storage.store.transaction() as work:
            await work.api_keys.note_uses([])
            await work.api_keys.note_uses([KeyUse(world.key, 2, later, "::1", newest)])
            await work.api_keys.note_uses(
                [KeyUse(world.key, 3, NOW, "10.0.0.1"), KeyUse(new_key_id(), 1, NOW, None)]
            )
            key = await work.api_keys.get(world.key)
        assert key is not None
        assert (key.use_count, key.last_used_at, key.last_used_from) == (5, later, "::1")
        assert (await world.find()).hash == newest


class TestSigningKeys:
    def key(self, kid: str, slot: str = "current", algorithm: str = "ES256") -> StoredSigningKey:
        return StoredSigningKey(
            kid, algorithm, slot, {"kty": "EC", "kid": kid}, b"\0sealed", NOW, NOW
        )

    async def test_one_key_a_slot_but_many_retired(self, storage: Storage) -> None:
        async with storage.store.transaction() as work:
            assert await work.signing_keys.add(self.key("a"))
            assert not await work.signing_keys.add(self.key("b"))
            assert await work.signing_keys.add(self.key("c", "next"))
            assert await work.signing_keys.add(self.key("d", algorithm="RS256"))
            assert await work.signing_keys.add(self.key("e", "retired"))
            assert await work.signing_keys.add(self.key("f", "retired"))
        async with storage.store.transaction() as work:
            kept = await work.signing_keys.all()
        assert [key.kid for key in kept] == ["a", "c", "d", "e", "f"]
        assert kept[0] == self.key("a")

    async def test_processes_that_start_at_once_make_one(self, database_url: str) -> None:
        async with open_storage(database_url) as one, open_storage(database_url) as two:

            async def add(number: int) -> bool:
                async with (one, two)[number % 2].store.transaction() as work:
                    return await work.signing_keys.add(self.key(f"key-{number}"))

            assert sum(await asyncio.gather(*(add(n) for n in range(20)))) == 1


class TestAuditLog:
    async def test_rows_get_id_and_time_and_never_change(self, storage: Storage) -> None:
        known = AuditEvent("b", "refused", Actor("u", "k", "s", "::1"), "t", "x", {"n": 1}, NOW)
        async with storage.store.transaction() as work:
            await work.audit.add([])
            await work.audit.add([AuditEvent("a", "done"), known])
        async with storage.store._engine.connect() as connection:
            statement = select(audit_events).order_by(audit_events.c.action)
            first, second = (await connection.execute(statement)).all()
            assert first.at > NOW
            assert (second.at, second.user_id, second.data) == (NOW, "u", {"n": 1})
            with pytest.raises(DBAPIError, match="append only"):
                await connection.execute(update(audit_events).values(outcome="forged"))


async def test_exception_rolls_everything_back(world: World) -> None:
    user = User(new_id(), UserKind.HUMAN, "gone", "", world.root, 0, NOW)

    async def fail() -> None:
        async with world.storage.store.transaction() as work:
            await work.users.add(user)
            await work.memberships.add(Membership(user.id, world.root, VIEWER.id, NOW))
            raise OSError("the caller's own")

    with pytest.raises(OSError, match="the caller's own"):
        await fail()
    async with world.storage.store.transaction() as work:
        assert await work.users.get(user.id) is None
