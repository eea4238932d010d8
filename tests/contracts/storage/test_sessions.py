"""`ports.Sessions`: each refresh token is spent once."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta

from keyturn.server.domain.ids import new_id
from keyturn.server.domain.model import Session
from keyturn.server.services.ports import Slice
from keyturn.server.storage import Storage, open_storage
from tests.contracts.storage.plans import plan
from tests.contracts.storage.world import World, refused, walk


async def test_first_refresh_writes_the_row_as_it_is_read_later(world: World) -> None:
    session_id = new_id()
    rotated_at = await _advance(world.storage, world, session_id, 0)
    first = await _row(world.storage, session_id)
    assert first is not None
    assert first.rotated_at == rotated_at
    assert (first.generation, first.key_id, first.user_id) == (1, world.key, world.user)
    async with world.storage.store.transaction() as work:
        assert await work.sessions.get(new_id()) is None
        assert await work.sessions.get("junk\0") is None
        assert abs((await work.now() - first.rotated_at).total_seconds()) < 5


async def test_each_generation_is_spent_once_in_order(world: World) -> None:
    session_id = new_id()
    assert await _advance(world.storage, world, session_id, 1) is None
    for generation in range(3):
        at = await _advance(world.storage, world, session_id, generation)
        stepped = await _row(world.storage, session_id)
        assert stepped is not None
        assert (stepped.rotated_at, stepped.generation) == (at, generation + 1)
        for spent in range(generation + 1):
            assert await _advance(world.storage, world, session_id, spent) is None


async def test_one_of_50_wins_over_two_pools(database_url: str) -> None:
    async with open_storage(database_url) as one, open_storage(database_url) as two:
        world = await World.build(one)
        session_id = new_id()
        for generation in range(2):
            results = await asyncio.gather(
                *(_advance(one if n % 2 else two, world, session_id, generation) for n in range(50))
            )
            winners = [result for result in results if result is not None]
            assert len(winners) == 1
            row = await _row(two, session_id)
            assert row is not None
            assert row.rotated_at == winners[0]


async def test_ended_session_is_not_refreshed(world: World) -> None:
    session_id = new_id()
    await _advance(world.storage, world, session_id, 0)
    async with world.storage.store.transaction() as work:
        assert await work.sessions.end(world.session(session_id), "reuse")
        assert not await work.sessions.end(world.session(session_id), "again")
    assert await _advance(world.storage, world, session_id, 1) is None
    async with world.storage.store.transaction() as work:
        session = await work.sessions.get(session_id)
    assert session is not None
    assert session.ended_at is not None
    assert session.generation == 1


async def test_session_ended_before_its_first_refresh_is_not_refreshed(world: World) -> None:
    session_id = new_id()
    async with world.storage.store.transaction() as work:
        assert await work.sessions.end(world.session(session_id), "revoked")
    assert await _advance(world.storage, world, session_id, 0) is None


async def test_where_a_refresh_came_from_is_kept(world: World) -> None:
    session_id, steps = new_id(), world.storage.steps
    for generation, address in enumerate(("192.0.2.1", "192.0.2.2", None)):
        await steps.advance(world.state(session_id, generation), world.user, address)
        row = await _row(world.storage, session_id)
        assert row is not None
        assert row.last_used_from == address


async def _begun(world: World, count: int, *, key: str = "", user: str = "") -> list[str]:
    """Sessions that were refreshed once, the earliest begun first."""
    ids = [new_id() for _ in range(count)]
    for session_id in ids:
        state = replace(world.state(session_id, 0), key_id=key or world.key)
        assert await world.storage.steps.advance(state, user or world.user, "192.0.2.1")
    return sorted(ids)


async def _reasons(world: World) -> dict[str, str | None]:
    """Why the sessions of the world's user ended."""
    async with world.storage.store.transaction() as work:
        page = await work.sessions.of_user(world.user, Slice(100))
    return {session.id: session.end_reason for session in page.items}


