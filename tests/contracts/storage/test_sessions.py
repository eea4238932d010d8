"""`ports.Sessions`: each refresh token is spent once."""

from __future__ import annotations

import asyncio

from keyturn.server.domain.ids import new_id
from keyturn.server.domain.model import Session
from keyturn.server.storage import Storage, open_storage
from tests.contracts.storage.world import World


async def test_first_refresh_writes_the_row_as_it_is_read_later(world: World) -> None:
    session_id = new_id()
    first = await _advance(world.storage, world, session_id, 0)
    assert first is not None
    assert (first.generation, first.key_id, first.user_id) == (1, world.key, world.user)
    async with world.storage.store.transaction() as work:
        assert await work.sessions.get(session_id) == first
        assert await work.sessions.get(new_id()) is None
        assert await work.sessions.get("junk\0") is None
        assert abs((await work.now() - first.rotated_at).total_seconds()) < 5


async def test_each_generation_is_spent_once_in_order(world: World) -> None:
    session_id = new_id()
    assert await _advance(world.storage, world, session_id, 1) is None
    for generation in range(3):
        stepped = await _advance(world.storage, world, session_id, generation)
        assert stepped is not None
        assert stepped.generation == generation + 1
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
            async with two.store.transaction() as work:
                assert await work.sessions.get(session_id) == winners[0]


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


async def test_step_that_is_rolled_back_is_unspent(world: World) -> None:
    session_id = new_id()
    try:
        async with world.storage.store.transaction() as work:
            await work.sessions.advance(world.state(session_id, 0), world.user)
            raise LookupError
    except LookupError:
        pass
    assert await _advance(world.storage, world, session_id, 0) is not None


async def test_purge_keeps_what_counts(world: World) -> None:
    kept, gone = new_id(), new_id()
    await _advance(world.storage, world, kept, 0)
    async with world.storage.store.transaction() as work:
        await work.sessions.end(world.session(gone), "revoked")  # a session of last January
    await world.storage.store.purge()
    async with world.storage.store.transaction() as work:
        assert await work.sessions.get(kept) is not None
        assert await work.sessions.get(gone) is None


async def _advance(
    storage: Storage, world: World, session_id: str, generation: int
) -> Session | None:
    async with storage.store.transaction() as work:
        return await work.sessions.advance(world.state(session_id, generation), world.user)
