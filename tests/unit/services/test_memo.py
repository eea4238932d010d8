"""Results that are worked out once for the same things."""

from collections.abc import Callable

import pytest

from keyturn.server.services.memo import MOST, Memo


class Counted:
    def __init__(self) -> None:
        self.made = 0

    def __call__(self) -> int:
        self.made += 1
        return self.made


def test_once_for_the_same_things_and_equal_values() -> None:
    memo, make, thing = Memo[int](), Counted(), [1]
    for _ in range(3):
        assert memo.of((thing,), ("a", frozenset({"x"})), make) == 1


@pytest.mark.parametrize("other", [lambda thing: ([1], "a"), lambda thing: (thing, "b")])
def test_anew_for_equal_things_that_are_others_and_for_other_values(
    other: Callable[[list[int]], tuple[list[int], str]],
) -> None:
    memo, make, thing = Memo[int](), Counted(), [1]
    memo.of((thing,), "a", make)
    another, value = other(thing)
    assert memo.of((another,), value, make) == 2


def test_never_for_what_came_after_in_the_same_place() -> None:
    memo, make = Memo[int](), Counted()
    # Without being kept, each of these would be freed, and the next one have its id.
    results = [memo.of(([number],), None, make) for number in range(100)]
    assert results == list(range(1, 101))


def test_not_for_what_was_refused() -> None:
    memo, thing = Memo[int](), [1]
    with pytest.raises(ZeroDivisionError):
        memo.of((thing,), None, lambda: 1 // 0)
    assert memo.of((thing,), None, lambda: 7) == 7


def test_bounded() -> None:
    memo, make = Memo[int](), Counted()
    for number in range(2 * MOST + 1):
        memo.of(([number],), None, make)
    assert len(memo._kept) <= MOST
