"""What this node knows, in the order in which it heard of it: for resource servers to follow.

A follower shows the cursor of its last answer and gets what came since. A cursor says three things:
which node gave it, how far that node's own count was, and up to which time of the database all is
known to who has it. The node that gave it goes by the count. Any other goes by the time: it tells
all that it heard of since the tail that was the last to begin before. What is told twice does no
harm; what a node cannot vouch for is told from the beginning (`reset`).

The beginning goes page by page in the order of the digests, so that every node can go on where
another one stopped, and what changes meanwhile comes afterwards, by the time of the eldest page.

Nobody needs to be named in it: an entry's subject is a digest, which only those recognise who hold
a token that it ends.
"""

import asyncio
import base64
import bisect
import functools
import hashlib
import heapq
import re
import secrets
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from ..domain.errors import Unavailable, invalid_request
from ..domain.model import Revocation, RevocationKind
from ..domain.revocations import Subject
from ..services.ports import FeedItem, News
from .follower import Follower
from .memory import LocalCopy

#: For how long a cursor is good (seconds); then everything is told anew.
REMEMBERED = 600.0
#: Between two marks (seconds): tails may come more often.
_MARKED_EVERY = 0.4

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: How far a cursor's time may be ahead of this node's (microseconds). More, and the database's
#: clock went back: times mean nothing then.
_AHEAD = 2_000_000
_CURSOR = re.compile(r"([0-9a-f]{8})\.([0-9]{1,18})\.([0-9]{1,18})")
_PAGE = re.compile(r"all\.([A-Za-z0-9_-]{22})\.([0-9]{1,18})")
# No node is called so: whoever is asked goes by the time.
_NOBODY = "0" * 8


@dataclass(frozen=True, slots=True)
class _Mark:
    """A tail that is through: the database's time (microseconds) and the count at its start."""

    time: int
    count: int
    at: float


