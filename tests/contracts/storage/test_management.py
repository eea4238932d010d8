"""The other repositories: tenants, users, roles, keys, signing keys, the audit trail."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from sqlalchemy import select, update
from sqlalchemy.exc import DBAPIError

from keyturn.server.domain.errors import Code, Refusal
from keyturn.server.domain.ids import new_id
from keyturn.server.domain.model import (
    Actor,
    ApiKey,
    AuditEvent,
    KeyHash,
    Membership,
    MembershipState,
    Role,
    StoredSigningKey,
    Tenant,
    User,
    UserKind,
)
from keyturn.server.domain.permissions import BUILT_IN_ROLES, EDITOR, VIEWER
from keyturn.server.services.ports import KeyUse
from keyturn.server.storage import Storage, open_storage
from keyturn.server.storage.tables import audit_events
from tests.contracts.storage.world import HASH, NOW, World, new_key_id


class TestTenants:
    async def test_round_trip(self, storage: Storage) -> None:
        root = Tenant(new_id(), None, "root", NOW)
        below = Tenant(new_id(), root.id, "ünïcode 🗝", NOW, NOW)
        async with storage.store.transaction() as work:
            assert await work.tenants.root() is None
            await work.tenants.add(root)
            await work.tenants.add(below)
        async with storage.store.transaction() as work:
            assert await work.tenants.root() == root
            assert await work.tenants.get(below.id.upper()) == below
            assert await work.tenants.get("junk") is None
            assert await work.tenants.below(root.id) == tuple(sorted((root.id, below.id)))
            assert await work.tenants.below(below.id) == (below.id,)
            assert await work.tenants.set_suspended(below.id, None)
            assert not await work.tenants.set_suspended(new_id(), None)

    async def test_conflict_for_a_siblings_name_and_the_work_goes_on(self, world: World) -> None:
        first = await world.tenant(world.root, "same")
        async with world.storage.store.transaction() as work:
            with pytest.raises(Refusal) as refused:
                await work.tenants.add(Tenant(new_id(), world.root, "same", NOW))
            assert refused.value.code is Code.CONFLICT
            cousin = Tenant(new_id(), first, "same", NOW)
            await work.tenants.add(cousin)
        async with world.storage.store.transaction() as work:
            assert await work.tenants.get(cousin.id) == cousin

    async def test_conflict_for_a_second_root(self, world: World) -> None:
        with pytest.raises(Refusal):
            await world.tenant(None, "another platform")


class TestUsers:
    async def test_round_trip(self, world: World) -> None:
        user = User(new_id(), UserKind.HUMAN, "Ärger", "Ä", world.root, 7, NOW, NOW)
        async with world.storage.store.transaction() as work:
            await work.users.add(user)
            assert await work.users.get(user.id) == user
            assert await work.users.by_username("äRGER") == user
            assert await work.users.by_username("nobody\0") is None
            assert await work.users.get("junk") is None
            assert await work.users.set_disabled(user.id, None)
            assert not await work.users.set_disabled(new_id(), None)

    async def test_conflict_for_a_username_in_other_case(self, world: World) -> None:
        with pytest.raises(Refusal) as refused:
            await world.new_user("READER")
        assert refused.value.code is Code.CONFLICT

    async def test_nul_in_a_name_is_refused(self, world: World) -> None:
        for name in ("a\0b", "\ud800"):
            with pytest.raises(Refusal) as refused:
                await world.new_user(name)
            assert refused.value.code is Code.INVALID_REQUEST

    async def test_conflict_for_a_membership_twice(self, world: World) -> None:
        await world.member(world.root)
        with pytest.raises(Refusal):
            await world.member(world.root, VIEWER, MembershipState.INVITED)

    async def test_concurrent_raises_of_the_epoch_all_count(self, database_url: str) -> None:
        async with open_storage(database_url) as one, open_storage(database_url) as two:
            world = await World.build(one)

            async def rise(storage: Storage) -> int | None:
                async with storage.store.transaction() as work:
                    return await work.users.raise_epoch(world.user)

            epochs = await asyncio.gather(*(rise((one, two)[n % 2]) for n in range(20)))
            assert sorted(epoch or 0 for epoch in epochs) == list(range(1, 21))
            async with one.store.transaction() as work:
                assert await work.users.raise_epoch(new_id()) is None


class TestRoles:
    async def test_built_in_roles_are_there(self, world: World) -> None:
        async with world.storage.store.transaction() as work:
            expected = tuple(sorted(BUILT_IN_ROLES, key=lambda role: role.name))
            assert await work.roles.in_tenant(world.root) == expected
            assert await work.roles.get(EDITOR.id) == EDITOR

    async def test_custom_role_is_in_its_tenant_only(self, world: World) -> None:
        other = await world.tenant(world.root, "other")
        role = Role(new_id(), "writer", frozenset({"assets:write"}), world.root)
        async with world.storage.store.transaction() as work:
            await work.roles.add(role)
            assert role in await work.roles.in_tenant(world.root)
            assert role not in await work.roles.in_tenant(other)

    @pytest.mark.parametrize("name", ["writer", "editor"])
    async def test_conflict_for_a_name_taken_or_built_in(self, world: World, name: str) -> None:
        async with world.storage.store.transaction() as work:
            await work.roles.add(Role(new_id(), "writer", frozenset(), world.root))
            with pytest.raises(Refusal) as refused:
                await work.roles.add(Role(new_id(), name, frozenset(), world.root))
            assert refused.value.code is Code.CONFLICT


class TestApiKeys:
    async def test_round_trip_and_one_revocation(self, world: World) -> None:
        key = ApiKey(
            new_key_id(),
            world.user,
            "key",
            NOW,
            world.root,
            (VIEWER.id,),
            NOW + timedelta(days=1),
        )
        async with world.storage.store.transaction() as work:
            await work.api_keys.add(key, HASH)
            assert await work.api_keys.get(key.id) == key
            assert await work.api_keys.get("\0") is None
            assert await work.api_keys.revoke(key.id, NOW)
            assert not await work.api_keys.revoke(key.id, NOW)
            assert not await work.api_keys.revoke(new_key_id(), NOW)

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
        return StoredSigningKey(kid, algorithm, slot, {"kty": "EC", "kid": kid}, b"\0sealed", NOW)

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
            await work.users.add_membership(
                Membership(user.id, world.root, VIEWER.id, MembershipState.ACCEPTED, NOW)
            )
            raise OSError("the caller's own")

    with pytest.raises(OSError, match="the caller's own"):
        await fail()
    async with world.storage.store.transaction() as work:
        assert await work.users.get(user.id) is None
