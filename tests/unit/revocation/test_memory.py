"""The local copy, with a clock that stands still until told."""

from datetime import UTC, datetime, timedelta

import pytest

from keyturn.server.domain.model import Revocation, RevocationKind
from keyturn.server.domain.revocations import FOREVER_YEAR
from keyturn.server.revocation import memory
from keyturn.server.revocation.memory import LocalCopy, lifted

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def copy(clock: Clock) -> LocalCopy:
    return LocalCopy(clock)


def user(epoch: int | None, seconds: int = 100) -> Revocation:
    return Revocation(RevocationKind.USER, "u", NOW + timedelta(seconds=seconds), epoch)


def tenant() -> Revocation:
    return Revocation(RevocationKind.TENANT, "t", datetime(FOREVER_YEAR, 1, 1, tzinfo=UTC))


def test_keeps_the_stronger_of_two(copy: LocalCopy) -> None:
    assert copy.learn(user(3, 100))
    assert copy.learn(user(2, 200))
    assert not copy.learn(user(2, 100))

    assert copy.entries() == (user(3, 200),)


def test_says_what_is_new(copy: LocalCopy) -> None:
    assert copy.learn(tenant())
    assert not copy.learn(tenant())
    assert copy.learn(lifted((RevocationKind.TENANT, "t")))
    assert not copy.learn(lifted((RevocationKind.TENANT, "t")))


def test_nothing_but_a_suspension_is_lifted(copy: LocalCopy) -> None:
    copy.learn(user(3))
    assert not copy.learn(lifted((RevocationKind.USER, "u")))

    assert copy.entries() == (user(3),)


def test_forgets_and_sweeps_what_has_expired(copy: LocalCopy, clock: Clock) -> None:
    copy.learn(user(3))
    copy.learn(tenant())
    clock.now += timedelta(seconds=100)

    assert copy.entries() == (tenant(),)
    assert len(copy) == 2
    copy.sweep()
    assert len(copy) == 1


def test_sweeping_leaves_what_was_prolonged(copy: LocalCopy, clock: Clock) -> None:
    copy.learn(user(3, 100))
    copy.learn(user(3, 200))
    clock.now += timedelta(seconds=150)
    copy.sweep()

    assert copy.entries() == (user(3, 200),)
    clock.now += timedelta(seconds=150)
    copy.sweep()
    assert len(copy) == 0


def test_a_sweep_is_bounded(copy: LocalCopy, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "SWEPT_AT_ONCE", 10)
    for number in range(25):
        copy.learn(Revocation(RevocationKind.TOKEN, str(number), NOW + timedelta(seconds=1)))
    clock.now += timedelta(seconds=2)
    sizes = []
    for _ in range(4):
        copy.sweep()
        sizes.append(len(copy))

    assert sizes == [15, 5, 0, 0]
