"""The revocation list, seen by the services."""

from collections.abc import Sequence
from typing import Protocol

from ...domain.model import Revocation
from ...domain.revocations import Subject


class RevocationList(Protocol):
    """The fast copy of the revocations, backed by the database's truth."""

    async def find(self, subjects: Sequence[Subject]) -> tuple[Revocation, ...]:
        """Entries that still count. Raises `Unavailable` rather than answer from doubt."""
        ...

    async def publish(self, entries: Sequence[Revocation]) -> None:
        """Makes committed entries known at once. Never raises: the tail delivers them, too."""
        ...
