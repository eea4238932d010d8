"""The sliding window: exact in its numbers, bounded in its names."""

import random

from hypothesis import given
from hypothesis import strategies as st

from keyturn.server.limiting.memory import Windows
from keyturn.server.services.ports import Rate


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_020.0  # the beginning of a minute

    def __call__(self) -> float:
        return self.now


def windows(amount: int, window: int = 60, **more: int) -> tuple[Windows, Clock]:
    clock = Clock()
    return Windows(Rate(amount, window), clock, **more), clock


class TestCounting:
    def test_as_many_as_the_rate_has_and_no_more(self) -> None:
        counter, _ = windows(3)
        assert [counter.hit("a") == 0 for _ in range(5)] == [True, True, True, False, False]

    def test_each_name_by_itself(self) -> None:
        counter, _ = windows(1)
        assert counter.hit("a") == 0
        assert counter.hit("a") > 0
        assert counter.hit("b") == 0

    def test_full_counts_nothing(self) -> None:
        counter, _ = windows(1)
        assert [counter.full("a") for _ in range(5)] == [0.0] * 5
        counter.hit("a")
        assert counter.full("a") > 0

    def test_left_is_what_hit_allows(self) -> None:
        counter, clock = windows(10)
        for _ in range(4):
            counter.hit("a")
        assert counter.left("a") == 6
        clock.now += 90  # half of the window before counts
        assert counter.left("a") == 8

    def test_the_window_before_weighs_what_is_left_of_it(self) -> None:
        counter, clock = windows(10)
        for _ in range(10):
            counter.hit("a")
        clock.now += 60
        assert counter.hit("a") > 0
        clock.now += 30
        assert [counter.hit("a") == 0 for _ in range(6)] == [True] * 5 + [False]

    def test_after_two_windows_all_is_forgotten(self) -> None:
        counter, clock = windows(1)
        counter.hit("a")
        clock.now += 120
        assert counter.hit("a") == 0
        assert counter.before == {}

    def test_a_clock_that_is_set_back_locks_nobody_out(self) -> None:
        counter, clock = windows(1)
        counter.hit("a")
        clock.now -= 86_400
        counter.hit("a")
        clock.now += 120
        assert counter.hit("a") == 0

    @given(
        amount=st.integers(1, 20),
        steps=st.lists(st.floats(0, 40), min_size=1, max_size=60),
    )
    def test_who_waits_as_long_as_told_is_let_in(self, amount: int, steps: list[float]) -> None:
        counter, clock = windows(amount)
        for step in steps:
            clock.now += step
            wait = counter.hit("a")
            if wait:
                assert counter.full("a") == wait <= 120
                clock.now += wait + 0.01
                assert counter.hit("a") == 0

    @given(st.lists(st.floats(0, 20), min_size=1, max_size=80))
    def test_no_window_between_two_steps_lets_twice_as_much_through(
        self, steps: list[float]
    ) -> None:
        counter, clock = windows(5)
        passed = []
        for step in steps:
            clock.now += step
            if counter.hit("a") == 0:
                passed.append(clock.now)
        for begin in passed:
            assert sum(1 for at in passed if begin <= at < begin + 60) < 10


class TestBounds:
    def test_names_are_bounded_and_who_is_refused_is_not_forgotten(self) -> None:
        counter, _ = windows(3, most=100)
        for _ in range(3):
            counter.hit("guilty")
        names = random.Random(7)
        for _ in range(5_000):
            counter.hit(f"invented {names.random()}")
        assert len(counter.now) <= 100
        assert counter.hit("guilty") > 0

    def test_what_is_told_once_a_window_is_bounded(self) -> None:
        counter, clock = windows(1, most=10)
        assert not counter.told("a")
        assert counter.told("a")
        for number in range(1_000):
            counter.told(str(number))
        assert len(counter._told) <= 10
        clock.now += 60
        assert not counter.told("a")
