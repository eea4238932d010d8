"""`ports.AuditLog`: a tenant's trail, read backwards."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial

import pytest
from sqlalchemy import select, update
from sqlalchemy.exc import DBAPIError

from keyturn.server.domain.errors import Code
from keyturn.server.domain.ids import new_id
from keyturn.server.domain.trail import Actor, AuditEvent, Json
from keyturn.server.services.ports import AuditFilter, Page, Slice
from keyturn.server.storage import Storage
from keyturn.server.storage.tables import audit_events
from tests.contracts.storage.plans import plan
from tests.contracts.storage.world import NOW, refused, walk

ALL = AuditFilter()
TENANT = new_id()


async def _events(
    storage: Storage, wanted: AuditFilter, part: Slice, *, tenant: str = TENANT
) -> Page[AuditEvent]:
    async with storage.store.transaction() as work:
        return await work.audit.events(tenant, wanted, part)


async def _found(storage: Storage, wanted: AuditFilter) -> list[str]:
    page = await _events(storage, wanted, Slice(100))
    assert page.next is None
    return [event.id for event in page.items]


def _event(
    seconds: int = 0,
    *,
    action: str = "key.created",
    user: str = "u1",
    target: str = "t1",
    tenant: str = TENANT,
) -> AuditEvent:
    at = NOW + timedelta(seconds=seconds)
    return AuditEvent(
        action, "done", Actor(user_id=user), tenant, target, {"n": seconds}, at, new_id()
    )


async def _add(storage: Storage, *events: AuditEvent) -> None:
    async with storage.store.transaction() as work:
        await work.audit.add(events)


class TestAdd:
    async def test_rows_get_id_and_time_and_never_change(self, storage: Storage) -> None:
        known = AuditEvent("b", "refused", Actor("u", "k", "s", "::1"), "t", "x", {"n": 1}, NOW)
        await _add(storage)
        await _add(storage, AuditEvent("a", "done"), known)
        async with storage.store._engine.connect() as connection:
            statement = select(audit_events).order_by(audit_events.c.action)
            first, second = (await connection.execute(statement)).all()
            assert first.at > NOW
            assert (second.at, second.user_id, second.data) == (NOW, "u", {"n": 1})
            with pytest.raises(DBAPIError, match="append only"):
                await connection.execute(update(audit_events).values(outcome="forged"))


class TestEvents:
    async def test_event_comes_back_with_all_it_had(self, storage: Storage) -> None:
        data: dict[str, Json] = {
            "changed": ["name", "ünïcode"],
            "before": {"name": None},
            "n": 1.5,
            "b": True,
        }
        actor = Actor(new_id(), "key", new_id(), "2001:db8::1")
        full = AuditEvent("role.changed", "done", actor, TENANT, "role", data, NOW, new_id())
        bare = AuditEvent("a", "refused", tenant_id=TENANT, at=NOW - timedelta(1), id=new_id())
        await _add(storage, bare, full)
        assert (await _events(storage, ALL, Slice(5))).items == (full, bare)

    async def test_pages_go_backwards_and_cover_each_once(self, storage: Storage) -> None:
        # Three at each time: the id decides between them.
        events = [_event(n // 3) for n in range(20)]
        await _add(storage, *events, _event(tenant=new_id()))
        newest_first = sorted(events, key=lambda event: (event.at, event.id), reverse=True)
        for limit in (1, 3, 7, 20, 50):
            assert await walk(partial(_events, storage, ALL), limit) == newest_first
            used = AuditFilter(action="key.created", since=NOW)
            assert await walk(partial(_events, storage, used), limit) == newest_first

    async def test_event_written_while_paging_shifts_nothing(self, storage: Storage) -> None:
        one, two, three = events = [_event(n) for n in range(3)]
        await _add(storage, *events)
        first = await _events(storage, ALL, Slice(2))
        await _add(storage, _event(9))
        assert first.items == (three, two)
        assert (await _events(storage, ALL, Slice(2, first.next))).items == (one,)

    async def test_since_is_inclusive_and_until_exclusive(self, storage: Storage) -> None:
        before, at, after = [_event(n) for n in range(3)]
        await _add(storage, before, at, after)
        assert at.at is not None
        assert await _found(storage, AuditFilter(since=at.at)) == [after.id, at.id]
        assert await _found(storage, AuditFilter(until=at.at)) == [before.id]
        assert await _found(storage, AuditFilter(since=at.at, until=after.at)) == [at.id]
        assert await _found(storage, AuditFilter(since=at.at, until=at.at)) == []
        moment = timedelta(microseconds=1)
        assert await _found(storage, AuditFilter(since=at.at + moment)) == [after.id]
        assert await _found(storage, AuditFilter(until=at.at + moment)) == [at.id, before.id]

    async def test_filters_add_up(self, storage: Storage) -> None:
        one = _event(1)
        two = _event(2, user="u2")
        three = _event(3, action="key.revoked")
        four = _event(4, user="u2", target="t2", action="key.revoked")
        await _add(storage, one, two, three, four)
        for wanted, expected in (
            (AuditFilter(user_id="u2"), [four, two]),
            (AuditFilter(action="key.revoked"), [four, three]),
            (AuditFilter(target="t1"), [three, two, one]),
            (AuditFilter(user_id="u2", target="t1"), [two]),
            (AuditFilter(user_id="u1", action="key.revoked", target="t1"), [three]),
            (AuditFilter(user_id="u2", since=four.at), [four]),
            (AuditFilter(user_id="u2", until=four.at), [two]),
            (AuditFilter(user_id=""), []),
            (AuditFilter(action="key.%"), []),
        ):
            assert await _found(storage, wanted) == [event.id for event in expected]

    @pytest.mark.parametrize(
        "after",
        [
            ("junk", new_id()),
            (NOW.isoformat(), "junk"),
            (NOW.isoformat(),),
            (NOW.isoformat(), new_id(), ""),
            ("2026-01-02T03:04:05", new_id()),
            (),
        ],
    )
    async def test_400_malformed_cursor(self, storage: Storage, after: tuple[str, ...]) -> None:
        refusal = await refused(_events(storage, ALL, Slice(5, after)))
        assert refusal.code is Code.INVALID_REQUEST

    async def test_400_filter_that_cannot_be_stored(self, storage: Storage) -> None:
        refusal = await refused(_events(storage, AuditFilter(target="\0"), Slice(5)))
        assert refusal.code is Code.INVALID_REQUEST

    @pytest.mark.parametrize(
        ("wanted", "columns"),
        [
            (ALL, "at_id"),
            (AuditFilter(user_id="x"), "user_id_at_id"),
            (AuditFilter(action="x"), "action_at_id"),
            (AuditFilter(target="x"), "target_at_id"),
        ],
    )
    @pytest.mark.parametrize("until", [None, NOW])
    async def test_each_filter_reads_its_index(
        self, storage: Storage, wanted: AuditFilter, columns: str, until: datetime | None
    ) -> None:
        await _add(storage, *(_event(n, user=f"u{n}") for n in range(200)))
        filtered = replace(wanted, until=until)
        part = Slice(20, (NOW.isoformat(), new_id()))
        used = await plan(storage, lambda work: work.audit.events(TENANT, filtered, part))
        assert f"ix_audit_events_tenant_id_{columns}" in used
        # Read in its order, so that it can stop early.
        assert "Sort" not in used
        assert "TEMP B-TREE" not in used
