"""Deletes what has ended, so that the database grows with what there is and not with time; and
counts up what happened, before that is deleted.

Every node has this loop; by the database's lock one of them works at a time. It works in small
transactions with pauses between, so that nobody waits for it.
"""

import asyncio
import contextlib
import logging
import random
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from datetime import timedelta

from ..domain.activity import MAX_STEPS
from ..domain.errors import Unavailable
from .ports import Perishable, Store

log = logging.getLogger(__name__)

#: Seconds between two rounds of one node.
INTERVAL = 60.0
#: Rows deleted in one transaction, at most.
BATCH = 500
#: Events counted up in one, at most: half a second's work.
EVENTS = 10_000
#: Seconds between two of these transactions.
PAUSE = 0.05

#: How long each is kept after its end.
KEPT: Mapping[Perishable, timedelta] = {
    # Until its absolute end, a session that ended before it needs its row: without one, its first
    # refresh token would be good again. And an hour for clocks that differ.
    Perishable.SESSIONS: timedelta(hours=1),
    # Longer than any node's tail may have been away, and go on where it was (revocation/follower).
    Perishable.REVOCATIONS: timedelta(hours=1),
    # However they were answered: so that people find what became of them.
    Perishable.INVITATIONS: timedelta(days=30),
    # Secrets stand in them, and nobody is answered with them any more.
    Perishable.KEPT_ANSWERS: timedelta(0),
    # Their end is that of the time that they are kept for (domain.webhooks).
    Perishable.WEBHOOK_DELIVERIES: timedelta(0),
    # So that the trail's newest ids of keys still name what they named.
    Perishable.SIGN_INS: timedelta(days=7),
    # As many days as one answer tells of (domain.activity).
    Perishable.ACTIVITY: timedelta(days=MAX_STEPS + 1),
}


class Housekeeper:
    """Deletes what has ended; `run` does so again and again."""

    def __init__(self, store: Store, kept: Mapping[Perishable, timedelta] = KEPT) -> None:
        self._store = store
        self._kept = kept
        self._stopping = asyncio.Event()
        self._failing = False

    async def run(self) -> None:
        """A round a minute until `stop`. A round that fails is made up for by the next one."""
        # Nodes that were started together do not all come at once.
        wait = INTERVAL * random.random()  # noqa: S311 - no secret
        while not await self._stopped(wait):
            wait = INTERVAL
            try:
                await self.tidy()
            except Exception as error:  # noqa: BLE001 - the loop must not end
                self._report(error)
            else:
                if self._failing:
                    log.info("housekeeping works again")
                self._failing = False

    def stop(self) -> None:
        """Lets `run` end after the transaction that is under way."""
        self._stopping.set()

    async def tidy(self) -> Counter[Perishable]:
        """Deletes until nothing is left, or another node is at it; says how many of what.

        Raises Unavailable; what was deleted until then stays so.
        """
        deleted: Counter[Perishable] = Counter()
        await self._count_up()
        try:
            for what in self._kept:
                while not self._stopping.is_set():
                    count = await self._delete_some(what)
                    deleted[what] += count
                    if count < BATCH:
                        break
                    await self._stopped(PAUSE)
            return deleted
        finally:
            if told := ", ".join(f"{count} {what}" for what, count in deleted.items() if count):
                log.debug("deleted what had ended: %s", told)

    async def _count_up(self) -> None:
        """What is counted may be deleted: the counts stay."""
        count = EVENTS
        while count == EVENTS and not self._stopping.is_set():
            async with self._store.transaction() as tx:
                if not await tx.housekeeping.lock():
                    return
                count = await tx.activity.roll_up(EVENTS)
            if count == EVENTS:
                await self._stopped(PAUSE)

    async def _delete_some(self, what: Perishable) -> int:
        async with self._store.transaction() as tx:
            if not await tx.housekeeping.lock():
                return 0
            return await tx.housekeeping.delete(what, kept=self._kept[what], at_most=BATCH)

    async def _stopped(self, seconds: float) -> bool:
        """Waits so long, or until `stop`; whether that was it."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        return self._stopping.is_set()

    def _report(self, error: Exception) -> None:
        # Texts of foreign errors may quote values.
        why = error.detail if isinstance(error, Unavailable) else type(error).__name__
        if not self._failing:
            log.warning("housekeeping fails, and is tried again every minute: %s", why)
        self._failing = True


@contextlib.asynccontextmanager
async def housekeeping(store: Store, audit_kept: timedelta = timedelta(0)) -> AsyncIterator[None]:
    """The loop, at work until the end of the block. `audit_kept`: zero keeps the trail for ever."""
    keeper = Housekeeper(
        store, {**KEPT, Perishable.AUDIT_EVENTS: audit_kept} if audit_kept else KEPT
    )
    task = asyncio.create_task(keeper.run(), name="housekeeping")
    try:
        yield
    finally:
        # Both: nobody waits for a database that does not answer, and a cancellation that a
        # library loses is not missed.
        keeper.stop()
        task.cancel()
        await asyncio.wait([task])
