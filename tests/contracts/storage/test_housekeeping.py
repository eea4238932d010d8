"""`ports.Housekeeping`: what goes, what stays, and what a day of load adds up to."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Table, func, insert, select, text

from keyturn.server.domain.ids import new_id
from keyturn.server.domain.model import (
    Invitation,
    InvitationState,
    Revocation,
    RevocationKind,
    Session,
)
from keyturn.server.domain.permissions import VIEWER
from keyturn.server.domain.revocations import FOREVER_YEAR
from keyturn.server.domain.trail import AuditEvent
from keyturn.server.domain.webhooks import KEPT_FOR, Delivery, Webhook
from keyturn.server.services import housekeeping
from keyturn.server.services.housekeeping import BATCH, KEPT, Housekeeper
from keyturn.server.services.ports import KeptAnswer, Perishable
from keyturn.server.storage import Storage, open_storage
from keyturn.server.storage.tables import (
    activity,
    api_keys,
    audit_events,
    invitations,
    kept_answers,
    revocations,
    sessions,
    webhook_deliveries,
)
from tests.contracts.storage.plans import plan
from tests.contracts.storage.world import World

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
MINUTE = timedelta(minutes=1)
FOREVER = datetime(FOREVER_YEAR, 1, 1, tzinfo=UTC)

TABLES = {
    Perishable.SESSIONS: sessions,
    Perishable.REVOCATIONS: revocations,
    Perishable.INVITATIONS: invitations,
    Perishable.KEPT_ANSWERS: kept_answers,
    Perishable.WEBHOOK_DELIVERIES: webhook_deliveries,
    Perishable.SIGN_INS: api_keys,
}

#: What a day of load leaves. (Sign-ins are people's: some a day each, and gone after a week.)
GROWING = TABLES.keys() - {Perishable.SIGN_INS}


class TestWhatGoes:
    async def test_sessions_an_hour_after_their_absolute_end(self, world: World) -> None:
        ended, live, just_over, over = (new_id() for _ in range(4))
        steps = world.storage.steps
        await steps.advance(world.state(live, 0), world.user, None)
        async with world.storage.store.transaction() as work:
            now = await work.now()
            # It ended long ago, but its first refresh token would be good without its row.
            await work.sessions.end(_session(world, ended, now + HOUR), "revoked")
            await work.sessions.end(_session(world, just_over, now - HOUR + MINUTE), "revoked")
            await work.sessions.end(_session(world, over, now - HOUR - MINUTE), "revoked")

        assert await _tidy(world.storage) == {Perishable.SESSIONS: 1}

        async with world.storage.store.transaction() as work:
            kept = [await work.sessions.get(each) for each in (ended, live, just_over, over)]
            assert [one is not None for one in kept] == [True, True, True, False]
        assert await steps.advance(world.state(ended, 0), world.user, None) is None
        assert await steps.advance(world.state(live, 1), world.user, None) is not None

    async def test_revocations_an_hour_after_their_end(self, storage: Storage) -> None:
        async with storage.store.transaction() as work:
            cursor = (await work.revocations.tail(None)).cursor
            now = await work.now()
            ends = [now + HOUR, now - HOUR + MINUTE, now - HOUR - MINUTE]
            entries = [Revocation(RevocationKind.SESSION, new_id(), end) for end in ends]
            suspended, resumed = (
                Revocation(RevocationKind.TENANT, new_id(), FOREVER) for _ in range(2)
            )
            await work.revocations.add([*entries, suspended, resumed])
            await work.revocations.lift([(resumed.kind, resumed.subject)])

        assert await _tidy(storage) == {Perishable.REVOCATIONS: 1}

        async with storage.store.transaction() as work:
            # Nodes still hear of what was lifted.
            told = {entry.subject for entry in (await work.revocations.tail(cursor)).entries}
        assert told == {entry.subject for entry in (*entries[:2], suspended, resumed)}

    async def test_the_audit_trail_only_if_it_is_said_how_long(self, storage: Storage) -> None:
        now = datetime.now(UTC)
        old = now - 30 * DAY
        ends = [now, old + MINUTE, old - MINUTE, old - 2 * MINUTE]
        events = [AuditEvent("tenant.renamed", "ok", at=at, id=new_id()) for at in ends]
        async with storage.store.transaction() as work:
            await work.audit.add(events)

        assert await _tidy(storage) == {}
        kept = {**KEPT, Perishable.AUDIT_EVENTS: 30 * DAY}
        done = +await Housekeeper(storage.store, kept).tidy()

        assert done == {Perishable.AUDIT_EVENTS: 1}
        # The last one but them: who remembers it must find it (services.continuity).
        assert await _ids(storage, audit_events) == {event.id for event in events[:3]}

    async def test_invitations_30_days_after_their_end(self, world: World) -> None:
        now = datetime.now(UTC)
        ends = [now + DAY, now - 30 * DAY + MINUTE, now - 30 * DAY - MINUTE]
        made = [
            (end, state, await _invite(world, end, state))
            for end in ends
            for state in (InvitationState.PENDING, InvitationState.DECLINED)
        ]

        assert await _tidy(world.storage) == {Perishable.INVITATIONS: 2}

        async with world.storage.store.transaction() as work:
            for end, state, invitation_id in made:
                found = await work.invitations.get(invitation_id)
                if end == ends[2]:
                    assert found is None
                else:
                    assert found is not None
                    assert found.state is state

    async def test_kept_answers_with_their_end(self, storage: Storage) -> None:
        async with storage.store.transaction() as work:
            now = await work.now()
            await work.kept_answers.add(b"counts", KeptAnswer(b"r", b"s"), now + MINUTE)
            await work.kept_answers.add(b"is over", KeptAnswer(b"r", b"s"), now - MINUTE)

        assert await _tidy(storage) == {Perishable.KEPT_ANSWERS: 1}

        async with storage.store._engine.connect() as connection:
            rows = (await connection.execute(select(kept_answers.c.id))).scalars().all()
        assert rows == [b"counts"]

    async def test_nothing_of_nothing(self, storage: Storage) -> None:
        assert await _tidy(storage) == {}


class TestBatches:
    async def test_all_of_it_in_small_transactions(
        self, storage: Storage, caplog: pytest.LogCaptureFixture
    ) -> None:
        count = 2 * BATCH + 1
        await _add_old(storage, count)
        sizes = []
        while rows := (await _rows(storage))[Perishable.REVOCATIONS]:
            async with storage.store.transaction() as work:
                size = await work.housekeeping.delete(
                    Perishable.REVOCATIONS, kept=HOUR, at_most=BATCH
                )
            sizes.append(size)
            assert (await _rows(storage))[Perishable.REVOCATIONS] == rows - size
        assert sizes == [BATCH, BATCH, 1]

        await _add_old(storage, count)
        with caplog.at_level(logging.DEBUG):
            assert await _tidy(storage) == {Perishable.REVOCATIONS: count}
        assert f"deleted what had ended: {count} revocations" in caplog.text
        assert await _rows(storage) == Counter()

    async def test_stop_leaves_the_rest(self, storage: Storage) -> None:
        await _add_old(storage, 2 * BATCH)
        keeper = Housekeeper(storage.store)
        keeper.stop()
        assert not await keeper.tidy()
        assert await _rows(storage) == {Perishable.REVOCATIONS: 2 * BATCH}

    @pytest.mark.parametrize("what", Perishable)
    async def test_is_on_an_index(self, storage: Storage, what: Perishable) -> None:
        seen = await plan(
            storage,
            lambda work: work.housekeeping.delete(what, kept=timedelta(0), at_most=BATCH),
        )
        others = {Perishable.ACTIVITY: activity, Perishable.AUDIT_EVENTS: audit_events}
        table = {**TABLES, **others}[what]
        ends = {
            Perishable.ACTIVITY: "hour",
            Perishable.AUDIT_EVENTS: "at",
            Perishable.SIGN_INS: "console",
        }
        assert f"ix_{table.name}_{ends.get(what, 'expires_at')}" in seen
        if what is Perishable.ACTIVITY:
            return  # of a key of three columns PostgreSQL takes another way while there are no rows
        assert f"pk_{table.name}" in seen or "sqlite_autoindex" in seen
        for scan in (f"Seq Scan on {table.name}", f"SCAN {table.name}", "Sort", "TEMP B-TREE"):
            assert scan not in seen


class TestSeveralNodes:
    async def test_each_row_goes_once(self, database_url: str) -> None:
        async with open_storage(database_url) as one, open_storage(database_url) as two:
            await _add_old(one, 4 * BATCH)
            both = await asyncio.gather(_tidy(one), _tidy(two))
            # Whoever found the other at it has left it.
            last = await _tidy(one)
            assert sum(tidied.total() for tidied in (*both, last)) == 4 * BATCH
            assert await _rows(one) == Counter()

    async def test_one_at_a_time(self, postgres_url: str) -> None:
        async with open_storage(postgres_url) as one, open_storage(postgres_url) as two:
            await _add_old(one, 1)
            async with one.store.transaction() as work:
                assert await work.housekeeping.lock()
                async with two.store.transaction() as other:
                    assert not await other.housekeeping.lock()
                assert await _tidy(two) == {}
            assert await _tidy(two) == {Perishable.REVOCATIONS: 1}

    async def test_does_not_wait_for_a_row_that_somebody_changes(self, postgres_url: str) -> None:
        async with open_storage(postgres_url) as storage:
            old, other = await _add_old(storage, 2)
            renewed = replace(old, expires_at=FOREVER)
            async with storage.store.transaction() as work:
                await work.revocations.add([renewed])
                assert await _tidy(storage) == {Perishable.REVOCATIONS: 1}
            assert await _tidy(storage) == {}
            async with storage.store.transaction() as work:
                found = await work.revocations.find([(renewed.kind, renewed.subject)])
                assert found == (renewed,)
                assert not await work.revocations.find([(other.kind, other.subject)])


class TestRun:
    async def test_in_rounds_until_the_end(
        self, storage: Storage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(housekeeping, "INTERVAL", 0.02)
        async with housekeeping.housekeeping(storage.store), asyncio.timeout(10):
            for _ in range(2):
                await _add_old(storage, 3)
                while await _rows(storage):  # noqa: ASYNC110 - nobody says when
                    await asyncio.sleep(0.01)
        await _add_old(storage, 3)
        await asyncio.sleep(0.1)
        assert await _rows(storage) == {Perishable.REVOCATIONS: 3}


class TestDay:
    """24 hours of load. Time goes by in that what is there grows an hour older."""

    HOURS = 24
    SESSIONS, ENDED, REFRESHES, REVOCATIONS, SUSPENSIONS = 8, 2, 2, 15, 2
    INVITATIONS, ANSWERS, DELIVERIES = 2, 4, 3
    #: Each ends in the middle of an hour.
    SESSION, REVOCATION, INVITATION, ANSWER = 9.5, 0.1, 23.5, 23.5
    DELIVERY = KEPT_FOR.total_seconds() / 3600 - 0.5

    async def test_growth_stays_bounded(
        self, world: World, measured: Callable[[str], None]
    ) -> None:
        await self._time_before(world)
        counts: list[Counter[Perishable]] = []
        deleted: Counter[Perishable] = Counter()
        for _ in range(self.HOURS):
            await self._an_hours_load(world)
            await _an_hour_passes(world.storage)
            deleted += await _tidy(world.storage)
            counts.append(await _rows(world.storage))

        for what in GROWING:
            series = [count[what] for count in counts]
            print(f"{what}: {' '.join(map(str, series))}; {deleted[what]} deleted")
        half = counts[self.HOURS // 2 :]
        assert all(count == half[0] for count in half)
        assert {what: half[0][what] for what in GROWING} == {
            Perishable.SESSIONS: self.SESSIONS * 10,
            Perishable.REVOCATIONS: self.REVOCATIONS,
            Perishable.INVITATIONS: self.INVITATIONS * (31 * 24 - 1),
            Perishable.KEPT_ANSWERS: self.ANSWERS * 23,
            Perishable.WEBHOOK_DELIVERIES: self.DELIVERIES * (30 * 24 - 1),
        }
        assert all(deleted[what] for what in GROWING)
        backend = "SQLite" if world.storage.store._engine.dialect.name == "sqlite" else "PostgreSQL"
        plateau = ", ".join(f"{count} {what}" for what, count in half[0].items())
        measured(f"{backend}: rows from the 12th hour of load on: {plateau}")

    async def _time_before(self, world: World) -> None:
        """What lives for longer than a day has come for long."""
        now = datetime.now(UTC)
        offers = []
        for hour in range(1, 31 * 24 - 1):
            for _ in range(self.INVITATIONS):
                offer, code = _invitation(world, now + timedelta(hours=self.INVITATION - hour))
                row = asdict(offer) | {"email_folded": offer.email, "code_hash": code}
                offers.append(row | {"state": offer.state.value})
        answers = [
            {
                "id": new_id().encode(),
                "request": b"r",
                "sealed": b"s",
                "expires_at": now + timedelta(hours=self.ANSWER - hour),
            }
            for hour in range(1, 23)
            for _ in range(self.ANSWERS)
        ]
        async with world.storage.store._engine.begin() as connection:
            await connection.execute(insert(invitations), offers)
            await connection.execute(insert(kept_answers), answers)
        await self._deliver(world, range(1, 30 * 24 - 1))

    async def _deliver(self, world: World, hours_ago: range) -> None:
        """What a webhook was told of."""
        made = [
            Delivery(
                new_id(),
                world.root,
                world.user,  # any id
                new_id(),
                "webhook.test",
                "{}",
                datetime.now(UTC) - KEPT_FOR + timedelta(hours=self.DELIVERY - hour),
            )
            for hour in hours_ago
            for _ in range(self.DELIVERIES)
        ]
        async with world.storage.store.transaction() as work:
            if await work.webhooks.get(world.root, world.user) is None:
                hook = Webhook(world.user, world.root, "x", "https://x", datetime.now(UTC), b"")
                await work.webhooks.add(hook)
            await work.deliveries.add(made)

    async def _an_hours_load(self, world: World) -> None:
        now = datetime.now(UTC)
        ends = now + timedelta(hours=self.SESSION)
        for _ in range(self.ENDED, self.SESSIONS):
            session_id = new_id()
            for generation in range(self.REFRESHES):
                state = world.state(session_id, generation)
                state = replace(state, session_ends_at=int(ends.timestamp()))
                assert await world.storage.steps.advance(state, world.user, None)
        async with world.storage.store.transaction() as work:
            for _ in range(self.ENDED):
                await work.sessions.end(_session(world, new_id(), ends), "revoked")
            soon = now + timedelta(hours=self.REVOCATION)
            await work.revocations.add(
                [Revocation(RevocationKind.TOKEN, new_id(), soon) for _ in range(self.REVOCATIONS)]
            )
            tenants = [
                Revocation(RevocationKind.TENANT, new_id(), FOREVER)
                for _ in range(self.SUSPENSIONS)
            ]
            await work.revocations.add(tenants)
            await work.revocations.lift([(each.kind, each.subject) for each in tenants])
            for number in range(self.INVITATIONS):
                offer, code = _invitation(world, now + timedelta(hours=self.INVITATION))
                await work.invitations.add(offer, code)
                if number % 2:
                    await work.invitations.answer(offer.id, InvitationState.ACCEPTED, now)
            for _ in range(self.ANSWERS):
                ends = now + timedelta(hours=self.ANSWER)
                await work.kept_answers.add(new_id().encode(), KeptAnswer(b"r", b"s"), ends)
        await self._deliver(world, range(1))


# --- what is there -------------------------------------------------------------------------------


async def _tidy(storage: Storage) -> Counter[Perishable]:
    return +await Housekeeper(storage.store).tidy()


async def _ids(storage: Storage, table: Table) -> set[str]:
    async with storage.store.transaction() as work:
        rows = await work.unit.run(select(table.c.id))
        return set(rows.scalars())


async def _add_old(storage: Storage, count: int) -> list[Revocation]:
    ends = datetime.now(UTC) - KEPT[Perishable.REVOCATIONS] - MINUTE
    entries = [Revocation(RevocationKind.TOKEN, new_id(), ends) for _ in range(count)]
    async with storage.store.transaction() as work:
        await work.revocations.add(entries)
    return entries


def _session(world: World, session_id: str, ends: datetime) -> Session:
    return replace(world.session(session_id), expires_at=ends)


def _invitation(world: World, ends: datetime) -> tuple[Invitation, bytes]:
    offer_id = new_id()
    address = f"{offer_id}@example.org"
    pending = InvitationState.PENDING
    offer = Invitation(
        offer_id, world.root, VIEWER.id, address, pending, ends - 7 * DAY, ends, world.user
    )
    return offer, offer_id.encode()


async def _invite(world: World, ends: datetime, state: InvitationState) -> str:
    offer, code = _invitation(world, ends)
    async with world.storage.store.transaction() as work:
        await work.invitations.add(offer, code)
        if state is not InvitationState.PENDING:
            assert await work.invitations.answer(offer.id, state, ends - HOUR)
    return offer.id


async def _rows(storage: Storage) -> Counter[Perishable]:
    counted: Counter[Perishable] = Counter()
    async with storage.store._engine.connect() as connection:
        for what, table in TABLES.items():
            counting = select(func.count()).select_from(table)
            counted[what] = (await connection.execute(counting)).scalar_one()
    return +counted


async def _an_hour_passes(storage: Storage) -> None:
    engine = storage.store._engine
    earlier = "{0} - interval '1 hour'"
    if engine.dialect.name == "sqlite":
        earlier = "strftime('%Y-%m-%d %H:%M:%f000', {0}, '-1 hours')"
    async with engine.begin() as connection:
        for table in TABLES.values():
            times = [column.name for column in table.c if column.name.endswith("_at")]
            changes = ", ".join(f"{name} = {earlier.format(name)}" for name in times)
            await connection.execute(text(f"UPDATE {table.name} SET {changes}"))
