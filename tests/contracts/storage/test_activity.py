"""`ports.Activity`: the trail in numbers, whatever of it is counted up already."""

from __future__ import annotations

from asyncio import gather
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, insert, select

from keyturn.server.domain.activity import ActivityKind, Step
from keyturn.server.domain.ids import least_id, new_id
from keyturn.server.domain.trail import AuditEvent, Json
from keyturn.server.services.housekeeping import Housekeeper
from keyturn.server.services.ports import Perishable
from keyturn.server.storage import Storage, open_storage
from keyturn.server.storage.tables import activity
from tests.contracts.storage.plans import plan

TENANT = new_id()
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
MINUTE = timedelta(minutes=1)
#: In the middle of an hour that is over for long.
THEN = datetime.now(UTC).replace(minute=30, second=0, microsecond=0) - 3 * DAY

Counts = Mapping[tuple[datetime, ActivityKind], int]


def _event(
    at: datetime,
    action: str = "role.changed",
    tenant: str | None = TENANT,
    written: datetime | None = None,
    **data: Json,
) -> AuditEvent:
    """Its id has the time at which it was written."""
    id_ = least_id(written or at)[:24] + new_id()[24:]
    return AuditEvent(action, "done", tenant_id=tenant, data=data, at=at, id=id_)


async def _add(storage: Storage, *events: AuditEvent) -> None:
    async with storage.store.transaction() as tx:
        await tx.audit.add(events)


async def _roll_up(storage: Storage, at_most: int = 1000) -> int:
    async with storage.store.transaction() as tx:
        return await tx.activity.roll_up(at_most)


async def _counts(
    storage: Storage,
    since: datetime = THEN - 30 * DAY,
    until: datetime = THEN + 30 * DAY,
    step: Step = Step.HOUR,
) -> Counts:
    async with storage.store.transaction() as tx:
        return await tx.activity.counts(TENANT, step.begin(since), step.begin(until), step)


async def _rows(storage: Storage) -> int:
    async with storage.store._engine.connect() as connection:
        counting = select(func.count()).select_from(activity)
        return int((await connection.execute(counting)).scalar_one())


def _mixed() -> list[AuditEvent]:
    return [
        _event(THEN, "token.issued", count=7, grant_type="password"),
        _event(THEN + MINUTE, "token.issued", count=1, grant_type="client_credentials"),
        _event(THEN, "token.issued", count=5, grant_type="refresh_token"),
        _event(THEN, "token.refused", count=2, grant_type="password"),
        _event(THEN, "request.throttled", count=1, grant_type=""),
        _event(THEN, "api_key.revoked"),
        _event(THEN, "session.reuse_detected"),
        _event(THEN, "role.changed", count="not a number"),
        _event(THEN, "tenant.renamed", tenant=new_id()),
        _event(THEN, "token.refused", tenant=None, count=3, grant_type="password"),
        _event(THEN + HOUR, "tenant.renamed"),
        _event(THEN + DAY, "tenant.renamed"),
    ]


async def test_events_count_the_same_before_and_after_they_are_counted_up(
    storage: Storage,
) -> None:
    await _add(storage, *_mixed())
    hour = THEN.replace(minute=0)
    expected = {
        (hour, ActivityKind.EXCHANGES): 8,
        (hour, ActivityKind.REFRESHES): 5,
        (hour, ActivityKind.REFUSALS): 3,
        (hour, ActivityKind.REVOCATIONS): 2,
        (hour, ActivityKind.CHANGES): 1,
        (hour + HOUR, ActivityKind.CHANGES): 1,
        (hour + DAY, ActivityKind.CHANGES): 1,
    }
    assert await _counts(storage) == expected
    left = len(_mixed())
    while counted := await _roll_up(storage, 5):
        left -= counted
        assert await _counts(storage) == expected
    assert left == 0
    day = THEN.replace(hour=0, minute=0)
    days = await _counts(storage, step=Step.DAY)
    assert days[day, ActivityKind.EXCHANGES] == 8
    assert sum(days.values()) == sum(expected.values())


