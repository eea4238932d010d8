"""How often something may be done, counted by name."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Rate:
    """`amount` times within any `window` (seconds)."""

    amount: int
    window: int


class Counter(Protocol):
    """Counts one kind of thing, by the name of who does it. It never waits and never fails.

    Names are short: who has them from outside hashes them first. A name that is not heard of for
    two windows is forgotten, and when there are too many the least important ones are.
    """

    @property
    def rate(self) -> Rate:
        """What is allowed."""
        ...

    def hit(self, name: str) -> float:
        """Counts once more, and gives 0; or the seconds until it is allowed, and counts nothing."""
        ...

    def full(self, name: str) -> float:
        """What `hit` would give. Counts nothing."""
        ...

    def left(self, name: str) -> int:
        """How often it is allowed still."""
        ...

    def told(self, name: str) -> bool:
        """Whether this was asked before, in this window: for what is said once."""
        ...


@dataclass(frozen=True, slots=True)
class Counters:
    """One counter a limit; None: no limit."""

    failures_per_address: Counter | None = None
    failures_per_proxy: Counter | None = None
    failures_per_username: Counter | None = None
    failures_per_username_anywhere: Counter | None = None
    exchanges_per_key: Counter | None = None
    exchanges_per_tenant: Counter | None = None
    management_per_token: Counter | None = None
