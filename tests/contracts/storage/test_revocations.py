"""`ports.Revocations`: the truth, and the tail that misses nothing."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime, timedelta

import pytest

from keyturn.server.domain.ids import new_id
from keyturn.server.domain.model import Revocation, RevocationKind
from keyturn.server.domain.revocations import EVERY_EPOCH, FOREVER_YEAR, Subject, stronger
from keyturn.server.storage import Storage, open_storage

LATER = datetime.now(UTC).replace(microsecond=123456) + timedelta(hours=1)
FOREVER = datetime(FOREVER_YEAR, 1, 1, tzinfo=UTC)


def session(expires_at: datetime = LATER) -> Revocation:
    return Revocation(RevocationKind.SESSION, new_id(), expires_at)


def subject(entry: Revocation) -> Subject:
    return entry.kind, entry.subject


async def test_entries_are_found_to_the_letter(storage: Storage) -> None:
    entries = [
        session(),
        Revocation(RevocationKind.TENANT, new_id(), FOREVER),
        Revocation(RevocationKind.USER, new_id(), LATER, EVERY_EPOCH),
        Revocation(RevocationKind.KEY, "0" * 22, LATER),
    ]
    await _add(storage, *entries)
    asked = [*map(subject, entries), (RevocationKind.TOKEN, "a\0b"), (RevocationKind.TOKEN, "x")]
    async with storage.store.transaction() as work:
        assert set(await work.revocations.find(asked)) == set(entries)
        assert await work.revocations.find([]) == ()
        wrong_kind = [(RevocationKind.TOKEN, entry.subject) for entry in entries]
        assert await work.revocations.find(wrong_kind) == ()


async def test_expired_entry_is_not_found_nor_in_a_new_tail(storage: Storage) -> None:
    entry = session(datetime.now(UTC) - timedelta(seconds=5))
    await _add(storage, entry)
    async with storage.store.transaction() as work:
        assert await work.revocations.find([subject(entry)]) == ()
        assert (await work.revocations.tail(None)).entries == ()


@pytest.mark.parametrize("epochs", [(3, 5), (5, 3), (None, 3), (3, None)])
async def test_the_stronger_of_both_stays(
    storage: Storage, epochs: tuple[int | None, int | None]
) -> None:
    user = new_id()
    one = Revocation(RevocationKind.USER, user, LATER, epochs[0])
    other = Revocation(RevocationKind.USER, user, LATER + timedelta(hours=1), epochs[1])
    for pair in ((one, other), (other, one)):
        for entry in pair:
            await _add(storage, entry)
        async with storage.store.transaction() as work:
            assert await work.revocations.find([subject(one)]) == (stronger(one, other),)
    async with storage.store.transaction() as work:
        twice = Revocation(RevocationKind.USER, new_id(), LATER, 1)
        await work.revocations.add([twice, twice, one])


async def test_thousands_at_once(storage: Storage) -> None:
    entries = [session() for _ in range(1300)]
    await _add(storage, *entries)
    async with storage.store.transaction() as work:
        assert set(await work.revocations.find([subject(e) for e in entries])) == set(entries)
        assert len((await work.revocations.tail(None)).entries) == 1300


async def test_lifted_entry_is_tailed_as_ended_and_can_come_back(storage: Storage) -> None:
    entry = Revocation(RevocationKind.TENANT, new_id(), FOREVER)
    await _add(storage, entry)
    async with storage.store.transaction() as work:
        cursor = (await work.revocations.tail(None)).cursor
    async with storage.store.transaction() as work:
        await work.revocations.lift([subject(entry)])
        await work.revocations.lift([(RevocationKind.TENANT, new_id())])
    async with storage.store.transaction() as work:
        tail = await work.revocations.tail(cursor)
        assert [e.subject for e in tail.entries] == [entry.subject]
        assert tail.entries[0].expires_at <= await work.now()
        assert await work.revocations.find([subject(entry)]) == ()
        assert (await work.revocations.tail(None)).entries == ()
    await _add(storage, entry)
    async with storage.store.transaction() as work:
        assert await work.revocations.find([subject(entry)]) == (entry,)


async def test_tail_tells_what_is_new_and_what_is_renewed(storage: Storage) -> None:
    old = session()
    await _add(storage, old)
    async with storage.store.transaction() as work:
        first = await work.revocations.tail(None)
    assert first.entries == (old,)
    renewed = Revocation(old.kind, old.subject, LATER + timedelta(minutes=1))
    new = session()
    await _add(storage, renewed, new)
    async with storage.store.transaction() as work:
        assert {new, renewed} <= set((await work.revocations.tail(first.cursor)).entries)


async def test_late_commit_is_not_missed(postgres_url: str) -> None:
    async with open_storage(postgres_url) as storage:
        late = session()
        async with storage.store.transaction() as slow:
            await slow.revocations.add([late])
            cursor: str | None = None
            for _ in range(2):
                early = session()
                await _add(storage, early)
                async with storage.store.transaction() as work:
                    tail = await work.revocations.tail(cursor)
                assert early in tail.entries
                assert late not in tail.entries
                cursor = tail.cursor
        async with storage.store.transaction() as work:
            assert late in (await work.revocations.tail(cursor)).entries


async def test_concurrent_adders_of_the_same_subjects_do_not_deadlock(storage: Storage) -> None:
    entries = [session() for _ in range(20)]

    async def add_shuffled() -> None:
        await _add(storage, *random.sample(entries, len(entries)))

    await asyncio.gather(*(add_shuffled() for _ in range(10)))
    async with storage.store.transaction() as work:
        assert set((await work.revocations.tail(None)).entries) == set(entries)


async def _add(storage: Storage, *entries: Revocation) -> None:
    async with storage.store.transaction() as work:
        await work.revocations.add(entries)
