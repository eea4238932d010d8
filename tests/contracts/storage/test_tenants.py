"""Tenants: their tree, names, policies and pages."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest
from sqlalchemy import func, select

from keyturn.server.domain.errors import Code, Refusal
from keyturn.server.domain.ids import new_id
from keyturn.server.domain.model import (
    ApiKey,
    Invitation,
    InvitationState,
    Permission,
    Tenant,
    UserKind,
)
from keyturn.server.domain.policy import Offboarding, Policy
from keyturn.server.services.ports import Slice, Transaction
from keyturn.server.storage import Storage, open_storage
from keyturn.server.storage.tables import invitations, memberships, roles, tenant_tree
from tests.contracts.storage.world import HASH, NOW, World, new_key_id, refused, walk

STRICT = Policy(
    single_token=True,
    max_api_key_lifetime=2**40,
    api_key_idle_timeout=3600,
    service_users_administer=False,
    offboarding=Offboarding.DELETE,
    max_api_keys=0,
    max_service_users=7,
    max_delegations=3,
)


class TestAdd:
    async def test_round_trip(self, storage: Storage) -> None:
        root = Tenant(new_id(), None, "root", NOW, policy=STRICT, version=3)
        below = Tenant(new_id(), root.id, "ünïcode 🗝", NOW, NOW)
        async with storage.store.transaction() as work:
            assert await work.tenants.root() is None
            await work.tenants.add(root)
            await work.tenants.add(below)
        async with storage.store.transaction() as work:
            assert await work.tenants.root() == root
            assert await work.tenants.get(below.id.upper()) == below
            assert await work.tenants.get("junk") is None
            assert await work.tenants.policies(below.id) == (Policy(), STRICT)
            assert await work.tenants.policies(new_id()) == ()

    async def test_conflict_for_a_siblings_name_and_the_work_goes_on(self, world: World) -> None:
        first = await world.tenant(world.root, "sÄme")
        async with world.storage.store.transaction() as work:
            again = Tenant(new_id(), world.root, "SäME", NOW)
            assert (await refused(work.tenants.add(again))).code is Code.CONFLICT
            cousin = Tenant(new_id(), first, "same", NOW)
            await work.tenants.add(cousin)
        async with world.storage.store.transaction() as work:
            assert await work.tenants.get(cousin.id) == cousin

    async def test_conflict_for_a_second_root(self, world: World) -> None:
        assert (await refused(world.tenant(None, "another platform"))).code is Code.CONFLICT


class TestTree:
    async def test_below_and_reaches(self, world: World) -> None:
        middle = await world.tenant(world.root, "middle")
        leaf = await world.tenant(middle, "leaf")
        other = await world.tenant(world.root, "other")
        async with world.storage.store.transaction() as work:
            assert await work.tenants.below(middle) == tuple(sorted((middle, leaf)))
            assert await work.tenants.below(leaf) == (leaf,)
            assert await work.tenants.below("junk") == ()
            assert await work.tenants.reaches(world.root, leaf)
            assert await work.tenants.reaches(leaf, leaf)
            assert not await work.tenants.reaches(leaf, middle)
            assert not await work.tenants.reaches(other, leaf)
            assert not await work.tenants.reaches("junk", leaf)


class TestSave:
    async def test_name_and_policy_and_the_next_version(self, world: World) -> None:
        tenant_id = await world.tenant(world.root, "before")
        async with world.storage.store.transaction() as work:
            tenant = await work.tenants.get(tenant_id)
            assert tenant is not None
            kept = await work.tenants.save(replace(tenant, policy=STRICT))
            assert kept == replace(tenant, policy=STRICT, version=2)
            renamed = await work.tenants.save(replace(kept, name="After", policy=Policy()))
            assert renamed == replace(tenant, name="After", version=3)
            assert await work.tenants.get(tenant_id) == renamed

    async def test_conflict_for_a_siblings_name(self, world: World) -> None:
        await world.tenant(world.root, "taken")
        tenant = Tenant(await world.tenant(world.root, "free"), world.root, "TAKEN", NOW)
        async with world.storage.store.transaction() as work:
            assert (await refused(work.tenants.save(tenant))).code is Code.CONFLICT
            assert (await work.tenants.save(replace(tenant, name="FREE"))).name == "FREE"

    async def test_the_root_is_renamed(self, world: World) -> None:
        async with world.storage.store.transaction() as work:
            root = await work.tenants.root()
            assert root is not None
            assert (await work.tenants.save(replace(root, name="Platform"))).name == "Platform"

    async def test_not_found_when_it_is_gone(self, world: World) -> None:
        async with world.storage.store.transaction() as work:
            gone = Tenant(new_id(), world.root, "gone", NOW)
            assert (await refused(work.tenants.save(gone))).code is Code.NOT_FOUND

    async def test_one_name_at_once_goes_to_one(self, database_url: str) -> None:
        async with open_storage(database_url) as storage:
            world = await World.build(storage)
            made = [await world.tenant(world.root, f"tenant {n}") for n in range(3)]

            async def rename(tenant_id: str) -> None:
                async with storage.store.transaction() as work:
                    await work.tenants.lock(tenant_id)
                    await work.tenants.save(Tenant(tenant_id, world.root, "wanted", NOW))

            async def add() -> None:
                async with storage.store.transaction() as work:
                    await work.tenants.lock(world.root)
                    await work.tenants.add(Tenant(new_id(), world.root, "wanted", NOW))

            outcomes = await asyncio.gather(
                *map(rename, made), add(), add(), return_exceptions=True
            )
            assert [type(outcome) for outcome in outcomes if outcome is not None] == [Refusal] * 4


class TestLock:
    async def test_the_second_waits_for_the_first(self, world: World) -> None:
        order: list[str] = []
        taken = asyncio.Event()

        async def first() -> None:
            async with world.storage.store.transaction() as work:
                assert await work.tenants.lock(world.root)
                taken.set()
                await asyncio.sleep(0.3)
                order.append("first")

        async def second() -> None:
            await taken.wait()
            async with world.storage.store.transaction() as work:
                assert await work.tenants.lock(world.root)
                order.append("second")

        await asyncio.gather(second(), first())
        assert order == ["first", "second"]

    async def test_rows_that_refer_to_it_can_be_written(self, postgres_url: str) -> None:
        async with open_storage(postgres_url) as storage:
            world = await World.build(storage)
            async with storage.store.transaction() as work:
                assert await work.tenants.lock(world.root)
                await world.new_user("another")

    async def test_false_without_the_tenant(self, world: World) -> None:
        async with world.storage.store.transaction() as work:
            assert not await work.tenants.lock(new_id())
            assert not await work.tenants.lock("junk")


NAMES = ["a%b", "a_b", "aXb", "Äpfel", "äpfeL 2", "STRASSE", "straße 2", "A", "zz", "\U0010ffff!"]


class TestPages:
    @pytest.mark.parametrize("limit", [1, 3, 100])
    async def test_children_by_folded_name(self, world: World, limit: int) -> None:
        made = {await world.tenant(world.root, name): name for name in NAMES}
        await world.tenant(next(iter(made)), "a grandchild")
        async with world.storage.store.transaction() as work:
            read = partial(work.tenants.children, world.root)
            found = [tenant.name for tenant in await walk(read, limit)]
        assert found == sorted(NAMES, key=str.casefold)

    @pytest.mark.parametrize("limit", [1, 3, 100])
    async def test_descendants_by_id_and_by_name_and_id(self, world: World, limit: int) -> None:
        top = await world.tenant(world.root, "top")
        other = await world.tenant(world.root, "same")
        made = []
        for number in range(4):
            middle = await world.tenant(top, f"middle {number}")
            made += [middle, await world.tenant(middle, "Same"), await world.tenant(middle, "s")]
        await world.tenant(other, "same")
        async with world.storage.store.transaction() as work:
            every = await walk(partial(work.tenants.descendants, top), limit)
            assert [tenant.id for tenant in every] == sorted(made)
            named = await walk(partial(work.tenants.descendants, top, name="S"), limit)
            assert [(t.name, t.id) for t in named] == sorted(
                [(t.name, t.id) for t in every if t.name in ("s", "Same")],
                key=lambda pair: (pair[0].casefold(), pair[1]),
            )
            assert len(named) == 8
            assert await walk(partial(work.tenants.descendants, made[1]), limit) == []

    @pytest.mark.parametrize(
        ("prefix", "found"),
        [
            ("a%", ["a%b"]),
            ("a_", ["a_b"]),
            ("AX", ["aXb"]),
            ("ÄPF", ["Äpfel", "äpfeL 2"]),
            ("straß", ["STRASSE", "straße 2"]),
            ("a", ["A", "a%b", "a_b", "aXb"]),
            ("%", []),
            ("\\", []),
            ("\ud7ff", []),
            ("\U0010ffff", ["\U0010ffff!"]),
        ],
    )
    async def test_names_that_begin_so(self, world: World, prefix: str, found: list[str]) -> None:
        for name in NAMES:
            await world.tenant(world.root, name)
        async with world.storage.store.transaction() as work:
            for read in (work.tenants.children, work.tenants.descendants):
                page = await read(world.root, Slice(100), name=prefix)
                assert [tenant.name for tenant in page.items] == found
                assert page.next is None

    async def test_400_for_a_malformed_cursor(self, world: World) -> None:
        async with world.storage.store.transaction() as work:
            reads: list[tuple[Callable[..., object], tuple[str, ...]]] = [
                (work.tenants.children, ()),
                (work.tenants.children, ("a", "b")),
                (work.tenants.children, ("a\0",)),
                (work.tenants.children, ("\ud800",)),
                (work.tenants.descendants, ("no id",)),
                (work.tenants.descendants, (new_id(), new_id())),
                (partial(work.tenants.descendants, name="a"), (new_id(),)),
                (partial(work.tenants.descendants, name="a"), ("a", "no id")),
            ]
            for read, after in reads:
                refusal = await refused(read(world.root, Slice(10, after)))  # type: ignore[arg-type]
                assert (refusal.code, refusal.field) == (Code.INVALID_REQUEST, "cursor")


class TestSuspend:
    async def test_and_resume(self, world: World) -> None:
        await world.suspend(world.root)
        async with world.storage.store.transaction() as work:
            root = await work.tenants.root()
            assert root is not None
            assert root.suspended_at == NOW
            assert await work.tenants.set_suspended(world.root, None)
            assert not await work.tenants.set_suspended(new_id(), None)
            assert not await work.tenants.set_suspended("junk", None)

    async def test_reaches_all_below(self, world: World) -> None:
        top = await world.tenant(world.root, "top")
        middle = await world.tenant(top, "middle")
        leaf = await world.tenant(middle, "leaf")
        other = await world.tenant(top, "other")
        async with world.storage.store.transaction() as work:
            assert await work.tenants.active(top) == tuple(sorted((top, middle, leaf, other)))
            await work.tenants.set_suspended(middle, NOW)
            assert await work.tenants.active(top) == tuple(sorted((top, other)))
            assert await work.tenants.active(leaf) == ()
            assert await work.tenants.active("junk") == ()
            await work.tenants.set_suspended(world.root, NOW)
            assert await work.tenants.active(top) == ()


class TestRemove:
    async def test_occupied_by_tenants_users_and_keys(self, world: World) -> None:
        empty = await world.tenant(world.root, "empty")
        above = await world.tenant(world.root, "above")
        await world.tenant(above, "below")
        home = await world.tenant(world.root, "home")
        await world.new_user("resident", home=home, kind=UserKind.SERVICE)
        await world.new_user("person", home=empty, kind=UserKind.HUMAN)
        bound = await world.tenant(world.root, "bound")
        await world.new_key(tenant=bound)
        await world.new_key(tenant=empty, expires_at=NOW)
        await world.member(empty)
        async with world.storage.store.transaction() as work:
            assert not await work.tenants.occupied(empty)
            assert not await work.tenants.occupied("junk")
            for tenant in (above, home, bound):
                assert await work.tenants.occupied(tenant)

    async def test_people_at_home_there_move_up_and_bound_keys_stay_dead(
        self, world: World
    ) -> None:
        tenant = await world.tenant(world.root, "gone")
        person = await world.new_user("person", home=tenant, kind=UserKind.HUMAN)
        expired = await world.new_key(tenant=tenant, expires_at=NOW)
        async with world.storage.store.transaction() as work:
            await work.api_keys.add(ApiKey(new_key_id(), person, tenant, "own", NOW), HASH)
            await work.tenants.remove(tenant)
            user = await work.users.get(person)
            assert user is not None
            assert user.home_tenant_id == world.root
            [key] = (await work.api_keys.of_user(person, Slice(10))).items
            assert key.home_tenant_id == world.root
            bound = await work.api_keys.get(expired)
            assert bound is not None
            assert (bound.tenant_id, bound.revoked_reason) == (None, "tenant_deleted")
            assert bound.revoked_at is not None

    async def test_takes_all_that_belongs_to_it(self, world: World) -> None:
        tenant = await world.tenant(world.root, "gone")
        own = await world.role(tenant, "own")
        await world.member(tenant)
        await world.member(tenant, own)
        await world.member(world.root)
        async with world.storage.store.transaction() as work:
            await _furnish(work, tenant, own.id)
        async with world.storage.store.transaction() as work:
            await work.tenants.remove(tenant)
        async with world.storage.store.transaction() as work:
            assert await work.tenants.get(tenant) is None
            assert await work.tenants.below(world.root) == (world.root,)
            assert len(await work.memberships.of_user(world.user)) == 1
            assert await work.endpoints.count(tenant) == (0, 0)
        async with world.storage.store._engine.connect() as connection:
            for table, rows in ((tenant_tree, 1), (roles, 4), (memberships, 1), (invitations, 0)):
                count = select(func.count()).select_from(table)
                assert (await connection.execute(count)).scalar_one() == rows


async def _furnish(work: Transaction, tenant: str, role: str) -> None:
    offer = Invitation(new_id(), tenant, role, "a@b.c", InvitationState.DECLINED, NOW, NOW)
    await work.invitations.add(offer, b"hash")
    await work.permissions.add([Permission(tenant, "assets:read", "", NOW)])
