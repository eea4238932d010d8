"""Keeps the local copy in step with the database, by its tail."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from datetime import datetime

from ..domain.errors import KeyturnError, Unavailable
from ..domain.model import Revocation, RevocationKind
from ..domain.revocations import Subject, still_counts
from ..services.counts import Counts
from ..services.ports import Clock, Store, Tail
from .memory import LocalCopy, lifted

logger = logging.getLogger(__name__)

#: For how many seconds the local copy is as good as the database. Counted from the start of the
#: tail that read it, so that it holds everything that was committed until then: together they
#: keep "refused everywhere within a second", whatever a tail takes.
FRESH_FOR = 1.0
#: How many entries of a long tail are taken in before others get their turn (about 2 ms).
LEARNED_AT_ONCE = 1000
#: After so long without a tail everything is read anew (seconds): the database does not keep
#: for ever what it would have told.
ALL_ANEW_AFTER = 600.0
#: Between two tails, however often it is woken (seconds).
SHORTEST_PAUSE = 0.01
#: A node that has not read the database for this long says so (seconds). Longer than `FRESH_FOR`:
#: one slow tail is no news for an operator.
REPORTED_AFTER = 3.0


class Follower:
    """Reads what is new, and says how fresh the local copy is."""

    def __init__(
        self,
        store: Store,
        local: LocalCopy,
        *,
        interval: float,
        clock: Clock,
        counts: Counts | None = None,
    ) -> None:
        self._store = store
        self._local = local
        self._interval = interval
        #: Called with what a tail delivered that was not known here.
        self.on_news: Callable[[Sequence[Revocation]], None] | None = None
        #: Called with what this node hears of, or makes itself; with nothing, when it may be much.
        self.listeners: list[Callable[[Sequence[Revocation]], None]] = []
        #: Called when a tail begins, and with its time when all that it told is known here.
        self.on_start: Callable[[], None] | None = None
        self.on_end: Callable[[datetime], None] | None = None
        self._clock = clock
        self._counts = counts or Counts()
        #: Seconds by which the database's clock is ahead of this process's, as far as a reading
        #: that takes a while can tell: 0 when it stood between the times before and after.
        self.skew = 0.0
        # Whether the tail under way was woken by another node's word.
        self._by = "tail"
        self._woken = asyncio.Event()
        self._cursor: str | None = None
        self._turn = asyncio.Lock()
        self._read_at: float | None = None
        self._told_meanwhile: set[Subject] = set()
        self._failing = False
        #: Set after the first attempt to fill the local copy, whatever its outcome.
        self.tried = asyncio.Event()

    @property
    def age(self) -> float:
        """Seconds since the last successful tail began; infinite before the first."""
        if self._read_at is None:
            return float("inf")
        return asyncio.get_running_loop().time() - self._read_at

    @property
    def fresh(self) -> bool:
        """Whether the local copy holds all that was committed up to `FRESH_FOR` seconds ago."""
        return self.age < FRESH_FOR

    @property
    def trouble(self) -> str:
        """What an operator should know; empty when there is nothing."""
        if self._read_at is None:
            return "the revocations have not been read from the database yet"
        if self.age > REPORTED_AFTER:
            return f"the database's revocations were last read {self.age:.0f} s ago"
        return ""

    def tell(self, entries: Sequence[Revocation]) -> None:
        """Takes in what was just committed here, before the tail delivers it."""
        now = self._clock()
        self._counts.revoked(entry.kind for entry in entries if still_counts(entry, now))
        for entry in entries:
            self._told_meanwhile.add((entry.kind, entry.subject))
            self._local.learn(entry)
        for listener in self.listeners:
            listener(entries)

    def wake(self) -> None:
        """Has the next tail begin soon: another node may have changed or revoked something."""
        self._woken.set()
        for listener in self.listeners:
            listener(())

    async def catch_up(self) -> None:
        """Takes in all that was committed before this call. Raises `Unavailable`."""
        async with self._turn:
            self._told_meanwhile.clear()
            started = asyncio.get_running_loop().time()
            cursor = self._cursor if self.age < ALL_ANEW_AFTER else None
            if self.on_start is not None:
                self.on_start()
            before = self._clock()
            async with self._store.transaction() as tx:
                tail = await tx.revocations.tail(cursor)
            self.skew = _outside(tail.at, before, self._clock())
            entries = tail.entries if cursor is not None else (*tail.entries, *self._gone(tail))
            news = []
            held_back = False
            took = asyncio.get_running_loop().time() - started
            # At the first reading, all of it is old.
            written = tail.written if cursor is not None else ()
            for number, entry in enumerate(entries, 1):
                if number % LEARNED_AT_ONCE == 0:
                    await asyncio.sleep(0)
                # A suspension told here while the tail was under way may be younger than the
                # tail's answer, or older. Only the next tail can tell; until then it stands.
                if (
                    entry.kind is RevocationKind.TENANT
                    and (entry.kind, entry.subject) in self._told_meanwhile
                ):
                    held_back = True
                elif self._local.learn(entry):
                    news.append(entry)
                    if number <= len(written):
                        age = (tail.at - written[number - 1]).total_seconds() + took
                        self._counts.propagation[self._by].add(max(age, 0.0))
            if not held_back:
                self._cursor = tail.cursor
                self._read_at = started
            if news:
                for listener in self.listeners:
                    listener(news)
            if not held_back and self.on_end is not None:
                self.on_end(tail.at)
        if news and self.on_news is not None:
            self.on_news(news)

    def _gone(self, tail: Tail) -> list[Revocation]:
        """Suspensions that are known here and no longer in `tail`, which holds all."""
        there = {entry.subject for entry in tail.entries if entry.kind is RevocationKind.TENANT}
        return [
            lifted((entry.kind, entry.subject))
            for entry in self._local.entries()
            if entry.kind is RevocationKind.TENANT and entry.subject not in there
        ]

    async def follow(self) -> None:
        """Tails for ever, `interval` seconds from start to start, and sooner when woken.

        Ends by cancellation only.
        """
        loop = asyncio.get_running_loop()
        while True:
            started = loop.time()
            self._by = "notify" if self._woken.is_set() else "tail"
            self._woken.clear()
            try:
                await self.catch_up()
                self._local.sweep()
            except Exception as error:  # noqa: BLE001 - a tail that ends is never heard again
                self._report(error)
            else:
                if self._failing:
                    logger.info("the revocations are read from the database again")
                self._failing = False
            self.tried.set()
            # Woken or not, it reads for a fifth of the time at most: a slow database, or one in
            # which very much is revoked, is not asked without a pause.
            took = loop.time() - started
            rest = max(self._interval - took, self._interval / 10)
            pause = min(max(4 * took, SHORTEST_PAUSE), rest)
            await asyncio.sleep(pause)
            try:
                async with asyncio.timeout(rest - pause):
                    await self._woken.wait()
            except TimeoutError:
                pass

    def _report(self, error: Exception) -> None:
        if not self._failing:
            logger.warning("the revocations cannot be read from the database: %s", _short(error))
        self._failing = True


def _outside(at: datetime, before: datetime, after: datetime) -> float:
    """Seconds by which `at` is later than `after`, or (negative) earlier than `before`."""
    if at > after:
        return (at - after).total_seconds()
    return min((at - before).total_seconds(), 0.0)


def _short(error: Exception) -> str:
    """An error for the log. Texts of foreign errors are not trusted to be free of secrets."""
    if isinstance(error, Unavailable):
        return error.detail
    return str(error) if isinstance(error, KeyturnError) else type(error).__name__
