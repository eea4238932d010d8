"""Tells tenants what time does to their keys: about to expire, expired, unused.

Every node has this loop. Of the tenants that have webhooks it takes one at a time, which no other
node takes for an hour, and looks through its keys page by page: no index is kept for that, which
every key that is made or used would pay for. What was told is not told again (`domain.events`), so
a look that broke off is made up for by the next one.
"""

import asyncio
import contextlib
import logging
import random
from collections.abc import AsyncIterator, Callable
from datetime import timedelta

from ..domain.errors import Unavailable
from ..domain.events import due_events
from ..domain.webhooks import Delivery, Webhook
from .ports import Slice, Store

log = logging.getLogger(__name__)

#: Seconds between two looks for tenants whose turn has come.
INTERVAL = 60.0
#: How often a tenant's turn comes.
EVERY = timedelta(hours=1)
#: Keys that are read in one transaction.
PAGE = 200
#: Seconds between two of these transactions.
PAUSE = 0.05


class KeyWatch:
    """Looks through keys; `run` does so again and again."""

    def __init__(self, store: Store, wake: Callable[[], None] = lambda: None) -> None:
        """`wake` is called when something is due to be delivered."""
        self._store = store
        self._wake = wake
        self._stopping = asyncio.Event()
        self._failing = False

    async def run(self) -> None:
        """A round a minute until `stop`. A round that fails is made up for by the next one."""
        # Nodes that were started together do not all come at once.
        wait = INTERVAL * random.random()  # noqa: S311 - no secret
        while not await self._stopped(wait):
            wait = INTERVAL
            try:
                await self.look()
            except Exception as error:  # noqa: BLE001 - the loop must not end
                self._report(error)
            else:
                self._failing = False

    def stop(self) -> None:
        """Lets `run` end after the transaction that is under way."""
        self._stopping.set()

    async def look(self) -> int:
        """Looks through the keys of all whose turn has come; how many events it found.

        Raises Unavailable; what was found until then is told.
        """
        found = 0
        while not self._stopping.is_set():
            async with self._store.transaction() as tx:
                webhook = await tx.webhooks.take_unchecked(await tx.now(), EVERY)
            if webhook is None:
                break
            found += await self._look_for(webhook)
        return found

    async def _look_for(self, webhook: Webhook) -> int:
        after: tuple[str, ...] | None = None
        found = 0
        while True:
            async with self._store.transaction() as tx:
                now = await tx.now()
                page = await tx.api_keys.at_home(webhook.tenant_id, Slice(PAGE, after))
                events = [
                    event
                    for key in page.items
                    for event in due_events(key, now, webhook.expiring_days, webhook.unused_days)
                    if webhook.wants(event.type)
                ]
                await tx.deliveries.add([Delivery.of(event, webhook, now) for event in events])
            if events:
                found += len(events)
                self._wake()
            if page.next is None or await self._stopped(PAUSE):
                return found
            after = page.next

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
            log.warning("looking through keys fails, and is tried again every minute: %s", why)
        self._failing = True


@contextlib.asynccontextmanager
async def watching_keys(watch: KeyWatch) -> AsyncIterator[None]:
    """The loop, at work until the end of the block."""
    task = asyncio.create_task(watch.run(), name="key events")
    try:
        yield
    finally:
        watch.stop()
        task.cancel()
        await asyncio.wait([task])
