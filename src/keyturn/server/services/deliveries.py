"""Delivers events to webhooks: what audit rows left in the outbox, and again what failed.

Every node has this loop. A delivery belongs to the node that claimed it, for a while: when that
one dies, another takes it. So a receiver may be told twice, and knows by `webhook-id`. One webhook
has few calls at once, the node few webhooks, and of those each tenant and each organisation has
its share: a slow receiver keeps nobody else waiting, and nobody's slow receivers others.
"""

import asyncio
import contextlib
import logging
import random
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from datetime import timedelta
from functools import partial

from ..domain.errors import Unavailable
from ..domain.trail import AuditEvent
from ..domain.webhooks import Delivery, DeliveryState, Disabled, Webhook, pause_after
from .ports import Answered, Clock, Store, Tried, Waiting, WebhookSecrets, WebhookSender

log = logging.getLogger(__name__)

#: Seconds between two looks for what is due.
INTERVAL = 1.0
#: Webhooks of one node that are called at once, and calls at once to each.
WEBHOOKS, CALLS = 32, 4
#: Of these webhooks, how many of one tenant, and of one organisation: the tenants that stand below
#: one that is below the root, with it.
OF_TENANT, OF_ORGANISATION = 4, 8
#: How often a webhook gets that many calls before others have their turn.
TURNS = 8
#: How long claimed deliveries are left to who claimed them: longer than a try can take.
LEASE = timedelta(seconds=60)
#: Seconds that calls under way may finish in when the node stops.
FINISH = 3.0

# After these others have their turn at once.
_SLOW = ("timeout", "name_lookup_failed")
_GONE = 410  # RFC 9110, 15.5.11


