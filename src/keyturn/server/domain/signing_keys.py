"""How signing keys rotate (promise P6): from the keys there are to the steps that are due.

A key goes through the slots `next` (published, so that verifiers have it), `current` (signs) and
`retired` (published still, since tokens of it live), and is deleted. Each algorithm that somebody
asks for has its own current and next one.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from .errors import conflict
from .model import StoredSigningKey


class Slot(StrEnum):
    """Where a key stands."""

    NEXT = "next"
    CURRENT = "current"
    RETIRED = "retired"


@dataclass(frozen=True, slots=True)
class KeyAges:
    """How long keys stay in their slots, in seconds.

    `rotate_after`: a current key signs so long; 0: until it is rotated by hand. `publish_for`:
    every verifier has read the published keys anew since. `keep_retired`: no token is left that
    was signed before, not even by a node that had not heard.
    """

    rotate_after: int
    publish_for: int
    keep_retired: int


@dataclass(frozen=True, slots=True)
class Ring:
    """All keys at a time, by the database's clock.

    `algorithm` is the setting's, `asked_for` those that resource servers want for themselves.
    """

    keys: tuple[StoredSigningKey, ...]
    now: datetime
    algorithm: str
    asked_for: frozenset[str] = frozenset()

    def find(self, algorithm: str, slot: Slot) -> StoredSigningKey | None:
        """The one key in `next` or `current`."""
        for key in self.keys:
            if key.algorithm == algorithm and key.slot == slot:
                return key
        return None

    @property
    def wanted(self) -> frozenset[str]:
        """The algorithms that there must be keys of."""
        return self.asked_for | {self.algorithm}

    @property
    def current(self) -> tuple[StoredSigningKey, ...]:
        """The keys that sign, one an algorithm."""
        return tuple(key for key in self.keys if key.slot == Slot.CURRENT)

    def signer(self, ages: KeyAges) -> StoredSigningKey | None:
        """What signs for whoever does not ask for an algorithm.

        That is a key of the setting's algorithm. After the setting was changed it is the key
        that did before, until the new one was published long enough; when several could be it,
        the oldest.
        """
        key = self.find(self.algorithm, Slot.CURRENT)
        if key is not None and self.published(key, ages):
            return key
        former = [key for key in self.current if key.algorithm not in self.wanted]
        candidates = former if key is None else [*former, key]
        return min(candidates or self.current, key=lambda k: (k.created_at, k.kid), default=None)

    def published(self, key: StoredSigningKey, ages: KeyAges) -> bool:
        """Whether every verifier has it."""
        return self.now >= key.created_at + timedelta(seconds=ages.publish_for)

    def stands(self, key: StoredSigningKey, seconds: int) -> bool:
        """Whether it is that long in its slot."""
        return self.now >= key.slot_since + timedelta(seconds=seconds)


@dataclass(frozen=True, slots=True)
class Step:
    """Brings key `kid` (None: a new one) into `slot` (None: it is deleted)."""

    algorithm: str
    slot: Slot | None
    kid: str | None = None


def due(ring: Ring, ages: KeyAges) -> tuple[Step, ...]:
    """What must be done now, in this order. Nothing, once it was done."""
    return (
        *(step for name in sorted(ring.wanted) for step in _kept_up(ring, name, ages)),
        *_given_up(ring, ages),
        *(
            Step(key.algorithm, None, key.kid)
            for key in ring.keys
            if key.slot == Slot.RETIRED and ring.stands(key, ages.keep_retired)
        ),
    )


def _kept_up(ring: Ring, algorithm: str, ages: KeyAges) -> tuple[Step, ...]:
    """The steps of an algorithm that is asked for: there is always a next key, ahead of need."""
    current, following = ring.find(algorithm, Slot.CURRENT), ring.find(algorithm, Slot.NEXT)
    if current is None:
        # Where no key signs, no verifier knows one: there is nothing to wait for.
        at_once = algorithm == ring.algorithm and not ring.current
        if at_once or (following is not None and ring.stands(following, ages.publish_for)):
            return promoted(ring, algorithm)
    elif following is not None and ages.rotate_after and ring.stands(current, ages.rotate_after):
        return promoted(ring, algorithm) if ring.stands(following, ages.publish_for) else ()
    return () if following is not None else (Step(algorithm, Slot.NEXT),)


def _given_up(ring: Ring, ages: KeyAges) -> Iterable[Step]:
    """The steps of algorithms that nobody asks for any more, once the setting's has taken over.

    Nodes whose settings differ, as during an upgrade, do not agree on what is asked for: so that
    they do not undo each other's steps all the time, none is taken sooner than `publish_for`.
    """
    successor = ring.find(ring.algorithm, Slot.CURRENT)
    if successor is None or not ring.stands(successor, ages.publish_for):
        return
    for key in ring.keys:
        if key.algorithm not in ring.wanted and ring.stands(key, ages.publish_for):
            if key.slot == Slot.CURRENT:
                yield Step(key.algorithm, Slot.RETIRED, key.kid)
            elif key.slot == Slot.NEXT:
                yield Step(key.algorithm, None, key.kid)


def promoted(ring: Ring, algorithm: str) -> tuple[Step, ...]:
    """The next key, or a new one, signs from now on, and another one is made to follow it."""
    current, following = ring.find(algorithm, Slot.CURRENT), ring.find(algorithm, Slot.NEXT)
    retired = (Step(algorithm, Slot.RETIRED, current.kid),) if current else ()
    kid = following.kid if following else None
    return (*retired, Step(algorithm, Slot.CURRENT, kid), Step(algorithm, Slot.NEXT))


def first(ring: Ring, algorithm: str) -> tuple[Step, ...]:
    """The keys of an algorithm that a resource server, new as well, is the first to ask for.

    The key signs at once. That is safe: before, there was no token of that algorithm which its
    verifiers could have refused, and nobody else gets one now. What the setting asks for keeps to
    its time, since that key is for everybody.
    """
    if algorithm == ring.algorithm or ring.find(algorithm, Slot.CURRENT):
        return ()
    return promoted(ring, algorithm)


def rotation(ring: Ring, algorithm: str, ages: KeyAges) -> tuple[Step, ...]:
    """The steps of a rotation by hand.

    Raises Refusal `conflict` when the next key was not published long enough, with the time from
    when on it was, or when there is none.
    """
    following = ring.find(algorithm, Slot.NEXT)
    if following is None:
        raise conflict("No key of this algorithm stands in the slot next.")
    if not ring.stands(following, ages.publish_for):
        ready = ready_at(following, ages).strftime("%Y-%m-%dT%H:%M:%SZ")
        raise conflict(
            "Verifiers may not have the next key yet: before"
            f" {ready} a rotation would have them refuse good tokens."
        )
    return promoted(ring, algorithm)


def emergency(ring: Ring, key: StoredSigningKey) -> tuple[Step, ...]:
    """The steps that take a key away at once, whoever needs it still."""
    gone = Step(key.algorithm, None, key.kid)
    if key.slot == Slot.CURRENT:
        _, *steps = promoted(ring, key.algorithm)
        return (gone, *steps)
    return (gone, Step(key.algorithm, Slot.NEXT)) if key.slot == Slot.NEXT else (gone,)


def renewed(ring: Ring, *, retire: bool = False) -> tuple[Step, ...]:
    """The steps that put new keys in the place of all there are.

    `retire`: those that sign now stay published until their tokens have ended. Those that follow
    them go in any case.
    """
    kept = {key.kid for key in ring.keys if retire and key.slot != Slot.NEXT}
    return (
        *(Step(key.algorithm, None, key.kid) for key in ring.keys if key.kid not in kept),
        *(Step(key.algorithm, Slot.RETIRED, key.kid) for key in ring.current if key.kid in kept),
        *(
            Step(algorithm, slot)
            for algorithm in sorted(ring.wanted)
            for slot in (Slot.CURRENT, Slot.NEXT)
        ),
    )


def displaced(ring: Ring, algorithm: str) -> tuple[Step, ...]:
    """The step that makes room in `next`: nobody has a token of the key that stands there."""
    key = ring.find(algorithm, Slot.NEXT)
    return () if key is None else (Step(algorithm, None, key.kid),)


def ready_at(key: StoredSigningKey, ages: KeyAges) -> datetime:
    """When a next key was published long enough to sign. Whole seconds: never too early."""
    ready = key.slot_since + timedelta(seconds=ages.publish_for)
    return ready if not ready.microsecond else ready.replace(microsecond=0) + timedelta(seconds=1)


def signs_from(ring: Ring, key: StoredSigningKey, ages: KeyAges) -> datetime | None:
    """When a key began to sign, or will by itself; None: not before somebody rotates by hand."""
    if key.slot == Slot.CURRENT:
        return key.slot_since
    if key.slot == Slot.RETIRED or key.algorithm not in ring.wanted:
        return None
    current = ring.find(key.algorithm, Slot.CURRENT)
    if current is None:
        return ready_at(key, ages)
    if not ages.rotate_after:
        return None
    return max(ready_at(key, ages), current.slot_since + timedelta(seconds=ages.rotate_after))


def removed_at(key: StoredSigningKey, ages: KeyAges) -> datetime | None:
    """When a retired key is deleted; None for the others."""
    if key.slot != Slot.RETIRED:
        return None
    return key.slot_since + timedelta(seconds=ages.keep_retired)
