"""The loop: what fails does not end it, and is told once."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, cast

import pytest

from keyturn.server.domain.errors import Unavailable
from keyturn.server.revocation.follower import ALL_ANEW_AFTER
from keyturn.server.services import housekeeping as module
from keyturn.server.services.housekeeping import BATCH, EVENTS, KEPT, Housekeeper, housekeeping
from keyturn.server.services.ports import Perishable, Store, Transaction
from keyturn.server.storage.revocations import OVERLAP


class FakeStore:
    """Has so much to delete; `faults` are raised by the next transactions, in turn (None: none)."""

    def __init__(
        self, faults: Sequence[Exception | None] = (), left: dict[Perishable, int] | None = None
    ) -> None:
        self.faults = list(faults)
        self.left = left or {}
        self.events = 0
        self.locked = False
        self.hangs = False
        self.rounds = 0
        self.entered = asyncio.Event()
        self.housekeeping = self.activity = self

    def watch(self, changed: Callable[[], None]) -> None:
        raise NotImplementedError

    async def listen(self, heard: Callable[[], None]) -> None:
        raise AssertionError("nobody listens here")

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        self.entered.set()
        if self.hangs:
            await asyncio.sleep(3600)
        fault = self.faults.pop(0) if self.faults else None
        if fault is not None:
            raise fault
        yield cast(Any, self)

    async def ping(self) -> None: ...

    async def lock(self) -> bool:
        return not self.locked

    async def roll_up(self, at_most: int) -> int:
        assert not self.locked
        count = min(self.events, at_most)
        self.events -= count
        return count

    async def delete(self, what: Perishable, *, kept: timedelta, at_most: int) -> int:
        self.rounds += what is list(KEPT)[-1]
        count = min(self.left.get(what, 0), at_most)
        self.left[what] = self.left.get(what, 0) - count
        return count


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "INTERVAL", 0.01)
    monkeypatch.setattr(module, "PAUSE", 0.0)


def keeping(store: FakeStore) -> Any:
    typed: Store = store
    return housekeeping(typed)


async def rounds(store: FakeStore, more: int = 1) -> None:
    enough = store.rounds + more
    async with asyncio.timeout(5):
        while store.rounds < enough:  # noqa: ASYNC110 - nobody says when
            await asyncio.sleep(0.005)


def test_everything_perishable_is_kept_for_some_time_and_no_longer() -> None:
    # The audit trail only if somebody says how long.
    assert set(KEPT) == set(Perishable) - {Perishable.AUDIT_EVENTS}


def test_revocations_outlast_every_tail() -> None:
    """A node that goes on where its tail was must still hear of what was lifted meanwhile."""
    assert KEPT[Perishable.REVOCATIONS] > timedelta(seconds=ALL_ANEW_AFTER) + 2 * OVERLAP


class TestTidy:
    async def test_until_nothing_is_left(self) -> None:
        store = FakeStore(left={Perishable.SESSIONS: 3 * BATCH, Perishable.INVITATIONS: 7})
        deleted = await Housekeeper(cast(Store, store)).tidy()
        assert +deleted == {Perishable.SESSIONS: 3 * BATCH, Perishable.INVITATIONS: 7}

    async def test_counts_up_until_nothing_is_left(self) -> None:
        store = FakeStore()
        store.events = 2 * EVENTS + 1
        await Housekeeper(cast(Store, store)).tidy()
        assert store.events == 0

    async def test_leaves_it_to_the_node_that_is_at_it(self) -> None:
        store = FakeStore(left={Perishable.SESSIONS: 1})
        store.locked = True
        assert not +await Housekeeper(cast(Store, store)).tidy()
        assert store.left == {Perishable.SESSIONS: 1}


class TestRun:
    @pytest.mark.parametrize(
        ("fault", "told"),
        [
            (Unavailable("the database is away"), "the database is away"),
            # The text of a foreign error may quote values.
            (ValueError("a bug of 'somebody'"), "ValueError"),
        ],
    )
    async def test_goes_on_after_faults_and_tells_once(
        self, caplog: pytest.LogCaptureFixture, fault: Exception, told: str
    ) -> None:
        store = FakeStore([fault] * 3, {Perishable.SESSIONS: 1})
        with caplog.at_level(logging.INFO):
            async with keeping(store):
                await rounds(store, 2)
        assert store.left[Perishable.SESSIONS] == 0
        assert [record.message for record in caplog.records if record.name == module.__name__] == [
            f"housekeeping fails, and is tried again every minute: {told}",
            "housekeeping works again",
        ]

    async def test_ends_while_the_database_does_not_answer(self) -> None:
        store = FakeStore()
        async with asyncio.timeout(5):
            async with keeping(store):
                await rounds(store)
                store.hangs = True
                store.entered.clear()
                await store.entered.wait()
        assert not [task for task in asyncio.all_tasks() if task.get_name() == "housekeeping"]

    async def test_ends_before_its_first_round(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "INTERVAL", 3600)
        store = FakeStore()
        async with asyncio.timeout(5), keeping(store):
            pass
        assert store.rounds == 0