class Deliverer:
    """Delivers what is due; `run` does so again and again."""

    def __init__(
        self,
        store: Store,
        sender: WebhookSender,
        secrets: WebhookSecrets,
        clock: Clock,
        *,
        agent: str = "keyturn",
        chance: Callable[[], float] = random.random,
    ) -> None:
        """`agent` is how calls name who makes them; `chance` spreads the pauses."""
        self._store = store
        self._sender = sender
        self._secrets = secrets
        self._clock = clock
        self._agent = agent
        self._chance = chance
        self._woken = asyncio.Event()
        self._stopping = False
        self._serving: dict[Waiting, asyncio.Task[None]] = {}
        self._failing = False

    async def run(self) -> None:
        """A look each second until `stop`, and at once when woken."""
        # Nodes that were started together do not all come at once.
        wait = INTERVAL * self._chance()
        while not self._stopping:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._woken.wait()
            wait = INTERVAL
            self._woken.clear()
            if not self._stopping:
                await self._reported(self._begin())

    def wake(self) -> None:
        """Something is due now."""
        self._woken.set()

    async def stop(self, running: asyncio.Task[None]) -> None:
        """Ends `run`. Calls under way may finish, for a moment; the others fall to another node."""
        self._stopping = True
        self._woken.set()
        left: set[asyncio.Task[None]] = {running, *self._serving.values()}
        _, left = await asyncio.wait(left, timeout=FINISH)
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left)

    async def deliver(self) -> None:
        """All that is due now. Raises Unavailable."""
        await self._begin()
        while self._serving:
            await asyncio.wait(self._serving.values())

    async def _begin(self) -> None:
        """Begins to serve webhooks, as many as there is room for."""
        if len(self._serving) >= WEBHOOKS:
            return
        async with self._store.transaction() as tx:
            found = await tx.deliveries.waiting(await tx.now(), 2 * WEBHOOKS)
        for one in found:
            if self._has_room(one):
                task = asyncio.create_task(self._reported(self._serve(one.webhook_id)))
                self._serving[one] = task
                task.add_done_callback(partial(self._served, one))

    def _has_room(self, one: Waiting) -> bool:
        serving = self._serving
        if one in serving or len(serving) >= WEBHOOKS:
            return False
        of_tenant = sum(each.tenant_id == one.tenant_id for each in serving)
        of_all = sum(each.organisation_id == one.organisation_id for each in serving)
        return of_tenant < OF_TENANT and of_all < OF_ORGANISATION

    async def _serve(self, webhook_id: str) -> None:
        """Some turns for one webhook."""
        for _ in range(TURNS):
            if self._stopping:
                return
            async with self._store.transaction() as tx:
                webhook, claimed = await tx.deliveries.claim(
                    webhook_id, await tx.now(), lease=LEASE, at_most=CALLS
                )
            if webhook is None or not claimed:
                return
            answers = await asyncio.gather(*(self._try(webhook, one) for one in claimed))
            await self._record(webhook, claimed, answers)
            if any(answer.error in _SLOW for answer in answers):
                break
        self.wake()

    def _served(self, one: Waiting, _: object) -> None:
        del self._serving[one]

    async def _try(self, webhook: Webhook, delivery: Delivery) -> Answered:
        now, body = self._clock(), delivery.payload.encode()
        sent_at = str(int(now.timestamp()))
        content = f"{delivery.event_id}.{sent_at}.".encode() + body
        signature = self._secrets.signature(webhook, now, content)
        if signature is None:
            return Answered(None, "secret_unreadable")
        headers = {
            "content-type": "application/json",
            "user-agent": self._agent,
            "webhook-id": delivery.event_id,
            "webhook-timestamp": sent_at,
            "webhook-signature": signature,
        }
        return await self._sender.post(webhook.url, headers, body, webhook.tenant_id)

    async def _record(
        self, webhook: Webhook, claimed: Sequence[Delivery], answers: Sequence[Answered]
    ) -> None:
        async with self._store.transaction() as tx:
            now = await tx.now()
            tried = []
            for delivery, answer in zip(claimed, answers, strict=True):
                state, pause = self._outcome(delivery, answer)
                due_at = None if pause is None else now + pause
                tried.append(
                    Tried(delivery, state, due_at, answer.status, answer.error, answer.begun)
                )
            await tx.deliveries.record(tried, now)
            gone = any(answer.status == _GONE for answer in answers)
            if gone and await tx.webhooks.disable(webhook.id, now, Disabled.GONE):
                event = AuditEvent(
                    "webhook.disabled",
                    "done",
                    tenant_id=webhook.tenant_id,
                    target=webhook.id,
                    data={"reason": Disabled.GONE.value},
                )
                await tx.audit.add([event])
        for one in tried:
            if one.state is DeliveryState.DEAD:
                log.warning(
                    "a delivery to the webhook %s is dead after %d tries: %s",
                    webhook.id,
                    one.delivery.attempts,
                    one.error or one.status,
                )

    def _outcome(
        self, delivery: Delivery, answer: Answered
    ) -> tuple[DeliveryState, timedelta | None]:
        status = answer.status
        if status is not None and 200 <= status < 300:
            return DeliveryState.DELIVERED, None
        pause = None
        if not answer.begun:
            pause = pause_after(1, self._chance())
        elif status != _GONE:
            pause = pause_after(delivery.attempts, self._chance(), answer.retry_after)
        return (DeliveryState.DEAD if pause is None else DeliveryState.PENDING), pause

    async def _reported(self, work: Coroutine[None, None, None]) -> None:
        """Does it; what fails is made up for by the next look, or by the next claim."""
        try:
            await work
        except Exception as error:  # noqa: BLE001 - the loop must not end
            # Texts of foreign errors may quote values.
            why = error.detail if isinstance(error, Unavailable) else type(error).__name__
            if not self._failing:
                log.warning("deliveries to webhooks fail, and are tried again: %s", why)
            self._failing = True
        else:
            if self._failing:
                log.info("deliveries to webhooks work again")
            self._failing = False


@contextlib.asynccontextmanager
async def delivering(deliverer: Deliverer) -> AsyncIterator[None]:
    """The loop, at work until the end of the block."""
    task = asyncio.create_task(deliverer.run(), name="deliveries")
    try:
        yield
    finally:
        await deliverer.stop(task)
