"""What ends a token, and where it can be learned: one interface, several sources (promise P4).

Whoever tells of a revocation names nobody: a subject is 16 bytes of SHA-256 over `<kind>:<id>`.
Who holds a token can compute the subjects that would end it, once, and look them up ever after.
"""

import base64
import binascii
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache
from typing import Any, Protocol

from .tokens import AccessToken

#: Kinds whose entries say below which epoch they end a token.
AGING = frozenset({"user", "everything"})
TENANT = "tenant"
#: No revocation: says that a tenant's roles or endpoints have changed.
POLICY = "policy"
_SUBJECT_LETTERS = 22


def digest(kind: str, name: str) -> bytes:
    """The subject that stands for an id of that kind."""
    return hashlib.sha256(f"{kind}:{name}".encode()).digest()[:16]


@lru_cache(maxsize=4096)
def tenant_digest(tenant_id: str) -> bytes:
    """The subject of a tenant's suspension."""
    return digest(TENANT, tenant_id)


def fatal_names(token: AccessToken) -> Iterator[tuple[str, str]]:
    """Kind and id of what ends `token` whatever its epoch."""
    yield ("token", token.jti)
    yield ("session", token.session_id)
    yield ("key", token.key_id)
    yield ("signing_key", token.signed_by)
    for jti in token.parents:
        yield ("token", jti)
    if token.tenant_id is not None:
        yield (TENANT, token.tenant_id)
    for actor in token.actors:
        yield ("key", actor.key_id)
        if actor.session_id:
            yield ("session", actor.session_id)


def aging_names(token: AccessToken) -> Iterator[tuple[str, str, int]]:
    """Kind and id of what ends `token` below an epoch, and the epoch that counts there."""
    for user_id, epoch in (
        (token.user_id, token.epoch),
        *((actor.user_id, actor.epoch) for actor in token.actors),
    ):
        yield ("user", user_id, epoch)
        yield ("everything", "*", epoch)


@dataclass(frozen=True, slots=True)
class Subjects:
    """All that could end a token: at once, below an epoch, or in a tenant that it lists."""

    fatal: tuple[bytes, ...]
    aging: tuple[tuple[bytes, int], ...]
    tenants: tuple[bytes, ...]
    #: Of `fatal` and `aging`, for the look at everything at once.
    every: tuple[bytes, ...]

    @classmethod
    def of(cls, token: AccessToken) -> "Subjects":
        """Those of `token`."""
        fatal = tuple(digest(*name) for name in fatal_names(token))
        aging = tuple((digest(kind, name), epoch) for kind, name, epoch in aging_names(token))
        listed = () if token.tenant_id is not None else tuple(token.roles or ())
        tenants = tuple(tenant_digest(tenant_id) for tenant_id in listed)
        return cls(fatal, aging, tenants, (*fatal, *(subject for subject, _ in aging)))


@dataclass(frozen=True, slots=True)
class Presented:
    """A token whose signature and claims were checked, kept as long as it may be used.

    `answers` holds what the service said of it, by tenant and endpoint; it goes with it.
    """

    token: AccessToken
    subjects: Subjects
    answers: dict[tuple[str, str], Any] = field(default_factory=dict)

    @classmethod
    def of(cls, token: AccessToken) -> "Presented":
        """With its subjects, computed once."""
        return cls(token, Subjects.of(token))


class Verdict(Enum):
    """What revocation leaves of a token: `SUSPENDED` means in the chosen tenant."""

    LIVE = "live"
    DEAD = "dead"
    SUSPENDED = "suspended"


class Stale(Exception):
    """A source cannot say now whether a token is revoked. The text is fit for the log.

    `known` is what it knew before: who is revoked stays so.
    """

    def __init__(self, detail: str, known: Verdict = Verdict.LIVE) -> None:
        super().__init__(detail)
        self.known = known


class RevocationSource(Protocol):
    """Where a resource server learns of revocations.

    `start` and `close` may be called again and again; `start` waits for the first news for a few
    seconds at most. `find` raises Stale; what it says of a tenant, it says knowing whether that is
    suspended, whether or not the token lists it.
    """

    async def start(self) -> None: ...
    async def close(self) -> None: ...
    async def find(self, text: str, presented: Presented, tenant_id: str | None) -> Verdict: ...


@dataclass(frozen=True, slots=True)
class Entry:
    """A revocation, by its subject. `expires_at` in Unix seconds, 0: lifted."""

    kind: str
    subject: bytes
    epoch: int | None
    expires_at: float

    @classmethod
    def read(cls, members: Mapping[str, Any]) -> "Entry":
        """As the service writes it. Raises ValueError for anything else."""
        kind, subject = members.get("kind"), members.get("subject")
        epoch, ends = members.get("epoch"), members.get("expires_at")
        if not isinstance(kind, str) or not isinstance(subject, str):
            raise ValueError("kind and subject are texts")
        if len(subject) != _SUBJECT_LETTERS:
            raise ValueError("a subject has 22 letters")
        if ends is None or not _whole(ends) or (epoch is not None and not _whole(epoch)):
            raise ValueError("epoch and end are numbers")
        try:
            raw = base64.b64decode(subject + "==", altchars=b"-_", validate=True)
        except binascii.Error as error:
            raise ValueError("a subject is base64url") from error
        return cls(kind, raw, epoch, ends)


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


class Entries:
    """Revocations in little memory: of most, just a digest and an end.

    Entries of a subject only ever get stronger, so that they may arrive in any order and twice.
    A tenant's is replaced instead: its suspension can be lifted.
    """

    def __init__(self) -> None:
        self._ends: dict[bytes, float] = {}
        # Of users and of everything: below which epoch. Who is not in it, in every epoch.
        self._below: dict[bytes, int] = {}

    def __len__(self) -> int:
        return len(self._ends)

    def merge(self, entry: Entry) -> None:
        """Takes in an entry, whatever is there already."""
        subject = entry.subject
        known = self._ends.get(subject)
        if entry.kind == TENANT:
            if entry.expires_at == 0:
                self._ends.pop(subject, None)
            else:
                self._ends[subject] = entry.expires_at
            return
        if entry.kind in AGING and entry.epoch is not None:
            # Without one, what is there already ends every epoch.
            if known is None or subject in self._below:
                self._below[subject] = max(entry.epoch, self._below.get(subject, 0))
        else:
            self._below.pop(subject, None)
        self._ends[subject] = entry.expires_at if known is None else max(known, entry.expires_at)

    def sweep(self, now: float) -> None:
        """Forgets what can hit nothing any more."""
        for subject in [subject for subject, end in self._ends.items() if end <= now]:
            del self._ends[subject]
            self._below.pop(subject, None)

    def verdict(self, subjects: Subjects, tenant_id: str | None, now: float) -> Verdict:
        """What they leave of a token, used in that tenant; without one, in any that it lists."""
        ends = self._ends
        if not ends.keys().isdisjoint(subjects.every):
            if any(ends.get(subject, 0) > now for subject in subjects.fatal):
                return Verdict.DEAD
            for subject, epoch in subjects.aging:
                below = self._below.get(subject)
                if ends.get(subject, 0) > now and (below is None or epoch < below):
                    return Verdict.DEAD
        places = subjects.tenants if tenant_id is None else (tenant_digest(tenant_id),)
        if places and all(ends.get(place, 0) > now for place in places):
            return Verdict.SUSPENDED
        return Verdict.LIVE
