"""Roles: names that mean one thing along the tree, and where they can be given."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from keyturn.server.domain.errors import Code, Refusal
from keyturn.server.domain.ids import new_id
from keyturn.server.domain.model import Invitation, InvitationState, Membership, Role
from keyturn.server.domain.permissions import BUILT_IN_ROLES, EDITOR, VIEWER
from keyturn.server.storage import open_storage
from tests.contracts.storage.world import NOW, World, refused


class TestGet:
    async def test_built_in_roles_are_there(self, world: World) -> None:
        async with world.storage.store.transaction() as work:
            expected = tuple(sorted(BUILT_IN_ROLES, key=lambda role: role.name))
            assert await work.roles.in_tenant(world.root) == expected
            assert await work.roles.get(EDITOR.id) == EDITOR
            assert await work.roles.get("junk") is None

    async def test_many_are_those_that_there_are(self, world: World) -> None:
        async with world.storage.store.transaction() as work:
            asked = [VIEWER.id, EDITOR.id, new_id(), "junk"]
            assert await work.roles.many(asked) == (EDITOR, VIEWER)
            assert await work.roles.many(["junk"]) == ()

    async def test_a_role_is_there_in_its_tenant_and_below(self, world: World) -> None:
        top = await world.tenant(world.root, "top")
        below = await world.tenant(top, "below")
        other = await world.tenant(world.root, "other")
        role = Role(new_id(), "Wrítér", frozenset({"assets:write"}), top, "Writes.", 4)
        async with world.storage.store.transaction() as work:
            await work.roles.add(role)
            assert await work.roles.get(role.id) == role
            for tenant, there in ((top, True), (below, True), (other, False), (world.root, False)):
                assert (role in await work.roles.in_tenant(tenant)) is there
            assert len(await work.roles.in_tenant("junk")) == len(BUILT_IN_ROLES)


class TestNames:
    async def test_conflict_along_the_tree(self, world: World) -> None:
        top = await world.tenant(world.root, "top")
        middle = await world.tenant(top, "middle")
        leaf = await world.tenant(middle, "leaf")
        cousin = await world.tenant(top, "cousin")
        await world.role(middle, "writer")
        for tenant in (world.root, top, middle, leaf):
            for name in ("writer", "WRITER", "editor", "Editor"):
                assert (await refused(world.role(tenant, name))).code is Code.CONFLICT
        await world.role(cousin, "writer")

    async def test_conflict_for_a_new_name(self, world: World) -> None:
        below = await world.tenant(world.root, "below")
        await world.role(below, "taken")
        role = await world.role(world.root, "free", "a:b")
        async with world.storage.store.transaction() as work:
            for name in ("Taken", "viewer"):
                refusal = await refused(work.roles.save(replace(role, name=name)))
                assert refusal.code is Code.CONFLICT
            assert await work.roles.get(role.id) == role

    async def test_at_once_in_parent_and_child_one_wins(self, database_url: str) -> None:
        async with open_storage(database_url) as storage:
            world = await World.build(storage)
            below = await world.tenant(world.root, "below")
            other = await world.role(below, "other")

            async def add(tenant: str) -> None:
                async with storage.store.transaction() as work:
                    await work.tenants.lock(tenant)  # as every change in a tenant does first
                    await work.roles.add(Role(new_id(), "wanted", frozenset(), tenant))

            async def rename() -> None:
                async with storage.store.transaction() as work:
                    await work.tenants.lock(below)
                    await work.roles.save(replace(other, name="wanted"))

            outcomes = await asyncio.gather(
                *(add((world.root, below)[n % 2]) for n in range(10)),
                rename(),
                return_exceptions=True,
            )
            lost = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
            assert [type(outcome) for outcome in lost] == [Refusal] * 10


class TestSave:
    async def test_what_it_may_do_and_the_next_version(self, world: World) -> None:
        role = await world.role(world.root, "writer", "a:b")
        changed = replace(role, permissions=frozenset({"c:d", "a:b"}), description="Writes.")
        async with world.storage.store.transaction() as work:
            kept = await work.roles.save(changed)
            assert kept == replace(changed, version=2)
            assert await work.roles.get(role.id) == kept
            renamed = await work.roles.save(replace(kept, name="WRITER"))
            assert renamed == replace(kept, name="WRITER", version=3)
            renamed = await work.roles.save(replace(renamed, name="author"))
            assert (
                await work.roles.get(role.id) == renamed == replace(kept, name="author", version=4)
            )

    async def test_not_found_when_it_is_gone(self, world: World) -> None:
        async with world.storage.store.transaction() as work:
            gone = Role(new_id(), "gone", frozenset(), world.root)
            assert (await refused(work.roles.save(gone))).code is Code.NOT_FOUND


class TestAnyHas:
    async def test_in_the_tenant_and_below(self, world: World) -> None:
        top = await world.tenant(world.root, "top")
        below = await world.tenant(top, "below")
        await world.role(below, "writer", "assets:write", "assets_x:read")
        async with world.storage.store.transaction() as work:
            for tenant, permission, found in (
                (below, "assets:write", True),
                (world.root, "assets:write", True),
                (top, "assets:writ", False),
                (top, "ssets:write", False),
                (top, "assets_x:read", True),
                (top, "assetsux:read", False),
                (top, "tenants:read", False),
                (top, '"', False),
                ("junk", "assets:write", False),
            ):
                assert await work.roles.any_has(permission, tenant) is found


class TestLock:
    async def test_whoever_gives_the_role_waits(self, world: World) -> None:
        role = await world.role(world.root, "role")
        order: list[str] = []
        taken = asyncio.Event()

        async def lock() -> None:
            async with world.storage.store.transaction() as work:
                assert await work.roles.lock(role.id) == role
                taken.set()
                await asyncio.sleep(0.3)
                order.append("locked")

        async def give() -> None:
            await taken.wait()
            await world.member(world.root, role)
            order.append("given")

        await asyncio.gather(give(), lock())
        assert order == ["locked", "given"]

    async def test_none_without_the_role(self, world: World) -> None:
        async with world.storage.store.transaction() as work:
            assert await work.roles.lock(new_id()) is None
            assert await work.roles.lock("junk") is None


class TestInUse:
    async def test_by_members_offers_and_keys(self, world: World) -> None:
        roles = [await world.role(world.root, f"role {number}") for number in range(6)]
        held, offered, answered, narrowed, revoked, free = roles
        await world.member(world.root, held)
        key = await world.new_key(roles=(VIEWER.id, revoked.id))
        await world.new_key(roles=(VIEWER.id, narrowed.id))
        async with world.storage.store.transaction() as work:
            await work.api_keys.revoke(key, NOW, "gone")
            for role, state in (
                (offered, InvitationState.PENDING),
                (answered, InvitationState.ACCEPTED),
            ):
                ends = NOW + timedelta(days=1)
                offer = Invitation(new_id(), world.root, role.id, "a@b.c", state, NOW, ends)
                await work.invitations.add(offer, role.id.encode())
            used = [role for role in roles if await work.roles.in_use(role.id)]
            assert used == [held, offered, narrowed]
            assert not await work.roles.in_use(new_id())
            assert not await work.roles.in_use("junk")
        assert free not in used


class TestRemove:
    async def test_takes_memberships_and_offers(self, world: World) -> None:
        role = await world.role(world.root, "gone")
        await world.member(world.root, role)
        await world.member(world.root, VIEWER)
        offer = Invitation(
            new_id(), world.root, role.id, "a@b.c", InvitationState.DECLINED, NOW, NOW
        )
        async with world.storage.store.transaction() as work:
            await work.invitations.add(offer, b"hash")
            await work.roles.remove(role.id)
            assert await work.roles.get(role.id) is None
            assert await work.invitations.get(offer.id) is None
            kept = Membership(world.user, world.root, VIEWER.id, NOW)
            assert await work.memberships.of_user(world.user) == ((kept, VIEWER),)


@pytest.mark.parametrize("name", ["a\0b", "\ud800"])
async def test_400_for_a_name_that_cannot_be_stored(world: World, name: str) -> None:
    assert (await refused(world.role(world.root, name))).code is Code.INVALID_REQUEST
