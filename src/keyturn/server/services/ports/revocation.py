"""The revocation list, seen by the services."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from ...domain.model import Revocation, RevocationKind
from ...domain.revocations import Subject


class RevocationList(Protocol):
    """The fast copy of the revocations, backed by the database's truth."""

    async def find(self, subjects: Sequence[Subject]) -> tuple[Revocation, ...]:
        """Entries that still count. Raises `Unavailable` rather than answer from doubt."""
        ...

    async def publish(self, entries: Sequence[Revocation]) -> None:
        """Makes committed entries known at once. Never raises: the tail delivers them, too."""
        ...


@dataclass(frozen=True, slots=True)
class FeedItem:
    """One entry as it is told. `expires_at` in Unix seconds; 0: it was lifted."""

    kind: RevocationKind
    subject: str
    epoch: int | None
    expires_at: int


@dataclass(frozen=True, slots=True)
class News:
    """What came since a cursor.

    `reset`: it begins from the beginning, and what the follower had is to be forgotten. `more`:
    there is more already. `age`: all that was committed until so many seconds ago is in it.
    """

    items: tuple[FeedItem, ...]
    cursor: str
    reset: bool
    more: bool
    age: float


class RevocationFeed(Protocol):
    """What this node knows of revocations, in order, for resource servers to follow."""

    async def since(self, cursor: str | None, *, wait: float, limit: int) -> News:
        """What came since `cursor`, up to `limit`; when there is nothing, after `wait` seconds.

        Raises Refusal `invalid_request` for a cursor that no feed gave, and Unavailable while
        nothing is known yet.
        """
        ...