class TestLists:
    async def test_of_a_user_and_of_a_key_the_latest_begun_first(self, world: World) -> None:
        other_key = await world.new_key()
        first, then = await _begun(world, 5), await _begun(world, 3, key=other_key)
        stranger = await world.new_user("stranger")
        await _begun(world, 1, user=stranger, key=await world.new_key())
        async with world.storage.store.transaction() as work:
            for limit in (2, 3, 8):
                found = await walk(lambda part: work.sessions.of_user(world.user, part), limit)
                assert [session.id for session in found] == sorted(first + then)[::-1]
            found = await walk(lambda part: work.sessions.of_key(other_key, part), 2)
            assert [session.id for session in found] == then[::-1]
            assert {session.last_used_from for session in found} == {"192.0.2.1"}
            for nobody in (new_id(), "x", "\0"):
                assert (await work.sessions.of_user(nobody, Slice(9))).items == ()
                assert (await work.sessions.of_key(nobody, Slice(9))).items == ()
            for cursor in (("x",), (first[0], first[0])):
                await refused(work.sessions.of_user(world.user, Slice(9, cursor)))

    async def test_those_refreshed_since_that_go_on(self, world: World) -> None:
        ended, goes_on = await _begun(world, 2)
        async with world.storage.store.transaction() as work:
            await work.sessions.end(world.session(ended), "revoked")
            await work.sessions.end(world.session(new_id()), "revoked")
            now = await work.now()
            since = now - timedelta(minutes=1)
            part = Slice(9)
            of_user = await work.sessions.of_user(world.user, part, refreshed_since=since)
            of_key = await work.sessions.of_key(world.key, part, refreshed_since=since)
            assert [found.id for found in (*of_user.items, *of_key.items)] == [goes_on] * 2
            of_user = await work.sessions.of_user(world.user, part, refreshed_since=now)
            assert of_user.items == ()

    async def test_on_an_index(self, world: World) -> None:
        [after] = await _begun(world, 1)
        part = Slice(9, (after,))
        for since in (None, world.session(after).rotated_at):
            used = await plan(
                world.storage,
                lambda work: work.sessions.of_user(world.user, part, refreshed_since=since),  # noqa: B023
            )
            assert "ix_sessions_user_id_id" in used
            used = await plan(
                world.storage,
                lambda work: work.sessions.of_key(world.key, part, refreshed_since=since),  # noqa: B023
            )
            assert "ix_sessions_key_id_id" in used


class TestSuperseded:
    """Sessions that began in an epoch (here 1) before the one from which they are good."""

    async def test_of_a_user(self, world: World) -> None:
        stranger = await world.new_user("stranger")
        [theirs] = await _begun(world, 1, user=stranger, key=await world.new_key())
        mine = await _begun(world, 2)
        assert await _superseded(world) == set()
        async with world.storage.store.transaction() as work:
            while await work.users.raise_epochs([world.user], end_sessions=True) != {world.user: 2}:
                pass
        assert await _superseded(world) == set(mine)
        async with world.storage.store.transaction() as work:
            now = await work.now()
            assert (await work.sessions.of_user(stranger, Slice(9))).items[0].id == theirs
            since = now - timedelta(minutes=1)
            live = await work.sessions.of_user(world.user, Slice(9), refreshed_since=since)
            assert live.items == ()

    async def test_of_a_key_with_those_that_have_no_row(self, world: World) -> None:
        other_key = await world.new_key()
        [mine], _ = await _begun(world, 1), await _begun(world, 1, key=other_key)
        async with world.storage.store.transaction() as work:
            await work.api_keys.end_sessions(world.key, 7)
        assert await _superseded(world) == {mine}
        assert (await world.find()).sessions_epoch == 7
        assert (await world.find(other_key)).sessions_epoch == 0

    async def test_of_everybody(self, world: World) -> None:
        mine = await _begun(world, 2)
        async with world.storage.store.transaction() as work:
            floor = await work.users.raise_floor()
        assert await _superseded(world) == set(mine)
        found = await world.find()
        assert found.epoch == found.sessions_epoch == floor
        async with world.storage.store.transaction() as work:
            raised = await work.users.raise_epochs([world.user])
        assert raised == {world.user: floor + 1}


async def _superseded(world: World) -> set[str]:
    async with world.storage.store.transaction() as work:
        found = await work.sessions.of_user(world.user, Slice(99))
        return {session.id for session in found.items if session.superseded}


async def _advance(
    storage: Storage, world: World, session_id: str, generation: int
) -> datetime | None:
    return await storage.steps.advance(world.state(session_id, generation), world.user, None)


async def _row(storage: Storage, session_id: str) -> Session | None:
    async with storage.store.transaction() as work:
        return await work.sessions.get(session_id)
