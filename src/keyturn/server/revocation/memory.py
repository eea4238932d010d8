"""The copy of the revocations that every node keeps in its memory."""

import heapq
from collections.abc import Iterable
from datetime import UTC, datetime

from ..domain.model import Revocation, RevocationKind
from ..domain.revocations import FOREVER_YEAR, Subject, still_counts, stronger
from ..services.ports import Clock

#: Most expired entries removed at once, so that no sweep holds up the event loop (about 1 ms).
SWEPT_AT_ONCE = 1000

_LONG_PAST = datetime(1970, 1, 1, tzinfo=UTC)


def lifted(subject: Subject) -> Revocation:
    """An entry in the past, which ends a tenant's."""
    return Revocation(subject[0], subject[1], _LONG_PAST)


class LocalCopy:
    """Revocations by subject. Knows nothing about how complete or how old it is.

    A tenant's entry is replaced by what is learned later, because a suspension can be lifted.
    All others only ever get stronger, in whatever order they are learned.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._entries: dict[Subject, Revocation] = {}
        # When to look at which entry; one that was prolonged since is left alone.
        self._ends: list[tuple[datetime, Subject]] = []

    def __len__(self) -> int:
        return len(self._entries)

    def known(self, subject: Subject) -> bool:
        """Whether there is an entry, which may have expired a moment ago."""
        return subject in self._entries

    def find(self, subjects: Iterable[Subject]) -> dict[Subject, Revocation]:
        """The entries of those subjects that still count."""
        now = self._clock()
        return {
            subject: entry
            for subject in subjects
            if (entry := self._entries.get(subject)) is not None and still_counts(entry, now)
        }

    def learn(self, entry: Revocation) -> bool:
        """Takes in a committed entry, or one in the past: a lifted one. False: nothing new."""
        subject = (entry.kind, entry.subject)
        known = self._entries.get(subject)
        if not still_counts(entry, self._clock()):
            # Others that have expired are left to the sweep: an old, weaker entry that arrives
            # late must not take away a stronger one.
            if entry.kind is not RevocationKind.TENANT or known is None:
                return False
            del self._entries[subject]
            return True
        if known is not None and entry.kind is not RevocationKind.TENANT:
            entry = stronger(known, entry)
        if entry == known:
            return False
        self._entries[subject] = entry
        if entry.expires_at.year < FOREVER_YEAR:
            heapq.heappush(self._ends, (entry.expires_at, subject))
        return True

    def entries(self) -> tuple[Revocation, ...]:
        """All that still count."""
        now = self._clock()
        return tuple(entry for entry in self._entries.values() if still_counts(entry, now))

    def sweep(self) -> None:
        """Removes expired entries, `SWEPT_AT_ONCE` at most."""
        now = self._clock()
        for _ in range(SWEPT_AT_ONCE):
            if not self._ends or self._ends[0][0] > now:
                return
            _, subject = heapq.heappop(self._ends)
            entry = self._entries.get(subject)
            if entry is not None and not still_counts(entry, now):
                del self._entries[subject]
