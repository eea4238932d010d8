"""The port `RevocationList`, with and without Redis. What both promise: no answer from doubt."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ..domain.errors import Unavailable
from ..domain.model import Revocation, RevocationKind
from ..domain.revocations import Subject, stronger
from ..services.ports import Store
from .feed import Feed
from .follower import Follower
from .gathering import Gathering
from .memory import LocalCopy, lifted

if TYPE_CHECKING:
    from .shared import SharedCopy

#: These never come undone and never get stronger: the local copy's word is final.
FINAL = frozenset(
    {
        RevocationKind.TOKEN,
        RevocationKind.SESSION,
        RevocationKind.KEY,
        RevocationKind.SIGNING_KEY,
    }
)

#: Most queries for revocations at once; each is for many (`gathering.py`).
QUERIES_AT_ONCE = 2


@dataclass(frozen=True, slots=True)
class State:
    """For readiness. A degraded list is slower, or behind; it never answers wrongly."""

    status: Literal["ok", "degraded"]
    reason: str = ""


class Truth:
    """The database, asked for many at once."""

    def __init__(self, store: Store, *, patience: float) -> None:
        self._store = store
        self._gathered = Gathering(
            self._ask, at_once=QUERIES_AT_ONCE, patience=patience, name="database revocations"
        )

    async def find(self, subjects: Sequence[Subject]) -> dict[Subject, Revocation]:
        """Entries that still count. Raises `Unavailable`."""
        answer = await self._gathered(subjects)
        return {subject: answer[subject] for subject in subjects if subject in answer}

    async def close(self) -> None:
        """Stops asking."""
        await self._gathered.close()

    async def _ask(self, subjects: Sequence[Subject]) -> dict[Subject, Revocation]:
        async with self._store.transaction() as tx:
            found = await tx.revocations.find(subjects)
        return {(entry.kind, entry.subject): entry for entry in found}


class KeptList:
    """The list of a node: its local copy, Redis if there is one, and the truth behind them."""

    def __init__(
        self,
        local: LocalCopy,
        follower: Follower,
        truth: Truth,
        shared: "SharedCopy | None",
        feed: Feed,
    ) -> None:
        #: What resource servers follow.
        self.feed = feed
        self._local = local
        self._follower = follower
        self._truth = truth
        self._shared = shared

    async def find(self, subjects: Sequence[Subject]) -> tuple[Revocation, ...]:
        """Entries that still count. Raises `Unavailable` rather than answer from doubt."""
        known = self._local.find(subjects)
        asked = [
            subject
            for subject in dict.fromkeys(subjects)
            if subject[0] not in FINAL or subject not in known
        ]
        found = await self._look_up(asked) if asked else {}
        # Read again: what was published during the look-up counts as well.
        for subject, entry in self._local.find(subjects).items():
            if subject[0] is not RevocationKind.TENANT:
                other = found.get(subject)
                found[subject] = stronger(entry, other) if other else entry
        return tuple(found.values())

    async def publish(self, entries: Sequence[Revocation]) -> None:
        """Makes committed entries known at once; one in the past ends a suspension.

        Never raises: what Redis does not take is heard by the other nodes' tails.
        """
        self._follower.tell(entries)
        if self._shared is not None:
            await self._shared.write(entries)

    def listen(self, listener: Callable[[Sequence[Revocation]], None]) -> None:
        """Has `listener` called with what this node's tail hears of, or `publish` is given.

        With nothing, when something may have changed that is no revocation.
        """
        self._follower.listeners.append(listener)

    def state(self) -> State:
        """Whether all is as it should be, and if not, what an operator should know."""
        troubles = [self._follower.trouble, self._shared.trouble if self._shared else ""]
        reason = "; ".join(trouble for trouble in troubles if trouble)
        return State("degraded", reason) if reason else State("ok")

    @property
    def size(self) -> int:
        """Entries in the local copy."""
        return len(self._local)

    @property
    def age(self) -> float:
        """All that was committed until so many seconds ago is known here."""
        return self._follower.age

    @property
    def skew(self) -> float:
        """Seconds by which the database's clock is ahead of this process's."""
        return self._follower.skew

    async def _look_up(self, subjects: Sequence[Subject]) -> dict[Subject, Revocation]:
        """The fastest answer that is beyond doubt."""
        if self._shared is None:
            if self._follower.fresh:
                return self._local.find(subjects)
            return await self._truth.find(subjects)
        if not self._follower.fresh:
            # Somebody may have revoked who cannot reach Redis, and the tail is late.
            try:
                return await self._truth.find(subjects)
            except Unavailable:
                # Nobody revokes either while the database is away: what Redis has is all.
                if self._shared.evicts:
                    raise
        found = await self._shared.find(subjects)
        if found is None:
            return await self._truth.find(subjects)
        known = self._local.find(subjects)
        if any(self._contested(subject, known, found) for subject in subjects):
            truth = await self._truth.find(subjects)
            await self._shared.write(
                [
                    truth.get(subject) or lifted(subject)
                    for subject in subjects
                    if self._contested(subject, known, found)
                ]
            )
            return truth
        return found

    @staticmethod
    def _contested(
        subject: Subject, known: dict[Subject, Revocation], found: dict[Subject, Revocation]
    ) -> bool:
        """Whether only one of local copy and Redis calls a tenant suspended.

        It was suspended or resumed a moment ago, or Redis came back with an old snapshot: a
        filling adds what is missing there, but cannot know what is there too much.
        """
        return subject[0] is RevocationKind.TENANT and (subject in known) != (subject in found)