class Feed:
    """The order in which a node's local copy learned what it knows."""

    def __init__(self, local: LocalCopy, follower: Follower) -> None:
        self._local = local
        self._follower = follower
        self._node = secrets.token_hex(4)
        self._count = 0
        # Subject → the count at which it was last heard of; and those counts in order.
        self._heard: dict[Subject, int] = {}
        self._order: list[tuple[int, Subject]] = []
        self._marks: deque[_Mark] = deque()
        self._tail_began = 0
        self._time = 0
        self._news = asyncio.Event()
        follower.listeners.append(self._hear)
        follower.on_start = self._begin
        follower.on_end = self._mark

    async def since(self, cursor: str | None, *, wait: float, limit: int) -> News:
        """What came since `cursor`, up to `limit`; when there is nothing, after `wait` seconds.

        Raises Refusal `invalid_request` for a cursor that no feed gave, and Unavailable while
        this node has not read the database yet.
        """
        page = _PAGE.fullmatch(cursor) if cursor is not None else None
        asked = None if page is not None else _read(cursor)
        if not self._marks:
            raise Unavailable("the revocations have not been read from the database yet")
        if page is not None:
            return await self._all(page[1], int(page[2]), limit)
        begin = self._begin_at(asked)
        if begin is None or asked is None:
            return await self._all("", self._time, limit)
        if wait > 0 and begin >= self._count:
            try:
                async with asyncio.timeout(wait):
                    await self._news.wait()
            except TimeoutError:
                pass
        items, at = self._told(begin, limit)
        more = at < self._count
        if more and asked[0] != self._node:
            # Another node would begin again where this one did, and never come to an end.
            return await self._all("", self._time, limit)
        # Until all of it is told, nothing later than before is known by any other's time.
        time = asked[2] if more else self._time
        return News(tuple(items), f"{self._node}.{at}.{time}", False, more, self._follower.age)

    async def _all(self, after: str, time: int, limit: int) -> News:
        """A page of everything; the first one is a reset. `time` is that of the eldest page."""
        time, age = min(time, self._time), self._follower.age
        entries = [(entry.kind, entry.subject) for entry in self._local.entries()]
        # There may be very many; other callers are served meanwhile.
        told = await asyncio.to_thread(_behind, entries, after, limit + 1)
        items = [item for _, subject in told[:limit] if (item := self._item(subject)) is not None]
        more = len(told) > limit
        cursor = f"all.{told[limit - 1][0]}.{time}" if more else f"{_NOBODY}.0.{time}"
        return News(tuple(items), cursor, not after, more, age)

    def _begin_at(self, cursor: tuple[str, int, int] | None) -> int | None:
        """The count to begin behind; None: this node cannot vouch for what came since."""
        if cursor is None:
            return None
        node, count, time = cursor
        if node == self._node and self._marks[0].count <= count <= self._count:
            return count
        newest = self._marks[-1].time
        if node != self._node and self._marks[0].time <= time <= newest + _AHEAD:
            index = bisect.bisect_right(self._marks, time, key=lambda mark: mark.time)
            return self._marks[index - 1].count
        return None

    def _told(self, begin: int, limit: int) -> tuple[list[FeedItem], int]:
        """Up to `limit` items behind `begin`, and the count of the last."""
        items: list[FeedItem] = []
        at = begin
        start = bisect.bisect_right(self._order, begin, key=lambda heard: heard[0])
        for index in range(start, len(self._order)):
            at, subject = self._order[index]
            if self._heard.get(subject) != at:
                continue  # heard of again later
            item = self._item(subject)
            if item is not None:
                items.append(item)
                if len(items) == limit:
                    return items, at
        return items, max(at, self._count)

    def _item(self, subject: Subject) -> FeedItem | None:
        entry = self._local.find([subject]).get(subject)
        if entry is not None:
            return FeedItem(subject[0], digest(subject), entry.epoch, _seconds(entry.expires_at))
        if subject[0] is RevocationKind.TENANT:
            return FeedItem(subject[0], digest(subject), None, 0)
        return None  # expired: it can hit nothing any more

    # --- what is heard ---------------------------------------------------------------------

    def _hear(self, entries: Sequence[Revocation]) -> None:
        if not entries:  # something may have changed that is no news here
            return
        for entry in entries:
            subject = (entry.kind, entry.subject)
            self._count += 1
            self._heard[subject] = self._count
            self._order.append((self._count, subject))
        if len(self._order) > 2 * len(self._heard) + 1000:
            self._compact()
        self._news.set()
        self._news = asyncio.Event()

    def _begin(self) -> None:
        self._tail_began = self._count

    def _mark(self, at: datetime) -> None:
        now = asyncio.get_running_loop().time()
        self._time = (at - _EPOCH) // timedelta(microseconds=1)
        if self._marks and now - self._marks[-1].at < _MARKED_EVERY:
            return
        if self._marks and self._time < self._marks[-1].time:
            # The database's clock went back, or another one is asked: times mean nothing now.
            self._marks.clear()
        self._marks.append(_Mark(self._time, self._tail_began, now))
        forgotten = False
        while now - self._marks[0].at > REMEMBERED:
            self._marks.popleft()
            forgotten = True
        if forgotten and len(self._order) > 2 * len(self._local) + 1000:
            self._compact()

    def _compact(self) -> None:
        """Forgets what has expired, and of what was lifted that which no cursor asks for."""
        oldest = self._marks[0].count if self._marks else self._count
        known = self._local.known
        self._heard = {
            subject: count
            for subject, count in self._heard.items()
            if known(subject) or (subject[0] is RevocationKind.TENANT and count > oldest)
        }
        self._order = sorted((count, subject) for subject, count in self._heard.items())


@functools.lru_cache(maxsize=200_000)
def digest(subject: Subject) -> str:
    """How a subject is told: 128 bits of the SHA-256 of kind and id, base64url (22 characters)."""
    hashed = hashlib.sha256(f"{subject[0]}:{subject[1]}".encode(errors="surrogatepass")).digest()
    return base64.urlsafe_b64encode(hashed[:16]).rstrip(b"=").decode()


def _behind(subjects: list[Subject], after: str, limit: int) -> list[tuple[str, Subject]]:
    """The first of these whose digests come behind `after`, in their order."""
    named = ((digest(subject), subject) for subject in subjects)
    return heapq.nsmallest(limit, (pair for pair in named if pair[0] > after))


def _read(cursor: str | None) -> tuple[str, int, int] | None:
    if cursor is None:
        return None
    found = _CURSOR.fullmatch(cursor)
    if found is None:
        raise invalid_request("cursor must be one that an answer gave.", field="cursor")
    return found[1], int(found[2]), int(found[3])


def _seconds(moment: datetime) -> int:
    """Rounded up: an entry may count for a moment too long, never too short."""
    return -((_EPOCH - moment) // timedelta(seconds=1))
