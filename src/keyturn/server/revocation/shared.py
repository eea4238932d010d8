"""When this node trusts Redis, and when not.

    down ── connected ──> filling ── marker written ──> trusted
     ^                       │                             │
     └────── any fault ──────┴──── fault, marker gone ─────┘

Only while it is trusted are questions put to Redis; in the other states the database answers. A
node trusts Redis when the marker is right and no write of its own was missed. Else it lays its
own, complete copy over Redis first and writes the marker: that is filling.

No question ever pays for a Redis that is away: the one that meets the fault waits `timeout`, and
from then on only the keeper, in the background, tries whether Redis is back.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from enum import StrEnum

from ..domain.errors import KeyturnError
from ..domain.model import Revocation
from ..domain.revocations import Subject, still_counts
from ..services.ports import Clock
from ..spans import span
from .gathering import Gathering
from .memory import LocalCopy
from .redis import WRITTEN_AT_ONCE, Link, Reading, RedisFault
from .redis_addresses import check_url

logger = logging.getLogger(__name__)

#: How long after a fault Redis is left alone, and how often it is looked at when it is well
#: (seconds).
PAUSE = 0.5
#: Every how many looks its settings are read again.
LOOKS_PER_POLICY = 10


_SYSTEM = {"db.system.name": "redis"}


class Trust(StrEnum):
    """What this node thinks of Redis."""

    DOWN = "down"
    FILLING = "filling"
    TRUSTED = "trusted"


def may_evict(policy: str) -> bool:
    """Whether a Redis with that `maxmemory-policy` (empty: not told) may drop entries."""
    return policy not in {"", "noeviction"}


class SharedCopy:
    """The list in Redis, as far as it can be trusted.

    `catch_up` brings the local copy in step with the database. Raises ValueError for a URL that
    is none of a Redis.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout: float,
        local: LocalCopy,
        clock: Clock,
        catch_up: Callable[[], Awaitable[None]],
    ) -> None:
        check_url(url)
        self._url = url
        self._timeout = timeout
        self._local = local
        self._clock = clock
        self._catch_up = catch_up
        self._trust = Trust.DOWN
        self._link: Link | None = None
        self._reason = "not connected yet"
        self._policy: str | None = None
        self._looks = 0
        # True from the first write that may not have reached Redis until the next filling.
        self._missed = False
        # Whether the local copy was ever complete.
        self._caught_up = False
        self._late: list[Revocation] = []
        self._wake = asyncio.Event()
        # The keeper's rounds: which one it began last, which one has ended, and who waits for it.
        self._round = 0
        self._ended = 0
        self._round_ended = asyncio.Event()
        # Twice the timeout: for what is under way, and for its own.
        self._patience = patience = timeout * 2
        self._read = Gathering(self._read_now, at_once=1, patience=patience, name="redis read")
        self._write = Gathering(self._write_now, at_once=1, patience=patience, name="redis write")
        #: Set after the first attempt to connect and fill, whatever its outcome.
        self.tried = asyncio.Event()

    @property
    def trusted(self) -> bool:
        """Whether to ask at all."""
        return self._trust is Trust.TRUSTED

    @property
    def evicts(self) -> bool:
        """Whether Redis may have dropped entries although the marker is still there."""
        return self._policy is not None and may_evict(self._policy)

    @property
    def trouble(self) -> str:
        """What an operator should know; empty when there is nothing."""
        if self._trust is Trust.DOWN:
            return f"Redis is not in use: {self._reason}"
        if self._trust is Trust.FILLING:
            return "Redis is being filled"
        if self.evicts:
            return f"Redis drops entries when its memory is full (maxmemory-policy {self._policy})"
        return ""

    async def find(self, subjects: Sequence[Subject]) -> dict[Subject, Revocation] | None:
        """What Redis holds of `subjects`. None: it is not to be trusted."""
        if not self.trusted:
            return None
        try:
            with span("redis read", _SYSTEM, outward=True):
                reading = await self._read(subjects)
        except (RedisFault, KeyturnError):
            return None
        if not reading.complete:
            return None
        now = self._clock()
        return {
            subject: entry
            for subject in subjects
            if (entry := reading.found.get(subject)) is not None and still_counts(entry, now)
        }

    async def write(self, entries: Sequence[Revocation]) -> None:
        """Writes committed entries, if Redis is there. Never raises: it is filled again then.

        A Redis that is down for this node may be back, and others may trust it again. So a
        write, which is rare, has the keeper look, and waits for what it finds.
        """
        if self._trust is not Trust.DOWN:
            try:
                # In parts, each with its own time: a suspension may be that of very many tenants.
                for start in range(0, len(entries), WRITTEN_AT_ONCE):
                    with span("redis write", _SYSTEM, outward=True):
                        await self._write(entries[start : start + WRITTEN_AT_ONCE])
                return
            except (RedisFault, KeyturnError) as fault:
                self._missed = True
                await self._distrust(str(fault))
        # The next filling takes them along: they are in the local copy.
        self._missed = True
        await self._another_round()

    def write_later(self, entries: Sequence[Revocation]) -> None:
        """Writes, in the background, what a tail delivered: its revoker may not have done so."""
        if self._trust is Trust.DOWN:
            self._missed = True
            return
        self._late.extend(entries)
        if self.trusted:
            self._wake.set()

    async def keep(self) -> None:
        """Connects, fills and watches Redis for ever. Ends by cancellation only."""
        while True:
            self._wake.clear()
            self._round += 1
            try:
                if self.trusted:
                    await self._look()
                else:
                    await self._regain()
            except RedisFault as fault:
                await self._distrust(str(fault))
            except Exception as error:  # noqa: BLE001 - a keeper that ends never comes back
                await self._distrust(type(error).__name__)
            self.tried.set()
            self._ended = self._round
            self._round_ended.set()
            self._round_ended = asyncio.Event()
            try:
                async with asyncio.timeout(PAUSE):
                    await self._wake.wait()
            except TimeoutError:
                pass

    async def close(self) -> None:
        """Ends what is under way and disconnects."""
        await self._read.close()
        await self._write.close()
        await self._disconnect()

    async def _another_round(self) -> None:
        """Waits, for a bounded time, for the end of a round that begins now."""
        before = self._round
        self._wake.set()
        try:
            async with asyncio.timeout(self._patience):
                while self._ended <= before:
                    await self._round_ended.wait()
        except TimeoutError:
            pass

    # --- trust -----------------------------------------------------------------------------

    async def _regain(self) -> None:
        await self._disconnect()
        link = self._link = await Link.open(self._url, self._timeout)
        # From here on entries are written as they come (`write`), and what came before is in the
        # local copy, or makes a filling necessary (`_missed`): nothing falls between.
        self._trust = Trust.FILLING
        await self._read_policy(link)
        if self._missed or not (await link.read(())).complete:
            await self._fill(link)
        elif not self._caught_up:
            await self._follow()
        if self._link is link:
            self._trust = Trust.TRUSTED
            logger.info("the revocation list in Redis is in use")

    async def _fill(self, link: Link) -> None:
        self._missed = False
        done = False
        try:
            filling = await link.begin_filling()
            # Everything that was committed before `filling` was written is in the local copy
            # then; whatever is committed later is written by its revoker, or tailed.
            await self._follow()
            entries = self._local.entries()
            # What was lifted is not among them.
            self._late = [late for late in self._late if not still_counts(late, self._clock())]
            await link.fill(entries, self._clock())
            done = await link.end_filling(filling)
        finally:
            self._missed = self._missed or not done
        if not done:
            raise RedisFault("it was flushed while it was filled")
        logger.info("Redis was filled with %d revocations", len(entries))

    async def _follow(self) -> None:
        try:
            await self._catch_up()
        except KeyturnError as error:
            raise RedisFault("the database cannot be read, so it cannot be filled") from error
        self._caught_up = True

    async def _look(self) -> None:
        """Notices a fault or a flush even when nobody asks, and writes what came late."""
        await self._read(())
        if self._link is not None and self._late:
            late, self._late = self._late, []
            try:
                await self._link.fill(late, self._clock())
            except RedisFault:
                self._missed = True
                raise
        self._looks += 1
        if self._link is not None and self._looks % LOOKS_PER_POLICY == 0:
            await self._read_policy(self._link)

    async def _read_policy(self, link: Link) -> None:
        before, self._policy = self._policy, await link.eviction_policy()
        if self.evicts and before != self._policy:
            logger.warning(
                "Redis may drop revocations: its maxmemory-policy is %s, not noeviction. The "
                "database is asked whenever that could matter.",
                self._policy,
            )
        elif not self._policy and before is None:
            logger.warning(
                "Redis does not tell its maxmemory-policy: any but noeviction may drop revocations"
            )

    async def _distrust(self, reason: str) -> None:
        if self._trust is Trust.TRUSTED or reason != self._reason:
            logger.warning("Redis is not in use, the database is asked instead: %s", reason)
        self._trust = Trust.DOWN
        self._reason = reason
        await self._disconnect()

    async def _disconnect(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            await link.close()

    # --- what is gathered ------------------------------------------------------------------

    async def _read_now(self, subjects: Sequence[Subject]) -> Reading:
        link = self._usable()
        try:
            reading = await link.read(subjects)
        except RedisFault as fault:
            if self._link is link:
                await self._distrust(str(fault))
            raise
        if not reading.complete and self._link is link:
            await self._distrust("its marker is gone: flushed, restarted or replaced")
            # It answers, so there is no reason to wait.
            self._wake.set()
        return reading

    async def _write_now(self, entries: Sequence[Revocation]) -> None:
        link = self._usable()
        try:
            await link.write(entries, self._clock())
        except RedisFault as fault:
            self._missed = True
            if self._link is link:
                await self._distrust(str(fault))
            raise

    def _usable(self) -> Link:
        if self._link is None or self._trust is Trust.DOWN:
            raise RedisFault(self._reason)
        return self._link
