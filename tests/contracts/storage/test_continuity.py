"""A database that went back is noticed by what is remembered outside of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from keyturn.server.domain.errors import StorageNotReady, Unavailable
from keyturn.server.domain.ids import new_id
from keyturn.server.domain.model import Revocation, Tenant
from keyturn.server.domain.trail import AuditEvent
from keyturn.server.services import continuity
from keyturn.server.services.continuity import Continuity
from keyturn.server.storage import FileMemory, Storage


class Remembered:
    """A memory that may be away."""

    def __init__(self) -> None:
        self.known: dict[str, str] = {}
        self.away = False

    async def recall(self, installation: str) -> str | None:
        if self.away:
            raise Unavailable("away")
        return self.known.get(installation)

    async def keep(self, installation: str, event_id: str) -> None:
        self.known[installation] = event_id

    async def forget(self, installation: str) -> None:
        self.known.pop(installation, None)

    async def entries(self) -> tuple[Revocation, ...]:
        return ()


async def _event(storage: Storage, age: float = 0) -> str:
    event_id = new_id()
    async with storage.store.transaction() as tx:
        at = await tx.now() - timedelta(seconds=age)
        await tx.audit.add([AuditEvent("test", "done", at=at, id=event_id)])
    return event_id


@pytest.fixture
async def root(storage: Storage) -> str:
    async with storage.store.transaction() as tx:
        tenant = Tenant(new_id(), None, "platform", await tx.now())
        await tx.tenants.add(tenant)
    return tenant.id


async def test_the_newest_is_remembered_once_it_is_some_seconds_old(
    storage: Storage, root: str
) -> None:
    memory = Remembered()
    work = Continuity(storage.store, memory)
    await work.remember()
    assert memory.known == {}
    old = await _event(storage, age=continuity.BEHIND.total_seconds() + 1)
    await _event(storage)
    await work.remember()
    assert memory.known == {root: old}


async def test_a_database_that_lacks_it_has_gone_back(storage: Storage, root: str) -> None:
    memory = Remembered()
    work = Continuity(storage.store, memory)
    await _event(storage, age=60)
    memory.known[root] = lost = new_id()
    for look in (work.check, work.remember):
        with pytest.raises(StorageNotReady, match="keyturn restored"):
            await look()
    # What was known is not written over.
    assert memory.known == {root: lost}
    await memory.forget(root)
    await work.remember()
    assert root in memory.known


async def test_an_event_that_may_have_been_deleted_tells_nothing(
    storage: Storage, root: str
) -> None:
    """A Redis that was away for weeks, or comes back from an old snapshot of its own."""
    memory, kept = Remembered(), timedelta(days=7)
    work = Continuity(storage.store, memory, kept)
    newest = await _event(storage, age=60)
    memory.known[root] = _id_of(datetime.now(UTC) - kept)
    await work.check()
    await work.remember()
    assert memory.known == {root: newest}
    # One that was not yet to be deleted, and is not there, is missing.
    memory.known[root] = _id_of(datetime.now(UTC) - kept + timedelta(hours=1))
    with pytest.raises(StorageNotReady):
        await work.check()


async def test_it_stops_the_start_and_a_memory_that_is_away_does_not(
    storage: Storage, root: str
) -> None:
    memory = Remembered()
    memory.known[root] = new_id()
    with pytest.raises(StorageNotReady):
        async with continuity.continuity(storage.store, memory):
            pass
    memory.away = True
    async with continuity.continuity(storage.store, memory) as work:
        assert work is not None
        assert await work.health() == "ok"
        work.broken = True
        with pytest.raises(Unavailable):
            await work.health()
    async with continuity.continuity(storage.store, None) as nobody:
        assert nobody is None


async def test_another_installation_is_none_of_its_business(storage: Storage, root: str) -> None:
    memory = Remembered()
    memory.known[new_id()] = new_id()
    await Continuity(storage.store, memory).check()


async def test_a_file_beside_the_database(tmp_path: Path) -> None:
    memory = FileMemory(tmp_path / "keyturn.db")
    assert await memory.recall("a") is None
    await memory.keep("a", "1")
    assert await memory.recall("a") == "1"
    (tmp_path / "keyturn.db-recorded").write_text("{")
    assert await memory.recall("a") is None
    await memory.keep("a", "2")
    await memory.forget("a")
    assert await memory.recall("a") is None


async def test_the_floor_rises_above_all_that_was(storage: Storage, root: str) -> None:
    floors = []
    for ahead in (0, 0, 3600, 0):
        async with storage.store.transaction() as tx:
            floors.append(await tx.users.raise_floor(ahead=timedelta(seconds=ahead)))
            now = await tx.now()
        # Single steps since 1970, one a microsecond, would not reach it.
        assert floors[-1] >= int((now - timedelta(seconds=1)).timestamp() * 1_000_000)
    assert floors == sorted(set(floors))
    async with storage.store.transaction() as tx:
        above = floors[-1] + 2**40
        assert await tx.users.raise_floor(above=above) > above
    assert above < 2**53


def _id_of(moment: datetime) -> str:
    """A UUIDv7 that was made then."""
    millis = f"{int(moment.timestamp() * 1000):012x}"
    return f"{millis[:8]}-{millis[8:]}{new_id()[13:]}"
