"""API keys as they were read a moment ago: what is used again and again is read once a second.

Nothing is ever refused by a record that may be outdated. And what is granted by one is what would
have been granted `GOOD_FOR` seconds ago: a token made of it carries the epoch of that time, so that
whatever was revoked since has ended it before it is given out (promise P4). All records are
forgotten as soon as this node makes a change, or hears of another node's.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from ..domain.errors import Refusal
from ..domain.model import KeyRecord
from .ports import KeyLookup

T = TypeVar("T")

#: How long a record is used, in seconds from when its reading began.
GOOD_FOR = 1.0
#: Most records that are kept, and most roles of one that is: the memory they take is bounded.
MOST = 1_000
MOST_ROLES = 60

_Asked = tuple[str, tuple[str, ...] | None, str, int]


class RecentKeys:
    """Keeps what `lookup` found."""

    def __init__(self, lookup: KeyLookup, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` in seconds."""
        self._lookup = lookup
        self._clock = clock
        # In the order of their ends, but for the time that each took to be read.
        self._kept: dict[_Asked, tuple[float, KeyRecord]] = {}
        # Which forgetting was the latest: what began to be read before it is not kept.
        self._forgotten = 0
        # Who asks for what is being read waits for that: a key that all use is read once.
        self._under_way: dict[_Asked, asyncio.Future[KeyRecord | None]] = {}

    def forget(self, _news: object = None) -> None:
        """Something has changed, here or elsewhere: all that was read is read anew."""
        self._kept.clear()
        self._under_way.clear()
        self._forgotten += 1

    def reading(self, *, anew: bool = False) -> "Reading":
        """For one call: finds recent records, or with `anew` none."""
        return Reading(self, anew)

    async def look(self, use: Callable[["Reading"], Awaitable[T]]) -> T:
        """What comes of `use`; tried again with a fresh record if a recent one was not enough.

        Not enough is a Refusal, or None.
        """
        reading = self.reading()
        try:
            result = await use(reading)
            if result is not None or not reading.recent:
                return result
        except Refusal:
            if not reading.recent:
                raise
        return await use(self.reading(anew=True))

    def recent(self, asked: _Asked) -> KeyRecord | None:
        """What was found a moment ago."""
        kept = self._kept.get(asked)
        return kept[1] if kept is not None and self._clock() < kept[0] else None

    def under_way(self, asked: _Asked) -> "asyncio.Future[KeyRecord | None] | None":
        """What somebody else is reading. It is cancelled if that comes to nothing."""
        return self._under_way.get(asked)

    async def read(self, asked: _Asked) -> KeyRecord | None:
        """What there is now. Raises what the lookup raises."""
        told: asyncio.Future[KeyRecord | None] = asyncio.get_running_loop().create_future()
        self._under_way[asked] = told
        try:
            record = await self._read(asked)
            told.set_result(record)
            return record
        finally:
            told.cancel()
            if self._under_way.get(asked) is told:
                del self._under_way[asked]

    async def _read(self, asked: _Asked) -> KeyRecord | None:
        began, forgotten = self._clock(), self._forgotten
        key_id, tenants, after, limit = asked
        record = await self._lookup.find(key_id, tenants=tenants, after=after, limit=limit)
        if record is not None and forgotten == self._forgotten and len(record.roles) <= MOST_ROLES:
            self._keep(asked, began + GOOD_FOR, record)
        return record

    def _keep(self, asked: _Asked, end: float, record: KeyRecord) -> None:
        self._kept.pop(asked, None)
        self._kept[asked] = (end, record)
        if len(self._kept) > MOST:
            del self._kept[next(iter(self._kept))]


class Reading:
    """One call's way to the keys. Implements `ports.KeyLookup`."""

    __slots__ = ("_anew", "_keys", "recent")

    def __init__(self, keys: RecentKeys, anew: bool) -> None:
        self._keys = keys
        self._anew = anew
        #: Whether any record that was found may be outdated.
        self.recent = False

    async def find(
        self,
        key_id: str,
        *,
        tenants: Sequence[str] | None = None,
        after: str = "",
        limit: int = 20,
    ) -> KeyRecord | None:
        """See `ports.KeyLookup`."""
        asked = (key_id, None if tenants is None else tuple(tenants), after, limit)
        if not self._anew:
            record = self._keys.recent(asked)
            if record is None and (told := self._keys.under_way(asked)) is not None:
                await asyncio.wait([told])  # which cancels nobody else's waiting
                record = None if told.cancelled() else told.result()
            if record is not None:
                self.recent = True
                return record
        return await self._keys.read(asked)
