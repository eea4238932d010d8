"""What the generator is told, and what it tells."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field

from .latencies import Latencies


@dataclass(frozen=True, slots=True)
class Job:
    """What to send, over how many connections, for how many seconds. Holds secrets.

    `requests` are sent in turn. With `first`, each connection walks a chain of refresh tokens that
    `first` begins, outside of what is measured; `requests` is then one head, without its length.
    A good answer is a 200 that has `expect` in it.
    """

    host: str
    port: int
    connections: int
    seconds: float
    requests: tuple[str, ...] = field(repr=False)
    first: str = field(default="", repr=False)
    expect: str = ""
    tls: bool = False


@dataclass(slots=True)
class Round:
    """What came back. Times in seconds.

    `requests` are the good answers within the time, `statuses` counts the others, `lost` what had
    no answer. Good answers that were on their way at the end count among the latencies alone.
    `first_error` is the first of what was neither good nor 429.
    """

    requests: int = 0
    elapsed: float = 0.0
    latencies: Latencies = field(default_factory=Latencies, repr=False)
    statuses: Counter[int] = field(default_factory=Counter)
    lost: int = 0
    first_error: str = ""
    #: The limit of the service that the first 429 named.
    limit: str = ""
    generator_cpu: float = 0.0

    @property
    def rate(self) -> float:
        """Good answers a second."""
        return self.requests / self.elapsed if self.elapsed else 0.0

    @property
    def errors(self) -> int:
        """Answers that were not good, and those that did not come."""
        return self.statuses.total() + self.lost

    def merge(self, other: Round) -> None:
        """Adds what another one measured."""
        self.requests += other.requests
        self.elapsed += other.elapsed
        self.latencies.merge(other.latencies)
        self.statuses.update(other.statuses)
        self.lost += other.lost
        self.first_error = self.first_error or other.first_error
        self.limit = self.limit or other.limit
        self.generator_cpu += other.generator_cpu

    def dumps(self) -> str:
        """All of it, as one line of JSON."""
        return json.dumps(
            {
                "requests": self.requests,
                "elapsed": self.elapsed,
                "latencies": list(self.latencies.counts.items()),
                "longest": self.latencies.longest,
                "statuses": list(self.statuses.items()),
                "lost": self.lost,
                "first_error": self.first_error,
                "limit": self.limit,
                "generator_cpu": self.generator_cpu,
            }
        )

    @classmethod
    def loads(cls, text: str) -> Round:
        """What `dumps` made."""
        said = json.loads(text)
        latencies = Latencies(Counter(dict(said.pop("latencies"))), said.pop("longest"))
        return cls(latencies=latencies, statuses=Counter(dict(said.pop("statuses"))), **said)