async def test_from_is_inclusive_and_to_exclusive(storage: Storage) -> None:
    hour = THEN.replace(minute=0)
    edges = [hour, hour + HOUR - timedelta(microseconds=1), hour + HOUR]
    await _add(storage, *(_event(at) for at in edges))
    for _ in range(2):
        assert await _counts(storage, hour, hour + HOUR) == {(hour, ActivityKind.CHANGES): 2}
        assert await _counts(storage, hour + HOUR, hour + DAY) == {
            (hour + HOUR, ActivityKind.CHANGES): 1
        }
        await _roll_up(storage)


async def test_newest_are_left_to_later_and_counted(storage: Storage) -> None:
    now = datetime.now(UTC)
    await _add(storage, _event(now - 20 * MINUTE), _event(now), _event(now - MINUTE))
    assert await _roll_up(storage) == 1
    assert await _roll_up(storage) == 0
    assert sum((await _counts(storage, until=now + HOUR)).values()) == 3


async def test_what_was_written_late_adds_to_its_hour(storage: Storage) -> None:
    await _add(storage, _event(THEN))
    await _roll_up(storage)
    # Within the hour it is seen before it is counted up, and later when it was.
    await _add(storage, _event(THEN, written=THEN + 30 * MINUTE))
    assert sum((await _counts(storage)).values()) == 2
    await _add(storage, _event(THEN, written=THEN + 5 * HOUR))
    await _roll_up(storage)
    assert await _counts(storage) == {(THEN.replace(minute=0), ActivityKind.CHANGES): 3}
    assert await _rows(storage) == 1


async def test_counts_outlive_their_events_and_end_themselves(storage: Storage) -> None:
    old = THEN - 500 * DAY
    await _add(storage, _event(old), *_mixed())
    before = await _counts(storage)
    kept = {Perishable.AUDIT_EVENTS: DAY, Perishable.ACTIVITY: 401 * DAY}
    await Housekeeper(storage.store, kept).tidy()
    async with storage.store.transaction() as tx:
        assert len(await tx.audit.everything(None, 100)) == 1
    assert await _counts(storage) == before
    assert await _counts(storage, old - DAY, old + DAY) == {}


async def _fill(storage: Storage) -> None:
    """By what other tenants did in the same hours; and the database knows that they did."""
    others = [new_id() for _ in range(100)]
    hours = [THEN.replace(minute=0) + each * HOUR for each in range(24)]
    row = {"kind": ActivityKind.CHANGES.value, "count": 1}
    rows = [{"tenant_id": one, "hour": hour, **row} for one in others for hour in hours]
    await _add(storage, *(_event(THEN, tenant=one) for one in others for _ in range(10)))
    async with storage.store._engine.begin() as connection:
        await connection.execute(insert(activity), rows)
        await connection.exec_driver_sql("ANALYZE")


@pytest.mark.parametrize("counted_up", [False, True])
async def test_is_on_indexes(storage: Storage, counted_up: bool) -> None:
    await _add(storage, *_mixed())
    if counted_up:
        await _roll_up(storage)
    await _fill(storage)
    seen = await plan(storage, lambda tx: tx.activity.counts(TENANT, THEN, THEN + DAY, Step.HOUR))
    assert "ix_audit_events_tenant_id" in seen
    assert "pk_activity" in seen or "sqlite_autoindex_activity_1" in seen


async def test_nothing_is_counted_twice_by_two_at_once(postgres_url: str) -> None:
    async with open_storage(postgres_url) as one, open_storage(postgres_url) as two:
        await _add(one, *_mixed())
        before = Counter(await _counts(one))
        await gather(*(Housekeeper(each.store).tidy() for each in (one, two, one)))
        assert Counter(await _counts(one)) == before
