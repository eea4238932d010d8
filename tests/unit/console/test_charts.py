"""Numbers and keys to coordinates: nothing leaves its drawing, and nothing is drawn of nothing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from keyturn.server.console.charts import ABOVE, HEIGHT, LEFT, WIDTH, chart, scale
from keyturn.server.console.timeline import timeline

NOW = datetime(2026, 3, 4, 12, tzinfo=UTC)


class TestScale:
    @pytest.mark.parametrize(
        ("most", "end"),
        [(0, 2), (1, 2), (3, 4), (9, 10), (11, 20), (99, 100), (10**9 + 1, 2 * 10**9)],
    )
    def test_is_even_round_and_enough(self, most: int, end: int) -> None:
        assert scale(most) == end


class TestChart:
    def test_bars_stand_on_each_other_inside(self) -> None:
        drawn = chart(["a", "b"], [[3, 0], [1, 7]])
        assert drawn.totals == [3, 8]
        first, second = drawn.bars
        (_, low, height), (_, high, more) = first.parts
        assert low == pytest.approx(high + more)
        assert [which for which, _, _ in second.parts] == [1]
        assert all(y >= ABOVE for bar in drawn.bars for _, y, _ in bar.parts)
        assert LEFT <= first.x < second.x < second.x + second.width <= WIDTH
        assert height > more > 0
        assert drawn.height == HEIGHT

    def test_of_nothing_is_empty(self) -> None:
        assert chart([], [[], []]).empty
        assert chart(["a"], [[0], [0]]).empty


class TestTimeline:
    def test_a_key_is_published_then_signs_then_is_retired(self) -> None:
        def at(hours: int) -> str:
            return (NOW + timedelta(hours=hours)).isoformat()

        keys = [
            _key("next", created_at=at(-1), slot_since=at(-1), signs_from=at(20)),
            _key("current", created_at=at(-30), slot_since=at(-10), signs_from=at(-10)),
            _key("retired", created_at=at(-60), slot_since=at(-10), removed_at=at(2)),
        ]
        drawn = timeline(keys, NOW, timedelta(days=1))
        assert [[one.phase for one in row.stretches] for row in drawn.rows] == [
            ["published"],
            ["published", "signing"],
            ["published", "signing", "retired"],
        ]
        for row in drawn.rows:
            assert all(drawn.left <= s.x <= s.x + s.width <= drawn.width + 2 for s in row.stretches)
        signing, retired = drawn.rows[1].stretches[1], drawn.rows[2].stretches[2]
        assert signing.x <= drawn.now <= signing.x + signing.width
        assert retired.x < drawn.now


def _key(slot: str, **times: str) -> dict[str, str | None]:
    return {
        "kid": slot,
        "algorithm": "ES256",
        "slot": slot,
        "signs_from": None,
        "removed_at": None,
        **times,
    }
