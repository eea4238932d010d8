"""Memberships: who holds which role where."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest

from keyturn.server.domain.errors import Code
from keyturn.server.domain.ids import new_id
from keyturn.server.domain.model import Membership, UserKind
from keyturn.server.domain.permissions import EDITOR, TENANT_ADMIN, VIEWER
from keyturn.server.domain.policy import Policy
from keyturn.server.services.ports import Slice
from tests.contracts.storage.world import NOW, World, refused, walk


class TestOneUser:
    async def test_added_listed_and_removed(self, world: World) -> None:
        below = await world.tenant(world.root, "below")
        given = [
            (Membership(world.user, tenant, role.id, NOW), role)
            for tenant in sorted((world.root, below))
            for role in (EDITOR, VIEWER)
        ]
        async with world.storage.store.transaction() as work:
            for membership, _ in reversed(given):
                await work.memberships.add(membership)
            assert await work.memberships.of_user(world.user) == tuple(given)
            assert await work.memberships.remove(given[0][0])
            assert not await work.memberships.remove(given[0][0])
            assert await work.memberships.of_user(world.user) == tuple(given[1:])
            assert await work.memberships.of_user("junk") == ()

    async def test_conflict_for_the_same_twice_and_the_work_goes_on(self, world: World) -> None:
        membership = Membership(world.user, world.root, VIEWER.id, NOW)
        async with world.storage.store.transaction() as work:
            await work.memberships.add(membership)
            assert (await refused(work.memberships.add(membership))).code is Code.CONFLICT
            assert len(await work.memberships.of_user(world.user)) == 1

    async def test_member_with_the_roles_held_there_itself(self, world: World) -> None:
        below = await world.tenant(world.root, "below")
        await world.member(world.root, VIEWER)
        await world.member(world.root, EDITOR)
        async with world.storage.store.transaction() as work:
            member = await work.memberships.member(world.root, world.user)
            assert member is not None
            assert member.user == await work.users.get(world.user)
            assert member.roles == (EDITOR, VIEWER)
            assert await work.memberships.member(below, world.user) is None
            assert await work.memberships.member(world.root, new_id()) is None
            assert await work.memberships.member(world.root, "junk") is None
            assert await work.memberships.member("junk", world.user) is None


class TestPages:
    @pytest.mark.parametrize("limit", [1, 2, 5, 100])
    async def test_members_by_user_id_with_their_roles(self, world: World, limit: int) -> None:
        below = await world.tenant(world.root, "below")
        expected = {}
        for number in range(5):
            user = await world.new_user(f"user {number}")
            roles = [(VIEWER,), (VIEWER, EDITOR), (EDITOR, VIEWER, TENANT_ADMIN)][number % 3]
            for role in roles:
                await world.member(world.root, role, user=user)
            await world.member(below, TENANT_ADMIN, user=user)
            expected[user] = sorted(role.name for role in roles)
        await world.member(below)
        async with world.storage.store.transaction() as work:
            found = await walk(partial(work.memberships.members, world.root), limit)
        listed = [(member.user.id, [role.name for role in member.roles]) for member in found]
        assert listed == sorted(expected.items())

    async def test_400_for_a_malformed_cursor(self, world: World) -> None:
        async with world.storage.store.transaction() as work:
            for after in (("junk",), (), (world.user, world.user)):
                refusal = await refused(work.memberships.members(world.root, Slice(10, after)))
                assert (refusal.code, refusal.field) == (Code.INVALID_REQUEST, "cursor")


class TestHolders:
    async def test_are_told_once(self, world: World) -> None:
        below = await world.tenant(world.root, "below")
        other = await world.new_user("other")
        for user in (world.user, other):
            await world.member(world.root, user=user)
            await world.member(below, user=user)
        await world.member(below, EDITOR)
        async with world.storage.store.transaction() as work:
            assert await work.memberships.holders(VIEWER.id) == tuple(sorted((world.user, other)))
            assert await work.memberships.holders(EDITOR.id) == (world.user,)
            assert await work.memberships.holders("junk") == ()
            both = tuple(sorted((world.user, other)))
            assert await work.memberships.user_ids(below) == both
            assert await work.memberships.user_ids(new_id()) == ()
            assert await work.memberships.user_ids("junk") == ()


class TestAdministrators:
    async def test_hold_the_role_there_and_are_not_disabled(self, world: World) -> None:
        tenant = await world.tenant(world.root, "tenant")
        disabled = await world.new_user("disabled", kind=UserKind.HUMAN)
        active = await world.new_user("active", kind=UserKind.HUMAN)
        await world.member(world.root, TENANT_ADMIN, user=active)
        await world.member(tenant, TENANT_ADMIN, user=disabled)
        await world.member(tenant, EDITOR)
        async with world.storage.store.transaction() as work:
            await work.users.set_disabled(disabled, NOW)
            assert await work.memberships.administrators(world.root) == (active,)
            assert await work.memberships.administrators(tenant) == ()

    @pytest.mark.parametrize("above", [None, True, False])
    async def test_service_users_count_where_they_may_administer(
        self, world: World, above: bool | None
    ) -> None:
        tenant = await world.tenant(world.root, "tenant")
        program = await world.new_user("program", kind=UserKind.SERVICE)
        person = await world.new_user("person", kind=UserKind.HUMAN)
        for user in (person, program):
            await world.member(tenant, TENANT_ADMIN, user=user)
        for place, settled in ((world.root, above), (tenant, True)):
            async with world.storage.store.transaction() as work:
                found = await work.tenants.get(place)
                assert found is not None
                policy = Policy(service_users_administer=settled)
                await work.tenants.save(replace(found, policy=policy))
        expected = {person} if above is False else {person, program}
        async with world.storage.store.transaction() as work:
            assert set(await work.memberships.administrators(tenant)) == expected

    async def test_ten_are_enough(self, world: World) -> None:
        for number in range(12):
            user = await world.new_user(f"user {number}", kind=UserKind.HUMAN)
            await world.member(world.root, TENANT_ADMIN, user=user)
        async with world.storage.store.transaction() as work:
            assert len(await work.memberships.administrators(world.root)) == 10
