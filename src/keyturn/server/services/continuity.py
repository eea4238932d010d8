"""Noticing that the database is a copy of an earlier time.

What was revoked since that copy was made works again in it, and nothing in it says so. So someone
outside (`ports.Memory`: Redis, or a file beside SQLite's) remembers an event of the audit trail.
A database that lacks it has gone back: it was the newest but for seconds, and is not deleted until
a later one is as old as events get here (`ports.Housekeeping`), a day at least.

The event is `BEHIND` old when it is written down: a failover to a replica that lost the last few
seconds is no restore.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from datetime import datetime, timedelta

from ..domain.errors import StorageNotReady, Unavailable
from ..domain.ids import made_at
from .ports import Memory, Store

log = logging.getLogger(__name__)

#: How old an event is at least when it is remembered.
BEHIND = timedelta(seconds=10)
#: How much clocks may differ, and an event's id be older than what its row says.
MARGIN = timedelta(minutes=5)
#: Seconds between two looks.
INTERVAL = 10.0

_GONE_BACK = (
    "The database is older than it was when it was served: a copy was restored, in which"
    " credentials work that were revoked since. Run `keyturn restored` once, which ends them,"
    " before a node starts."
)


class Continuity:
    """Looks whether the database has gone back, and remembers how far it is."""

    def __init__(self, store: Store, memory: Memory, audit_kept: timedelta = timedelta(0)) -> None:
        """`audit_kept`: how long events are kept; zero: for ever."""
        self._store = store
        self._memory = memory
        self._audit_kept = audit_kept
        #: Whether the database was found to have gone back after the start.
        self.broken = False

    async def check(self) -> None:
        """Raises StorageNotReady when it has gone back, Unavailable when nobody can tell."""
        await self._looked()

    async def remember(self) -> None:
        """Writes down the newest event, `BEHIND` old. Raises as `check`: then nothing is written.

        It may have gone back while it was served, too.
        """
        installation, known, newest = await self._looked()
        if installation is not None and newest is not None and newest != known:
            await self._memory.keep(installation, newest)

    async def _looked(self) -> tuple[str | None, str | None, str | None]:
        """The installation, the event that is remembered, and the one to remember."""
        async with self._store.transaction() as tx:
            root = await tx.tenants.root()
        if root is None:
            return None, None, None
        known = await self._memory.recall(root.id)
        async with self._store.transaction() as tx:
            now = await tx.now()
            if known is not None and not await tx.audit.has(known):
                if not self._deleted(known, now):
                    raise StorageNotReady(_GONE_BACK)
                log.info("the event that is remembered is too old to be there: another one is")
            newest = await tx.audit.newest(now - BEHIND)
        return root.id, known, None if newest is None else newest.id

    def _deleted(self, event_id: str, now: datetime) -> bool:
        """Whether housekeeping may have deleted it: then it tells nothing. A memory is that old
        when it could not be reached for as long, or was itself restored from a copy.
        """
        return bool(self._audit_kept) and made_at(event_id) < now - self._audit_kept + MARGIN

    async def run(self) -> None:
        """Remembers for ever. Ends by cancellation only."""
        while True:
            try:
                await self.remember()
                self.broken = False
            except StorageNotReady as error:
                if not self.broken:
                    log.error("%s", error)
                self.broken = True
            except Unavailable as error:
                log.debug("how far the database is was not written down: %s", error.detail)
            except Exception as error:  # noqa: BLE001 - the loop must not end
                log.warning("how far the database is cannot be looked at: %s", type(error).__name__)
            await asyncio.sleep(INTERVAL)

    async def health(self) -> str:
        """For readiness. Raises Unavailable once it is known to have gone back."""
        if self.broken:
            raise Unavailable("the database was restored from a copy")
        return "ok"


@contextlib.asynccontextmanager
async def continuity(
    store: Store, memory: Memory | None, audit_kept: timedelta = timedelta(0)
) -> AsyncIterator[Continuity | None]:
    """Looks, and then remembers until the end of the block. None where nobody remembers.

    Raises StorageNotReady when the database has gone back. A memory that is away is asked later.
    """
    if memory is None:
        yield None
        return
    work = Continuity(store, memory, audit_kept)
    with contextlib.suppress(Unavailable):
        await work.check()
    task = asyncio.create_task(work.run(), name="continuity")
    try:
        yield work
    finally:
        task.cancel()
        await asyncio.wait([task])
