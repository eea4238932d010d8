"""Invitations: roles offered, and answered once."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial

import pytest

from keyturn.server.domain.errors import Code
from keyturn.server.domain.ids import new_id
from keyturn.server.domain.model import Invitation, InvitationState
from keyturn.server.domain.permissions import EDITOR, VIEWER
from keyturn.server.services.ports import Slice
from keyturn.server.storage import open_storage
from tests.contracts.storage.world import NOW, World, refused, walk

LATER = NOW + timedelta(days=7)


def offer(
    tenant: str,
    email: str = "Ada@Example.org",
    *,
    role: str = VIEWER.id,
    state: InvitationState = InvitationState.PENDING,
    expires_at: datetime = LATER,
) -> Invitation:
    return Invitation(new_id(), tenant, role, email, state, NOW, expires_at, new_id())


class TestAdd:
    async def test_round_trip(self, world: World) -> None:
        invitation = offer(world.root)
        async with world.storage.store.transaction() as work:
            await work.invitations.add(invitation, b"\0\xff")
            assert await work.invitations.get(invitation.id) == invitation
            assert await work.invitations.by_code(b"\0\xff") == invitation
            assert await work.invitations.by_code(b"\0") is None
            assert await work.invitations.get(new_id()) is None
            assert await work.invitations.get("junk") is None

    async def test_is_its_code(self, world: World) -> None:
        one, other = offer(world.root), offer(world.root, "eve@example.org")
        async with world.storage.store.transaction() as work:
            await work.invitations.add(one, b"1")
            await work.invitations.add(other, b"2")
            assert await work.invitations.is_code(one.id, b"1")
            assert not await work.invitations.is_code(one.id, b"2")
            assert not await work.invitations.is_code(one.id, b"")
            assert not await work.invitations.is_code(new_id(), b"1")
            assert not await work.invitations.is_code("junk", b"1")

    async def test_conflict_while_the_same_is_pending(self, world: World) -> None:
        below = await world.tenant(world.root, "below")
        first, again = offer(world.root), offer(world.root, "ADA@example.ORG")
        async with world.storage.store.transaction() as work:
            await work.invitations.add(first, b"1")
            await work.invitations.add(offer(world.root, role=EDITOR.id), b"2")
            await work.invitations.add(offer(below), b"3")
            assert (await refused(work.invitations.add(again, b"4"))).code is Code.CONFLICT
            assert await work.invitations.answer(first.id, InvitationState.DECLINED, LATER)
            await work.invitations.add(again, b"4")


class TestAnswer:
    async def test_only_a_pending_one(self, world: World) -> None:
        invitation = offer(world.root)
        async with world.storage.store.transaction() as work:
            await work.invitations.add(invitation, b"1")
            assert await work.invitations.answer(invitation.id, InvitationState.ACCEPTED, LATER)
            assert not await work.invitations.answer(invitation.id, InvitationState.DECLINED, NOW)
            assert not await work.invitations.answer(new_id(), InvitationState.DECLINED, NOW)
            assert not await work.invitations.answer("junk", InvitationState.DECLINED, NOW)
            assert await work.invitations.get(invitation.id) == replace(
                invitation, state=InvitationState.ACCEPTED, answered_at=LATER
            )

    async def test_of_answers_at_once_one_wins(self, database_url: str) -> None:
        async with open_storage(database_url) as storage:
            world = await World.build(storage)
            invitation = offer(world.root)
            async with storage.store.transaction() as work:
                await work.invitations.add(invitation, b"1")

            async def answer(state: InvitationState) -> bool:
                async with storage.store.transaction() as work:
                    return await work.invitations.answer(invitation.id, state, LATER)

            states = [InvitationState.ACCEPTED, InvitationState.DECLINED] * 5
            assert sum(await asyncio.gather(*map(answer, states))) == 1


class TestExpired:
    async def test_withdrawn_so_that_it_can_be_offered_again(self, world: World) -> None:
        below = await world.tenant(world.root, "below")
        old, elsewhere = offer(world.root), offer(below)
        new = offer(world.root, "bob@example.org", expires_at=LATER + timedelta(seconds=1))
        answered = offer(world.root, "cyd@example.org", state=InvitationState.ACCEPTED)
        async with world.storage.store.transaction() as work:
            for number, invitation in enumerate((old, elsewhere, new, answered)):
                await work.invitations.add(invitation, bytes([number]))
            await work.invitations.withdraw_expired(world.root, LATER)
            assert await work.invitations.get(old.id) == replace(
                old, state=InvitationState.WITHDRAWN, answered_at=LATER
            )
            for invitation in (elsewhere, new, answered):
                assert await work.invitations.get(invitation.id) == invitation
            await work.invitations.add(replace(old, id=new_id()), b"again")


class TestPages:
    @pytest.mark.parametrize("limit", [1, 2, 100])
    async def test_in_tenant_by_id(self, world: World, limit: int) -> None:
        below = await world.tenant(world.root, "below")
        states = [*InvitationState, *InvitationState]
        made = [
            offer(world.root, f"{number}@example.org", state=state)
            for number, state in enumerate(states)
        ]
        async with world.storage.store.transaction() as work:
            for number, invitation in enumerate((*made, offer(below))):
                await work.invitations.add(invitation, bytes([number]))
            made.sort(key=lambda invitation: invitation.id)
            read = partial(work.invitations.in_tenant, world.root)
            assert await walk(read, limit) == made
            for state in InvitationState:
                some = await walk(partial(read, state=state), limit)
                assert some == [invitation for invitation in made if invitation.state is state]

    async def test_400_for_a_malformed_cursor(self, world: World) -> None:
        async with world.storage.store.transaction() as work:
            for after in (("junk",), (), (new_id(), new_id())):
                refusal = await refused(work.invitations.in_tenant(world.root, Slice(10, after)))
                assert (refusal.code, refusal.field) == (Code.INVALID_REQUEST, "cursor")


class TestPendingFor:
    async def test_an_address_in_whatever_case(self, world: World) -> None:
        below = await world.tenant(world.root, "below")
        mine = [offer(world.root), offer(below, "ADA@example.org")]
        others = [
            offer(world.root, "bob@example.org"),
            offer(world.root, role=EDITOR.id, state=InvitationState.DECLINED),
            offer(below, role=EDITOR.id, expires_at=NOW),
        ]
        async with world.storage.store.transaction() as work:
            for number, invitation in enumerate((*mine, *others)):
                await work.invitations.add(invitation, bytes([number]))
            found = await work.invitations.pending_for("aDa@example.org", NOW)
            assert found == tuple(sorted(mine, key=lambda invitation: invitation.id))
            assert await work.invitations.pending_for("a\0", NOW) == ()
            assert await work.invitations.count_pending(world.root, 9) == 2
            assert await work.invitations.count_pending(below, 1) == 1
            assert await work.invitations.count_pending(new_id(), 9) == 0

    async def test_no_more_than_two_hundred(self, world: World) -> None:
        async with world.storage.store.transaction() as work:
            for number in range(201):
                role = replace(VIEWER, id=new_id(), name=f"role {number}", tenant_id=world.root)
                await work.roles.add(role)
                await work.invitations.add(offer(world.root, role=role.id), str(number).encode())
            assert len(await work.invitations.pending_for("ada@example.org", NOW)) == 200
