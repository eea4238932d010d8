"""The batch writer: what is noted is written once, however often the store is away."""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keyturn.server.domain.errors import Unavailable
from keyturn.server.domain.model import KeyHash
from keyturn.server.domain.trail import AuditEvent
from keyturn.server.services import usage as usage_module
from keyturn.server.services.ports import KeyUse, Store, Transaction
from keyturn.server.services.usage import MAX_NOTES, MAX_TRIES, Note, Usage

START = datetime(2030, 1, 1, tzinfo=UTC)
GRANTED = Note("token.issued", "granted", "password", "u", "k1", "t", "192.0.2.1")
REFUSED = Note("token.refused", "refused", "password", why="wrong secret")
HASH = KeyHash(bytes(32), 2)


class Clock:
    """One second later at each look."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now


class FakeTransaction:
    """Only what `Usage` needs of one: what is added counts when the transaction commits."""

    def __init__(self) -> None:
        self.uses: list[KeyUse] = []
        self.events: list[AuditEvent] = []
        self.busy: frozenset[str] = frozenset()
        self.api_keys = self
        self.audit = self

    async def note_uses(self, uses: Sequence[KeyUse]) -> frozenset[str]:
        self.uses += [use for use in uses if use.key_id not in self.busy]
        return self.busy & {use.key_id for use in uses}

    async def add(self, events: Sequence[AuditEvent]) -> None:
        await asyncio.sleep(0)
        self.events += events


class FakeStore:
    """Commits, or is away: `faults` are raised by the next commits, in turn (None: none)."""

    def __init__(self, faults: Sequence[Exception | None] = ()) -> None:
        self.faults = list(faults)
        self.uses: list[KeyUse] = []
        self.events: list[AuditEvent] = []
        self.sizes: list[int] = []
        self.busy: frozenset[str] = frozenset()
        self.entered, self.failed, self.committed = (asyncio.Event() for _ in range(3))

    def watch(self, changed: Callable[[], None]) -> None:
        raise NotImplementedError

    async def listen(self, heard: Callable[[], None]) -> None:
        raise AssertionError("nobody listens here")

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        tx = FakeTransaction()
        tx.busy = self.busy
        self.entered.set()
        yield cast(Any, tx)
        fault = self.faults.pop(0) if self.faults else None
        if fault is not None:
            self.failed.set()
            raise fault
        self.uses += tx.uses
        self.events += tx.events
        self.sizes.append(len(tx.events))
        self.committed.set()

    async def ping(self) -> None: ...

    def counts(self) -> Counter[tuple[str, str | None]]:
        """How often each action of each key was written."""
        counted: Counter[tuple[str, str | None]] = Counter()
        for event in self.events:
            count = event.data["count"]
            assert isinstance(count, int)
            counted[event.action, event.actor.key_id] += count
        return counted


def usage_with(store: FakeStore) -> Usage:
    typed: Store = store
    return Usage(typed, Clock())


def away() -> Unavailable:
    return Unavailable("the database is away")


class TestNote:
    async def test_never_raises_when_there_are_too_many(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        store = FakeStore()
        usage = usage_with(store)
        for number in range(MAX_NOTES + 5):
            usage.note(replace(GRANTED, key_id=f"k{number}"))
        usage.note(replace(GRANTED, key_id="k0"))  # a known one still counts
        with caplog.at_level(logging.WARNING):
            await usage.flush()
        assert len(store.events) == MAX_NOTES
        assert store.counts()["token.issued", "k0"] == 2
        assert "5 usage notes were dropped" in caplog.text
        caplog.clear()
        await usage.flush()
        assert caplog.text == ""

    async def test_what_was_dropped_is_told_when_the_store_is_back(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        usage = usage_with(FakeStore([away()]))
        for number in range(MAX_NOTES + 1):
            usage.note(replace(GRANTED, key_id=f"k{number}"))
        with pytest.raises(Unavailable):
            await usage.flush()
        await usage.flush()
        assert "1 usage notes were dropped" in caplog.text

    async def test_the_bound_holds_when_a_batch_is_put_back(self) -> None:
        store = FakeStore([away()])
        usage = usage_with(store)
        for number in range(MAX_NOTES):
            usage.note(replace(GRANTED, key_id=f"k{number}"))
        flushing = asyncio.create_task(usage.flush())
        await asyncio.sleep(0)  # the first batch is out
        for number in range(MAX_NOTES):
            usage.note(replace(GRANTED, key_id=f"later{number}"))
        with pytest.raises(Unavailable):
            await flushing
        assert len(usage._notes) <= MAX_NOTES


class TestFlush:
    async def test_nothing_noted_writes_nothing(self) -> None:
        store = FakeStore()
        await usage_with(store).flush()
        assert store.sizes == []

    async def test_equal_notes_become_one_event(self) -> None:
        store = FakeStore()
        usage = usage_with(store)
        for _ in range(3):
            usage.note(GRANTED)
        await usage.flush()
        (event,) = store.events
        assert (event.action, event.outcome, event.tenant_id) == ("token.issued", "granted", "t")
        assert (event.actor.user_id, event.actor.key_id) == ("u", "k1")
        assert event.actor.address == "192.0.2.1"
        assert event.at == START + timedelta(seconds=3)
        assert event.data == {
            "grant_type": "password",
            "count": 3,
            "first_at": (START + timedelta(seconds=1)).isoformat(),
        }

    async def test_notes_that_differ_stay_apart(self) -> None:
        store = FakeStore()
        usage = usage_with(store)
        for note in (GRANTED, replace(GRANTED, address="192.0.2.2"), REFUSED):
            usage.note(note)
        await usage.flush()
        assert len(store.events) == 3
        assert store.events[2].data == {
            "grant_type": "password",
            "count": 1,
            "why": "wrong secret",
        }

    async def test_a_key_is_used_once_a_batch_with_its_latest_address(self) -> None:
        store = FakeStore()
        usage = usage_with(store)
        usage.note(GRANTED, HASH)
        usage.note(replace(GRANTED, address="192.0.2.2"))
        usage.note(replace(GRANTED, key_id="k0"))
        usage.note(GRANTED)
        await usage.flush()
        assert store.uses == [
            KeyUse("k0", 1, START + timedelta(seconds=3), "192.0.2.1"),
            KeyUse("k1", 3, START + timedelta(seconds=4), "192.0.2.1", HASH),
        ]

    async def test_a_use_alone_leaves_no_event(self) -> None:
        store = FakeStore()
        usage = usage_with(store)
        usage.note(GRANTED)
        usage.note(replace(GRANTED, action=None))
        await usage.flush()
        assert [event.action for event in store.events] == ["token.issued"]
        assert [(use.key_id, use.count) for use in store.uses] == [("k1", 2)]

    async def test_one_use_of_the_new_secret_ends_the_old_one(self) -> None:
        store = FakeStore([away()])
        usage = usage_with(store)
        usage.note(GRANTED, ends_old=True)
        usage.note(GRANTED)
        usage.note(replace(GRANTED, address="192.0.2.2"))
        usage.note(replace(GRANTED, key_id="k2"))
        with pytest.raises(Unavailable):
            await usage.flush()
        usage.note(GRANTED)
        await usage.flush()
        assert {use.key_id: use.ends_old for use in store.uses} == {"k1": True, "k2": False}

    async def test_a_refusal_is_no_use(self) -> None:
        store = FakeStore()
        usage = usage_with(store)
        usage.note(replace(REFUSED, key_id="k1"))
        await usage.flush()
        assert store.uses == []
        assert len(store.events) == 1

    async def test_batches_are_bounded(self) -> None:
        store = FakeStore()
        usage = usage_with(store)
        for number in range(2_500):
            usage.note(replace(GRANTED, key_id=f"k{number}"))
        await usage.flush()
        assert store.sizes == [1_000, 1_000, 500]

    async def test_written_notes_are_not_written_again(self) -> None:
        store = FakeStore()
        usage = usage_with(store)
        usage.note(GRANTED)
        await usage.flush()
        await usage.flush()
        assert store.counts() == {("token.issued", "k1"): 1}


class TestStoreAway:
    async def test_keeps_the_notes_for_the_next_try(self) -> None:
        store = FakeStore([away(), away()])
        usage = usage_with(store)
        usage.note(GRANTED)
        for _ in range(2):
            with pytest.raises(Unavailable):
                await usage.flush()
            usage.note(GRANTED)
        await usage.flush()
        (event,) = store.events
        assert event.data["count"] == 3
        assert event.data["first_at"] == (START + timedelta(seconds=1)).isoformat()
        assert event.at == START + timedelta(seconds=3)

    async def test_keeps_what_came_while_it_was_writing(self) -> None:
        store = FakeStore([away()])
        usage = usage_with(store)
        usage.note(GRANTED)
        flushing = asyncio.create_task(usage.flush())
        await asyncio.sleep(0)
        usage.note(GRANTED)
        usage.note(REFUSED)
        with pytest.raises(Unavailable):
            await flushing
        await usage.flush()
        assert store.counts() == {("token.issued", "k1"): 2, ("token.refused", None): 1}

    async def test_keeps_a_rehash_when_a_newer_note_has_none(self) -> None:
        store = FakeStore([away()])
        usage = usage_with(store)
        usage.note(GRANTED, HASH)
        flushing = asyncio.create_task(usage.flush())
        await asyncio.sleep(0)
        usage.note(GRANTED)
        with pytest.raises(Unavailable):
            await flushing
        await usage.flush()
        assert [use.rehash for use in store.uses] == [HASH]

    @settings(max_examples=50, deadline=None)
    @given(
        st.lists(st.lists(st.integers(0, 3), max_size=4), min_size=1, max_size=6),
        st.lists(st.booleans(), max_size=12),
    )
    async def test_everything_is_counted_exactly_once(
        self, rounds: list[list[int]], faults: list[bool]
    ) -> None:
        store = FakeStore([away() if fault else None for fault in faults])
        usage = usage_with(store)
        noted: Counter[tuple[str, str | None]] = Counter()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(usage_module, "_BATCH", 2)
            for keys in rounds:
                for key in keys:
                    usage.note(replace(GRANTED, key_id=f"k{key}"))
                    noted["token.issued", f"k{key}"] += 1
                try:
                    await usage.flush()
                except Unavailable:
                    pass
            store.faults.clear()
            await usage.flush()
        assert store.counts() == noted
        used: Counter[tuple[str, str | None]] = Counter()
        for use in store.uses:
            used["token.issued", use.key_id] += use.count
        assert used == noted


class TestRun:
    @pytest.fixture(autouse=True)
    def at_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(usage_module, "INTERVAL", 0.01)

    async def test_stop_writes_what_is_left(self) -> None:
        store = FakeStore()
        usage = usage_with(store)
        running = asyncio.create_task(usage.run())
        await asyncio.sleep(0)
        usage.note(GRANTED)
        usage.stop()
        await asyncio.wait_for(running, 5)
        assert store.counts() == {("token.issued", "k1"): 1}

    async def test_writes_what_is_left_when_stopped_before_its_first_step(self) -> None:
        store = FakeStore()
        usage = usage_with(store)
        usage.note(GRANTED)
        usage.stop()
        await asyncio.wait_for(usage.run(), 5)
        assert store.counts() == {("token.issued", "k1"): 1}

    async def test_tries_once_more_when_stopped_while_the_store_was_away(self) -> None:
        store = FakeStore([away()])
        usage = usage_with(store)
        usage.note(GRANTED)
        running = asyncio.create_task(usage.run())
        await store.entered.wait()
        usage.stop()
        await asyncio.wait_for(running, 5)
        assert store.counts() == {("token.issued", "k1"): 1}

    async def test_tries_again_while_the_store_is_away(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        store = FakeStore([away(), away()])
        usage = usage_with(store)
        usage.note(GRANTED)
        running = asyncio.create_task(usage.run())
        await asyncio.wait_for(store.committed.wait(), 5)
        usage.stop()
        await asyncio.wait_for(running, 5)
        assert store.counts() == {("token.issued", "k1"): 1}
        assert caplog.text.count("kept for the next try") == 2

    async def test_goes_on_after_a_note_that_cannot_be_written(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        store = FakeStore([ValueError("a bug")] * MAX_TRIES)
        usage = usage_with(store)
        for _ in range(5):
            usage.note(GRANTED)
        running = asyncio.create_task(usage.run())
        while store.faults:  # noqa: ASYNC110 - nobody says when
            await asyncio.sleep(0.005)
        usage.note(REFUSED)
        await asyncio.wait_for(store.committed.wait(), 5)
        usage.stop()
        await asyncio.wait_for(running, 5)
        assert store.counts() == {("token.refused", None): 1}
        assert caplog.text.count("5 uses were dropped: they cannot be written") == 1


class TestForeignError:
    """One that is not the store's: a mistake of ours, or a note that no database takes."""

    async def test_keeps_the_notes_for_a_few_tries(self) -> None:
        store = FakeStore([ValueError("a bug")] * (MAX_TRIES - 1))
        usage = usage_with(store)
        usage.note(GRANTED)
        for _ in range(MAX_TRIES - 1):
            with pytest.raises(ValueError, match="a bug"):
                await usage.flush()
        await usage.flush()
        assert store.counts() == {("token.issued", "k1"): 1}

    async def test_newer_notes_do_not_prolong_the_tries(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        store = FakeStore([ValueError("a bug")] * MAX_TRIES)
        usage = usage_with(store)
        for _ in range(MAX_TRIES):
            usage.note(GRANTED)
            with pytest.raises(ValueError, match="a bug"):
                await usage.flush()
        assert f"{MAX_TRIES} uses were dropped" in caplog.text
        await usage.flush()
        assert store.counts() == {}

    async def test_a_store_that_is_away_costs_no_try(self) -> None:
        store = FakeStore([away()] * (2 * MAX_TRIES))
        usage = usage_with(store)
        usage.note(GRANTED)
        for _ in range(2 * MAX_TRIES):
            with pytest.raises(Unavailable):
                await usage.flush()
        await usage.flush()
        assert store.counts() == {("token.issued", "k1"): 1}


class TestBusyKeys:
    async def test_their_uses_are_written_another_time_and_their_events_once(self) -> None:
        store = FakeStore()
        usage = usage_with(store)
        store.busy = frozenset({"k1"})
        usage.note(replace(GRANTED, key_id="k1"))
        usage.note(replace(GRANTED, key_id="k2"))
        await usage.flush()
        assert [use.key_id for use in store.uses] == ["k2"]
        usage.note(replace(GRANTED, key_id="k1"))
        store.busy = frozenset()
        await usage.flush()
        [_, later] = store.uses
        assert (later.key_id, later.count) == ("k1", 2)
        assert store.counts() == {("token.issued", "k1"): 2, ("token.issued", "k2"): 1}
