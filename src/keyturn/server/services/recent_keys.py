"""API keys as they were read a moment ago: what is used again and again is read once a second.

Nothing is ever refused by a record that may be outdated. And what is granted by one is what would
have been granted `GOOD_FOR` seconds ago: a token made of it carries the epoch of that time, so that
whatever was revoked since has ended it before it is given out (promise P4). What ends nothing that
was given out (a secret that is replaced while its sessions go on) is so known within a second. All
records are forgotten as soon as this node makes a change, or hears of another node's.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from ..domain.errors import Refusal
from ..domain.model import KeyRecord
from .ports import KeyLookup
from .ports.turns import group

T = TypeVar("T")

#: How long a record is used, in seconds from when its reading began.
GOOD_FOR = 1.0
#: Most records that are kept, and what all of them may weigh: about 100 bytes each.
MOST = 1_000
MOST_WEIGHT = 100_000

_Asked = tuple[str, tuple[str, ...] | None, str, int]


@dataclass(frozen=True, slots=True)
class Found:
    """What was read: good until `end`, unless anything was `forgotten` since."""

    asked: _Asked
    record: KeyRecord | None
    end: float
    forgotten: int


class RecentKeys:
    """Keeps what `lookup` found."""

    def __init__(self, lookup: KeyLookup, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` in seconds."""
        self._lookup = lookup
        self._clock = clock
        # In the order of their ends, but for the time that each took to be read.
        self._kept: dict[_Asked, tuple[float, KeyRecord]] = {}
        self._weight = 0
        # Which forgetting was the latest: what began to be read before it is not kept.
        self._forgotten = 0
        # Who asks for what is being read waits for that: a key that all use is read once.
        self._under_way: dict[_Asked, asyncio.Future[KeyRecord | None]] = {}
        #: How often a record was there, and how often it had to be read.
        self.hits = 0
        self.misses = 0

    def forget(self, _news: object = None) -> None:
        """Something has changed, here or elsewhere: all that was read is read anew."""
        self._kept.clear()
        self._weight = 0
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
            if result is not None:
                reading.keep()
            if result is not None or not reading.recent:
                return result
        except Refusal:
            if not reading.recent:
                raise
        reading = self.reading(anew=True)
        result = await use(reading)
        if result is not None:
            reading.keep()
        return result

    def recent(self, asked: _Asked) -> KeyRecord | None:
        """What was found a moment ago."""
        kept = self._kept.get(asked)
        return kept[1] if kept is not None and self._clock() < kept[0] else None

    def under_way(self, asked: _Asked) -> "asyncio.Future[KeyRecord | None] | None":
        """What somebody else is reading. It is cancelled if that comes to nothing."""
        return self._under_way.get(asked)

    async def read(self, asked: _Asked) -> Found:
        """What there is now. Raises what the lookup raises."""
        told: asyncio.Future[KeyRecord | None] = asyncio.get_running_loop().create_future()
        self._under_way[asked] = told
        try:
            found = await self._read(asked)
            told.set_result(found.record)
            return found
        finally:
            told.cancel()
            if self._under_way.get(asked) is told:
                del self._under_way[asked]

    async def _read(self, asked: _Asked) -> Found:
        began, forgotten = self._clock(), self._forgotten
        key_id, tenants, after, limit = asked
        record = await self._lookup.find(key_id, tenants=tenants, after=after, limit=limit)
        return Found(asked, record, began + GOOD_FOR, forgotten)

    def keep(self, found: Found) -> None:
        """For whoever asks next: unless something has changed since it began to be read."""
        if found.record is None or found.forgotten != self._forgotten:
            return
        self._drop(found.asked)
        self._kept[found.asked] = (found.end, found.record)
        self._weight += _weight(found.record)
        now = self._clock()
        while self._kept:
            oldest = next(iter(self._kept))
            crowded = len(self._kept) > MOST or self._weight > MOST_WEIGHT
            if not crowded and now < self._kept[oldest][0]:
                return
            self._drop(oldest)

    def _drop(self, asked: _Asked) -> None:
        kept = self._kept.pop(asked, None)
        if kept is not None:
            self._weight -= _weight(kept[1])


def _weight(record: KeyRecord) -> int:
    """How much there is in it; a plain key's is about 50."""
    lists = (record.endpoint_ids or (), record.networks or (), record.opened or ())
    return 20 + sum(map(len, lists)) + sum(5 + len(item.role.permissions) for item in record.roles)


class Reading:
    """One call's way to the keys. Implements `ports.KeyLookup`."""

    __slots__ = ("_anew", "_found", "_keys", "recent")

    def __init__(self, keys: RecentKeys, anew: bool) -> None:
        self._keys = keys
        self._anew = anew
        self._found: list[Found] = []
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
                group.set(record.home_tenant_id)
                self.recent = True
                self._keys.hits += 1
                return record
        self._keys.misses += 1
        found = await self._keys.read(asked)
        self._found.append(found)
        return found.record

    def keep(self) -> None:
        """What was read did: it is kept. Nobody fills the memory with what they may not use."""
        for found in self._found:
            self._keys.keep(found)
