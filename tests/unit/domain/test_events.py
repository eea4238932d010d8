"""What time does to a key is told once a threshold; and how long a delivery is tried."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from keyturn.server.domain.events import LATE, due_events
from keyturn.server.domain.ids import new_id
from keyturn.server.domain.model import ApiKey, Rotation
from keyturn.server.domain.webhooks import BACK_OFF, pause_after

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
MADE = NOW - 50 * DAY
KEY = ApiKey("k" * 22, new_id(), new_id(), "deploy", MADE)


def told(key: ApiKey, now: datetime = NOW, **more: Any) -> list[tuple[str, Any]]:
    days: Any = {"expiring_days": (30, 7, 1), "unused_days": 90, **more}
    return [(event.type, event.data["details"]) for event in due_events(key, now, **days)]


class TestExpiring:
    @pytest.mark.parametrize(
        ("left", "days"), [(31, None), (30, 30), (8, 30), (7, 7), (2, 7), (1, 1), (0.5, 1)]
    )
    def test_the_last_threshold_that_passed(self, left: float, days: int | None) -> None:
        key = replace(KEY, expires_at=NOW + left * DAY)
        wanted = [] if days is None else [("api_key.expiring", {"days": days})]
        assert told(key) == wanted
        assert told(key, expiring_days=()) == []

    @pytest.mark.parametrize(("life", "days"), [(0.04, None), (1, None), (5, 1), (30, 7)])
    def test_none_as_long_as_its_life(self, life: float, days: int | None) -> None:
        key = replace(KEY, created_at=NOW - 0.01 * DAY, expires_at=NOW + (life - 0.01) * DAY)
        later = NOW + max(0, life - (days or 0) - 0.005) * DAY
        wanted = [] if days is None else [("api_key.expiring", {"days": days})]
        assert [one for one in told(key, later) if one[0] == "api_key.expiring"] == wanted

    def test_the_same_event_each_time(self) -> None:
        key = replace(KEY, expires_at=NOW + 3 * DAY)
        thresholds = (7, 1)
        first, second, other = [
            due_events(key, at, thresholds, 90)[0] for at in (NOW, NOW + DAY, NOW + 2.5 * DAY)
        ]
        assert first == second
        assert first.id != other.id
        assert first.at == NOW - 4 * DAY
        [renewed] = due_events(replace(key, expires_at=NOW + 4 * DAY), NOW, thresholds, 90)
        assert renewed.id != first.id


class TestExpired:
    def test_for_a_while(self) -> None:
        key = replace(KEY, expires_at=NOW)
        for now in (NOW, NOW + LATE):
            [event] = due_events(key, now, (30,), 90)
            assert (event.type, event.at, event.tenant_id) == (
                "api_key.expired",
                NOW,
                key.home_tenant_id,
            )
        assert told(key, NOW + LATE + DAY) == []

    def test_not_when_it_was_revoked(self) -> None:
        assert told(replace(KEY, expires_at=NOW, revoked_at=NOW - DAY)) == []


class TestUnused:
    @pytest.mark.parametrize(
        ("days", "is_told"), [(89.9, False), (90, True), (97, True), (97.1, False)]
    )
    def test_since_it_was_used_last(self, days: float, is_told: bool) -> None:
        key = replace(KEY, last_used_at=MADE)
        found = told(key, MADE + days * DAY)
        at = MADE.isoformat()
        assert found == ([("api_key.unused", {"days": 90, "last_used_at": at})] if is_told else [])

    def test_or_made_or_rotated(self) -> None:
        details = {"days": 90, "last_used_at": None}
        assert told(KEY, MADE + 91 * DAY) == [("api_key.unused", details)]
        rotated = replace(KEY, rotation=Rotation(MADE + 2 * DAY, MADE + 2 * DAY, False))
        assert told(rotated, MADE + 91 * DAY) == []

    def test_once_a_use(self) -> None:
        ids = {
            due_events(replace(KEY, last_used_at=used), MADE + 95 * DAY, (), 90)[0].id
            for used in (MADE, MADE, MADE + DAY)
        }
        assert len(ids) == 2


def test_written_as_json() -> None:
    [event] = due_events(replace(KEY, name="dé", expires_at=NOW), NOW, (), 90)
    assert json.loads(event.written()) == {
        "schema": "keyturn.event.v1",
        "id": event.id,
        "type": "api_key.expired",
        "at": "2026-03-01T12:00:00Z",
        "tenant_id": KEY.home_tenant_id,
        "data": {
            "api_key": {
                "id": KEY.id,
                "name": "dé",
                "user_id": KEY.user_id,
                "expires_at": NOW.isoformat(),
            },
            "actor": {"user_id": None, "api_key_id": None},
            "details": {},
        },
    }


class TestPauses:
    def test_longer_each_time_then_none(self) -> None:
        pauses = [pause_after(n, 0) for n in range(1, 9)]
        assert pauses == [*(timedelta(seconds=s) for s in BACK_OFF), None]

    def test_spread(self) -> None:
        assert pause_after(1, 1) == timedelta(seconds=6)

    @pytest.mark.parametrize(("asked", "seconds"), [(None, 5), (0, 5), (60, 60), (10**9, 86_400)])
    def test_as_asked_within_bounds(self, asked: int | None, seconds: int) -> None:
        assert pause_after(1, 0, asked) == timedelta(seconds=seconds)
