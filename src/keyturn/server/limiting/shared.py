"""Counts that nodes share: each counts for itself and tells Redis four times a second.

So no request waits for Redis, and when it is slow or away each node's own counts hold. What
several nodes let pass together before they know of each other is, of any limit, at most what comes
within that time and a fiftieth for each node: a name is told of from there on.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Mapping
from typing import Protocol

from limits.errors import StorageError

from ..services.ports import Rate
from .memory import Windows

log = logging.getLogger(__name__)

#: Seconds between two times that it is told, and after one that failed.
INTERVAL, PAUSE = 0.25, 1.0
#: Names told of at a time, the most used first, and how many at once.
MOST_TOLD, AT_ONCE = 500, 20
#: Which part of a limit a name must have used to be told of.
SHARE = 50


class SharedWindows(Windows):
    """Remembers which names there is news of."""

    __slots__ = ("news",)

    def __init__(self, rate: Rate) -> None:
        super().__init__(rate)
        self.news: set[str] = set()

    def hit(self, name: str) -> float:
        """See `ports.Counter`."""
        wait = super().hit(name)
        if not wait:
            self.news.add(name)
        return wait


class Storage(Protocol):
    """What is used of `limits`' storage."""

    async def incr(self, key: str, expiry: int, amount: int = 1) -> int: ...
    async def get(self, key: str) -> int: ...


class Sharing:
    """Brings the counts of several nodes together. `timeout` (seconds) is for one of its rounds."""

    def __init__(
        self, storage: Storage, counters: Mapping[str, SharedWindows], *, timeout: float
    ) -> None:
        self._storage = storage
        self._counters = counters
        self._timeout = timeout
        # What is known to Redis of this node's counts, by limit: window, and name to count.
        self._known: dict[str, tuple[int, dict[str, int]]] = {}
        self._again: dict[str, set[str]] = {}
        self._away = False

    async def run(self) -> None:
        """Tells and is told until it is cancelled."""
        while True:
            await asyncio.sleep(INTERVAL)
            try:
                await self.round()
            except (StorageError, OSError, TimeoutError) as error:
                if not self._away:
                    log.warning(
                        "limits are counted by this process alone: %s", type(error).__name__
                    )
                self._away = True
                await asyncio.sleep(PAUSE)
            else:
                if self._away:
                    log.warning("limits are counted by all nodes together again")
                self._away = False

    async def round(self) -> None:
        """Tells of all that is new. Raises StorageError, OSError, TimeoutError."""
        async with asyncio.timeout(self._timeout):
            for limit, windows in self._counters.items():
                await self._tell(limit, windows)

    async def _tell(self, limit: str, windows: SharedWindows) -> None:
        windows.left("")  # so that the window is the present one
        index, known = self._known.get(limit, (0, {}))
        if index != windows.index:
            index, known = windows.index, {}
            self._known[limit] = (index, known)
        least = max(1, windows.rate.amount // SHARE)
        # Whom several nodes told of at once, each but the last has to ask about once more.
        again = self._again.pop(limit, set())
        counts = windows.now
        news = [(counts.get(name, 0) - known.get(name, 0), name) for name in windows.news | again]
        new = [item for item in news if counts.get(item[1], 0) >= least and item[0] >= 0]
        new.sort(reverse=True)
        chosen = new[:MOST_TOLD]
        # Only what is counted still: it stays bounded.
        windows.news = {name for _, name in new[MOST_TOLD:]}
        self._again[limit] = {name for count, name in chosen if count}
        for first in range(0, len(chosen), AT_ONCE):
            part = chosen[first : first + AT_ONCE]
            told = (self._one(limit, windows, index, known, *item) for item in part)
            try:
                await asyncio.gather(*told)
            except BaseException:
                windows.news.update(name for _, name in chosen[first:])
                raise

    async def _one(
        self,
        limit: str,
        windows: SharedWindows,
        index: int,
        known: dict[str, int],
        new: int,
        name: str,
    ) -> None:
        window = windows.rate.window
        if name not in known:
            # What others counted in the window before is news as well.
            before = await self._storage.get(f"{limit}:{name}:{index - 1}")
            if windows.index == index:
                windows.before[name] = max(before, windows.before.get(name, 0))
        total = await self._storage.incr(f"{limit}:{name}:{index}", 2 * window, new)
        if windows.index != index or name not in windows.now:
            return
        # Meanwhile it may have been counted on.
        since = windows.now.get(name, 0) - (known.get(name, 0) + new)
        windows.now[name] = total + max(0, since)
        known[name] = total


@contextlib.asynccontextmanager
async def shared(
    storage: Storage, counters: Mapping[str, SharedWindows], *, timeout: float
) -> AsyncIterator[None]:
    """For as long as it is entered, the counts are shared."""
    task = asyncio.create_task(Sharing(storage, counters, timeout=timeout).run())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
