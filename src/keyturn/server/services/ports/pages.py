"""Pages of long lists, read in the order of an index."""

from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Slice:
    """At most `limit` rows that come after the row with the keys `after` (None: from the start).

    What the keys are, each listing says; a malformed one is Refusal `invalid_request`.
    """

    limit: int
    after: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page, and the keys of its last row when there are more."""

    items: tuple[T, ...]
    next: tuple[str, ...] | None = None
