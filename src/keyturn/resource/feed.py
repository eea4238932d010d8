"""Follows the service's feed of revocations, so that each token is judged without asking.

One long poll after the other. What is known is as old as the start of the last completed poll,
plus the `age` that its answer told: everything committed before is in it. Beyond `max_staleness`
the feed says nothing any more (Stale), and the verifier's policy decides.
"""

import asyncio
import logging
import random
import time
from collections.abc import Callable, Mapping
from math import inf
from typing import Any, Protocol

from ..client.steps import Moment
from .flights import Complaint
from .revocation import POLICY, Entries, Entry, Presented, Stale, Verdict
from .service import Fault, Service

log = logging.getLogger("keyturn.resource")

#: Entries asked for at once, and the longest answer that is read, in bytes.
LIMIT = 5_000
MAX_ANSWER = 4_194_304
#: More than this is no list that could be true (entries).
MAX_ENTRIES = 2_000_000
#: Pauses after a fault: the first, and the longest; after refused credentials (seconds).
FIRST_PAUSE, LONGEST_PAUSE, REFUSED_PAUSE = 0.2, 2.0, 10.0
#: From one poll's start to the next, when there is news (seconds).
LEAST_PAUSE = 0.05
#: How long `start` waits for the first complete list, and how often old entries are dropped.
START_PATIENCE = 5.0
SWEEP_EVERY = 60.0
MAX_CURSOR = 256
_MAX_WAIT = 30.0


class PolicyListener(Protocol):
    """Who wants to hear that a tenant's policy has changed."""

    def changed(self, subject: bytes) -> None:
        """That of this one has."""

    def all_changed(self) -> None:
        """News may have been missed."""


