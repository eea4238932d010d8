"""What has happened in this process since its start, in plain numbers.

Counting is on the path of every request, so it is one addition to a plain number: no lock, no
library. Whoever shows the numbers reads them when asked (`telemetry`). What they are counted by is
always a word of this code, or of a closed list; never text of a request, nor anybody's id.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable

#: Upper ends of the ranges that requests' times are counted in, in seconds.
REQUEST_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
#: The same for how long a revocation took to be known here.
AGE_BOUNDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.5, 5.0, 10.0, 30.0)


class Times:
    """How often something took how long."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        """`bounds` in seconds, rising. One more count is for what is above them all."""
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        #: Seconds, of all together.
        self.total = 0.0

    def add(self, seconds: float) -> None:
        """It took so long once more."""
        self.counts[bisect_left(self.bounds, seconds)] += 1
        self.total += seconds


class Counts:
    """The numbers of one process."""

    def __init__(self) -> None:
        #: Calls of the token endpoint, by grant and outcome.
        self.tokens: Counter[tuple[str, str]] = Counter()
        #: Answers' times by route (a template) and class of status (`2xx`).
        self.requests: dict[tuple[str, str], Times] = {}
        #: Refresh tokens: `step`, `grace` (the same successor again), `reuse`.
        self.refreshes: Counter[str] = Counter()
        #: API keys that were shown and were not good, by why.
        self.dead_keys: Counter[str] = Counter()
        #: Revocations that this node committed, by kind.
        self.revocations: Counter[str] = Counter()
        #: From a revocation's commit elsewhere to its being known here, by how it was heard of.
        self.propagation = {source: Times(AGE_BOUNDS) for source in ("notify", "tail")}

    def request(self, route: str, status: int, seconds: float) -> None:
        """A request was answered."""
        key = (route, _CLASSES.get(status // 100, "other"))
        times = self.requests.get(key)
        if times is None:
            times = self.requests[key] = Times(REQUEST_BOUNDS)
        times.add(seconds)

    def revoked(self, kinds: Iterable[str]) -> None:
        """Revocations were committed here."""
        self.revocations.update(kinds)


_CLASSES = {number: f"{number}xx" for number in range(1, 6)}
