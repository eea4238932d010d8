"""Latencies, counted in classes of 1 %: any number of them takes the same few kilobytes."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from math import exp, log, log1p

#: The shortest time that is told from others, in seconds.
_SHORTEST = 1e-6
_WIDTH = log1p(0.01)


@dataclass(slots=True)
class Latencies:
    """How many answers took how long. Times in seconds; `longest` is exact."""

    counts: Counter[int] = field(default_factory=Counter)
    longest: float = 0.0

    def add(self, took: float) -> None:
        """Counts one answer."""
        self.counts[int(log(max(took, _SHORTEST) / _SHORTEST) / _WIDTH)] += 1
        self.longest = max(self.longest, took)

    def merge(self, other: Latencies) -> None:
        """Counts all of another's."""
        self.counts.update(other.counts)
        self.longest = max(self.longest, other.longest)

    @property
    def number(self) -> int:
        """How many there are."""
        return self.counts.total()

    def quantile(self, share: float) -> float:
        """The time within which that share of the answers came, to 1 %; 0 without any."""
        left = share * self.number
        for place, count in sorted(self.counts.items()):
            left -= count
            if left <= 0:
                return min(_middle(place), self.longest)
        return self.longest

    def bars(self, most: int) -> list[tuple[float, int]]:
        """At most so many (upper bound, how many), of ranges that grow by the same factor."""
        if not self.counts:
            return []
        first, last = min(self.counts), max(self.counts)
        step = -(-(last - first + 1) // most)
        found: Counter[int] = Counter()
        for place, count in self.counts.items():
            found[(place - first) // step] += count
        bounds = (_lower(first + (bar + 1) * step) for bar in range(max(found) + 1))
        return [(bound, found[bar]) for bar, bound in enumerate(bounds)]


def _lower(place: int) -> float:
    return _SHORTEST * exp(place * _WIDTH)


def _middle(place: int) -> float:
    return _SHORTEST * exp((place + 0.5) * _WIDTH)
