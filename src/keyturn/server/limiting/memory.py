"""Counting in this process: a sliding window made of two, as `limits` has it (its strategy
SlidingWindowCounter), in dictionaries that cannot grow without end.

The counts of the window before weigh as much as of it is still within the last `window` seconds.
So a limit is never passed by more than an even rate would, and each name takes two numbers. The
library's own storage in memory keeps every name, looks through all of them in a thread that it
starts a hundred times a second, and takes 27 µs for what takes half a microsecond here: each
exchange counts twice.
"""

import math
import time
from collections.abc import Callable
from itertools import islice

from ..services.ports import Rate

#: Names of one window. With about 150 bytes each.
MOST = 50_000
#: Of how many of the oldest the least one goes when there are too many.
LOOKED_AT = 8


class Windows:
    """Implements `ports.Counter`."""

    __slots__ = (
        *("rate", "now", "before"),
        *("_amount", "_clock", "_index", "_most", "_told", "_window"),
    )

    def __init__(
        self, rate: Rate, clock: Callable[[], float] = time.time, *, most: int = MOST
    ) -> None:
        """`clock` in seconds; where nodes share their counts, all have the same one."""
        self.rate = rate
        self._amount, self._window = rate.amount, rate.window
        self._clock = clock
        self._most = most
        self._index = 0
        self.now: dict[str, int] = {}
        self.before: dict[str, int] = {}
        self._told: set[str] = set()

    def hit(self, name: str) -> float:
        """See `ports.Counter`."""
        passed, now = self._roll(), self.now
        count = now.get(name, 0)
        before = self.before.get(name)
        used = count if before is None else before * (1 - passed) + count
        if used >= self._amount:
            return self._wait(passed, count, before or 0)
        if not count and len(now) >= self._most:
            # Not simply the oldest: who is refused would be forgotten by being many.
            del now[min(islice(now, LOOKED_AT), key=now.__getitem__)]
        now[name] = count + 1
        return 0.0

    def full(self, name: str) -> float:
        """See `ports.Counter`."""
        if not self.now and not self.before:  # as it is for most of the time
            return 0.0
        passed = self._roll()
        count, before = self.now.get(name, 0), self.before.get(name, 0)
        if before * (1 - passed) + count < self._amount:
            return 0.0
        return self._wait(passed, count, before)

    def _wait(self, passed: float, count: int, before: int) -> float:
        """Seconds until one more is allowed."""
        amount, window = self._amount, self._window
        if count < amount:  # once enough of the window before is over
            return max(1e-3, (1 - passed - (amount - count) / before) * window)
        return (1 - passed) * window + max(1e-3, (1 - amount / count) * window)

    def left(self, name: str) -> int:
        """See `ports.Counter`."""
        passed = self._roll()
        used = self.before.get(name, 0) * (1 - passed) + self.now.get(name, 0)
        return max(0, self.rate.amount - math.floor(used))

    def told(self, name: str) -> bool:
        """See `ports.Counter`."""
        self._roll()
        if name in self._told:
            return True
        if len(self._told) < self._most:
            self._told.add(name)
        return False

    @property
    def index(self) -> int:
        """Which window it is: how many of its length have passed since 1970."""
        return self._index

    def _roll(self) -> float:
        """Begins a new window when it is time. Gives how much of this one has passed, 0 to 1."""
        at = self._clock() / self._window
        passed = at - self._index
        if 0 <= passed < 1:
            return passed
        index = int(at)
        # A clock that was set back begins a window, too: nobody waits until it is there again.
        self.before = self.now if index <= self._index + 1 else {}
        self.now = {}
        self._told = set()
        self._index = index
        return at - index
