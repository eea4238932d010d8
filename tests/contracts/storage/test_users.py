"""Users: names, epochs, passwords and pages."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from functools import partial

import pytest

from keyturn.server.domain.errors import Code
from keyturn.server.domain.ids import new_id
from keyturn.server.domain.model import Invitation, InvitationState, User, UserKind
from keyturn.server.domain.permissions import VIEWER
from keyturn.server.services.ports import Slice
from keyturn.server.storage import Storage, open_storage
from tests.contracts.storage.world import NOW, World, refused, walk


def human(world: World, username: str = "ada@example.org") -> User:
    return User(
        new_id(),
        UserKind.HUMAN,
        username,
        "Ada",
        world.root,
        7,
        NOW,
        NOW,
        description="counts",
        created_by=world.user,
        single_token=True,
        version=3,
    )


class TestAdd:
    async def test_round_trip(self, world: World) -> None:
        user = human(world, "Ärger")
        async with world.storage.store.transaction() as work:
            await work.users.add(user)
            assert await work.users.get(user.id) == user
            assert await work.users.by_username("äRGER") == user
            assert await work.users.by_username("nobody\0") is None
            assert await work.users.get("junk") is None
            assert await work.users.set_disabled(user.id, None)
            assert not await work.users.set_disabled(new_id(), None)
            assert not await work.users.set_disabled("junk", None)

    async def test_conflict_for_a_username_in_other_case(self, world: World) -> None:
        assert (await refused(world.new_user("READER"))).code is Code.CONFLICT

    async def test_400_for_what_cannot_be_stored(self, world: World) -> None:
        for name in ("a\0b", "\ud800"):
            assert (await refused(world.new_user(name))).code is Code.INVALID_REQUEST


class TestNamed:
    async def test_at_home_there_and_of_that_kind(self, world: World) -> None:
        below = await world.tenant(world.root, "below")
        async with world.storage.store.transaction() as work:
            user = replace(human(world), display_name="Ärger")
            await work.users.add(user)
            for tenant, kind, name, found in (
                (world.root, UserKind.HUMAN, "äRGER", user),
                (world.root, UserKind.SERVICE, "Ärger", None),
                (below, UserKind.HUMAN, "Ärger", None),
                (world.root, UserKind.HUMAN, "Ärge", None),
                (world.root, UserKind.HUMAN, "\0", None),
            ):
                assert await work.users.named(tenant, kind, name) == found


class TestDisabled:
    async def test_those_of_them(self, world: World) -> None:
        other = await world.new_user("other")
        async with world.storage.store.transaction() as work:
            await work.users.set_disabled(other, NOW)
            found = await work.users.many([other, world.user, new_id()])
            assert {user.id: user.disabled_at for user in found.values()} == {
                other: NOW,
                world.user: None,
            }
            assert await work.users.many([]) == {}


class TestSave:
    async def test_names_and_the_next_version(self, world: World) -> None:
        user = human(world)
        changed = replace(user, display_name="A", description="", single_token=None)
        async with world.storage.store.transaction() as work:
            await work.users.add(user)
            kept = await work.users.save(replace(changed, username="not written"))
            assert kept == replace(changed, version=4)
            assert await work.users.get(user.id) == kept

    async def test_not_found_when_it_is_gone(self, world: World) -> None:
        async with world.storage.store.transaction() as work:
            assert (await refused(work.users.save(human(world)))).code is Code.NOT_FOUND


class TestEpoch:
    async def test_concurrent_raises_all_count(self, database_url: str) -> None:
        async with open_storage(database_url) as one, open_storage(database_url) as two:
            world = await World.build(one)

            async def rise(storage: Storage) -> int | None:
                async with storage.store.transaction() as work:
                    return (await work.users.raise_epochs([world.user])).get(world.user)

            epochs = await asyncio.gather(*(rise((one, two)[n % 2]) for n in range(20)))
            assert sorted(epoch or 0 for epoch in epochs) == list(range(1, 21))

    async def test_of_many_users_those_that_there_are(self, world: World) -> None:
        async with world.storage.store.transaction() as work:
            made = [replace(human(world, f"u{number}"), id=new_id()) for number in range(600)]
            for user in made:
                await work.users.add(user)
            asked = [user.id for user in made] + [new_id(), "junk", made[0].id.upper()]
            epochs = await work.users.raise_epochs(asked)
            assert epochs == {user.id: 8 for user in made}
            assert await work.users.raise_epochs([]) == {}

    async def test_raises_of_many_users_at_once_never_wait_crosswise(
        self, database_url: str
    ) -> None:
        async with open_storage(database_url) as storage:
            world = await World.build(storage)
            made = [await world.new_user(f"user {number}") for number in range(30)]

            async def rise(users: list[str]) -> None:
                async with storage.store.transaction() as work:
                    await work.users.raise_epochs(users)

            await asyncio.gather(*(rise(made if n % 2 else made[::-1]) for n in range(20)))
            async with storage.store.transaction() as work:
                assert set((await work.users.raise_epochs(made)).values()) == {21}


class TestPages:
    @pytest.mark.parametrize("limit", [1, 2, 100])
    async def test_at_home_by_id(self, world: World, limit: int) -> None:
        made = [world.user] + [await world.new_user(f"user {number}") for number in range(4)]
        await world.new_user("human", kind=UserKind.HUMAN)
        below = await world.tenant(world.root, "below")
        await world.new_user("elsewhere", home=below)
        async with world.storage.store.transaction() as work:
            read = partial(work.users.at_home, world.root, UserKind.SERVICE)
            assert [user.id for user in await walk(read, limit)] == sorted(made)

    @pytest.mark.parametrize("limit", [1, 2, 3, 5, 100])
    async def test_below_by_tenant_and_id(self, world: World, limit: int) -> None:
        top = await world.tenant(world.root, "top")
        homes = [top]
        for number in range(5):
            homes.append(await world.tenant(homes[number // 2], f"tenant {number}"))
        made = []
        for number, home in enumerate(homes):
            for user in range(0 if number == 2 else 1 + number % 3):
                made.append((home, await world.new_user(f"{number} {user}", home=home)))
            await world.new_user(f"human {number}", home=home, kind=UserKind.HUMAN)
        async with world.storage.store.transaction() as work:
            read = partial(work.users.at_home, top, UserKind.SERVICE, below=True)
            found = [(user.home_tenant_id, user.id) for user in await walk(read, limit)]
        assert found == sorted(made)

    async def test_400_for_a_malformed_cursor(self, world: World) -> None:
        async with world.storage.store.transaction() as work:
            for below, after in (
                (False, ("junk",)),
                (False, (world.root, world.user)),
                (True, (world.user,)),
                (True, (world.root, "\0")),
            ):
                refusal = await refused(
                    work.users.at_home(world.root, UserKind.SERVICE, Slice(10, after), below=below)
                )
                assert (refusal.code, refusal.field) == (Code.INVALID_REQUEST, "cursor")

    async def test_count_stops_at_what_is_asked(self, world: World) -> None:
        for number in range(3):
            await world.new_user(f"user {number}")
        async with world.storage.store.transaction() as work:
            for at_most, count in ((2, 2), (4, 4), (9, 4)):
                counted = await work.users.count_at_home(world.root, UserKind.SERVICE, at_most)
                assert counted == count
            assert await work.users.count_at_home(world.root, UserKind.HUMAN, 9) == 0


class TestMadeBy:
    async def test_service_users_in_the_tenant_and_below(self, world: World) -> None:
        top = await world.tenant(world.root, "top")
        below = await world.tenant(top, "below")
        wanted = []
        async with world.storage.store.transaction() as work:
            for home, kind, maker in (
                (top, UserKind.SERVICE, world.user),
                (below, UserKind.SERVICE, world.user),
                (below, UserKind.HUMAN, world.user),
                (below, UserKind.SERVICE, new_id()),
                (world.root, UserKind.SERVICE, world.user),
            ):
                name = f"user {new_id()}"
                user = User(new_id(), kind, name, "", home, 0, NOW, created_by=maker)
                await work.users.add(user)
                wanted.append(user)
            assert await work.users.made_by(world.user, top) == tuple(
                sorted(wanted[:2], key=lambda user: user.id)
            )
            assert len(await work.users.made_by(world.user, world.root)) == 3


class TestPassword:
    async def test_set_and_replaced(self, world: World) -> None:
        async with world.storage.store.transaction() as work:
            assert await work.users.password(world.user) is None
            assert await work.users.password("junk") is None
            await work.users.set_password(world.user, "$one", NOW)
            await work.users.set_password(world.user, "$two", NOW + timedelta(days=1))
            assert await work.users.password(world.user) == "$two"


class TestRemove:
    async def test_takes_keys_sessions_memberships_password_and_offers(self, world: World) -> None:
        await world.member(world.root)
        offer = Invitation(
            new_id(),
            world.root,
            VIEWER.id,
            "READER",
            InvitationState.PENDING,
            NOW,
            NOW + timedelta(days=1),
        )
        answered = replace(offer, id=new_id(), state=InvitationState.DECLINED)
        another = replace(offer, id=new_id(), email="reader@example.org")
        session = new_id()
        assert await world.storage.steps.advance(world.state(session, 0), world.user, None)
        async with world.storage.store.transaction() as work:
            await work.users.set_password(world.user, "$hash", NOW)
            for number, invitation in enumerate((offer, answered, another)):
                await work.invitations.add(invitation, bytes([number]))
            await work.users.remove(world.user)
        async with world.storage.store.transaction() as work:
            assert await work.users.get(world.user) is None
            assert await work.users.password(world.user) is None
            assert await work.api_keys.get(world.key) is None
            assert await work.sessions.get(session) is None
            assert await work.memberships.of_user(world.user) == ()
            assert await work.invitations.get(offer.id) is None
            assert await work.invitations.get(answered.id) == answered
            assert await work.invitations.get(another.id) == another