class RevocationFeed:
    """A source that keeps the whole list in memory.

    `tenant_id` is where this resource server has `tokens:introspect`. `max_staleness` in seconds.
    """

    def __init__(
        self,
        service: Service,
        tenant_id: str,
        *,
        max_staleness: float,
        listener: PolicyListener | None = None,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._service = service
        self._tenant_id = tenant_id
        self._max_staleness = max_staleness
        # An idle feed is two polls old just before the second one ends.
        self._wait = min(max_staleness / 4, _MAX_WAIT)
        self._listener = listener
        self._clock = clock
        self._monotonic = monotonic
        self._entries = Entries()
        # What replaces them, while it is being fetched.
        self._coming: Entries | None = None
        # Seconds after its issue from which the service takes no token any more.
        self._longest_life: float = inf
        self._cursor: str | None = None
        # Everything committed before this moment is known.
        self._true_at: Moment | None = None
        self._swept_at = monotonic()
        self._failures = 0
        self._complaint = Complaint("the revocation feed cannot be read")
        self._settled = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def staleness(self) -> float:
        """How old what is known is, in seconds; infinite before the first complete list.

        By the clock that went on further: one stands while the machine sleeps, one may be set back.
        """
        return float("inf") if self._true_at is None else self._true_at.age(self._now())

    @property
    def fresh(self) -> bool:
        """Whether it is no older than it may be."""
        return self.staleness <= self._max_staleness

    @property
    def told(self) -> bool:
        """Whether there was a complete list ever."""
        return self._true_at is not None

    def __len__(self) -> int:
        return len(self._entries)

    async def start(self) -> None:
        """Begins to follow; waits for the first complete list, but not for long."""
        if self._task is None or self._task.done():
            self._settled = asyncio.Event()
            self._task = asyncio.create_task(self._follow(), name="keyturn revocation feed")
        try:
            await asyncio.wait_for(self._settled.wait(), START_PATIENCE)
        except TimeoutError:
            log.warning("the revocation feed is not there yet; it is tried further")

    async def close(self) -> None:
        """Stops. What is known grows stale."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def find(self, text: str, presented: Presented, tenant_id: str | None) -> Verdict:
        """Never waits. Raises Stale."""
        now = self._clock()
        verdict = self._entries.verdict(presented.subjects, tenant_id, now)
        if presented.token.issued_at + self._longest_life <= now:
            # What ended it may be forgotten: the service refuses it by its age.
            verdict = Verdict.DEAD
        if not self.fresh:
            age = f"is {self.staleness:.1f} s old" if self.told else "was never read"
            raise Stale(f"the revocation feed {age}", verdict)
        return verdict

    async def _follow(self) -> None:
        while True:
            try:
                pause = await self.poll()
            except Exception as error:  # noqa: BLE001 - it goes on; what is known grows stale
                pause = self._pause(Fault.of(error))
            await asyncio.sleep(pause)

    async def poll(self) -> float:
        """One poll. The pause to make before the next one, in seconds."""
        began = self._now()
        params = {"limit": str(LIMIT)}
        if self._cursor is not None:
            params["cursor"] = self._cursor
            if self._coming is None and self._failures == 0:
                params["wait"] = f"{self._wait:.3f}"
        try:
            reply = await self._service.ask(
                "revocations",
                tenant_id=self._tenant_id,
                params=params,
                limit=MAX_ANSWER,
                wait=self._wait,
            )
            if reply.status == 400:
                self._cursor = self._coming = None  # it does not know the cursor any more
            document = reply.document()
            more = self._take(document, began)
        except Fault as fault:
            return self._pause(fault)
        self._failures = 0
        self._complaint.settled()
        if more:
            return 0.0
        # Neither a burst of news nor a service that does not wait makes this a busy loop.
        least = LEAST_PAUSE if document["entries"] else min(self._wait, FIRST_PAUSE)
        return max(0.0, least - (self._monotonic() - began.monotonic))

    def _now(self) -> Moment:
        return Moment(self._clock(), self._monotonic())

    def _take(self, answer: Mapping[str, Any], began: Moment) -> bool:
        """Takes in an answer, all of it or nothing; whether there is more to come."""
        listed, cursor, age = answer.get("entries"), answer.get("cursor"), answer.get("age")
        longest_life = answer.get("longest_life")
        more, reset = answer.get("more"), answer.get("reset")
        if (
            not isinstance(listed, list)
            or not isinstance(cursor, str)
            or not 0 < len(cursor) <= MAX_CURSOR
            or not isinstance(age, int | float)
            or not age >= 0
            or type(longest_life) is not int
            or longest_life <= 0
            or not isinstance(more, bool)
            or not isinstance(reset, bool)
        ):
            raise Fault("an answer of the feed is malformed")
        try:
            entries = [Entry.read(members) for members in listed]
        except (ValueError, AttributeError):
            raise Fault("an entry of the feed is malformed") from None
        if reset or self._cursor is None:
            self._coming = Entries()
        into = self._entries if self._coming is None else self._coming
        if len(into) + len(entries) > MAX_ENTRIES:
            self._cursor = self._coming = None
            raise Fault("the feed has too many entries")
        changed = [entry.subject for entry in entries if entry.kind == POLICY]
        for entry in entries:
            if entry.kind != POLICY:
                into.merge(entry)
        self._cursor = cursor
        self._longest_life = longest_life
        self._tell(changed)
        if not more:
            self._completed(Moment(began.wall - age, began.monotonic - age))
        return more

    def _completed(self, true_at: Moment) -> None:
        if self._coming is not None:
            self._entries, self._coming = self._coming, None
            if self._listener is not None:
                self._listener.all_changed()
        self._true_at = true_at
        self._settled.set()
        if self._monotonic() - self._swept_at >= SWEEP_EVERY:
            self._swept_at = self._monotonic()
            self._entries.sweep(self._clock())

    def _tell(self, changed: list[bytes]) -> None:
        if self._listener is not None:
            for subject in changed:
                self._listener.changed(subject)

    def _pause(self, fault: Fault) -> float:
        """With jitter, so that many resource servers do not come back at once."""
        self._complaint.about(fault)
        self._failures += 1
        if fault.retry_after is not None:
            pause = fault.retry_after
        elif fault.credentials_refused:
            pause = REFUSED_PAUSE
            self._settled.set()  # there is nothing to wait for
        else:
            pause = min(FIRST_PAUSE * 2 ** min(self._failures - 1, 10), LONGEST_PAUSE)
        return pause * random.uniform(0.75, 1.25)  # noqa: S311 - no secret
