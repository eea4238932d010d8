"""What was done and what was ended: the audit trail, revocations, kept answers."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from ...domain.model import Revocation
from ...domain.revocations import Subject
from ...domain.trail import AuditEvent
from .pages import Page, Slice


@dataclass(frozen=True, slots=True)
class Tail:
    """New revocations, and where to go on: an opaque cursor.

    `at` is the database's time before it was read: what was committed by then is known now.
    `written` are the times at which the entries were written, in the same order, where they are
    known.
    """

    entries: tuple[Revocation, ...]
    cursor: str
    at: datetime
    written: tuple[datetime, ...] = ()


class Revocations(Protocol):
    """The truth about revocations."""

    async def add(self, entries: Sequence[Revocation]) -> None:
        """Adding a subject again keeps the stronger of both (domain.revocations.stronger)."""
        ...

    async def tell(self) -> None:
        """Has other nodes hear with the commit that something has changed, as `add` does."""
        ...

    async def lift(self, subjects: Sequence[Subject]) -> None:
        """Ends entries at once (a tenant resumed). They are tailed as entries in the past."""
        ...

    async def find(self, subjects: Sequence[Subject]) -> tuple[Revocation, ...]:
        """Entries that still count, of those subjects."""
        ...

    async def tail(self, cursor: str | None) -> Tail:
        """All that still counts (cursor None), or what was written since `cursor`.

        May repeat entries; never misses one, also when transactions commit out of order
        (each lasts under 10 seconds).
        """
        ...


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which events: from `since` on and before `until`; of one actor, action, target."""

    since: datetime | None = None
    until: datetime | None = None
    user_id: str | None = None
    action: str | None = None
    target: str | None = None


class AuditLog(Protocol):
    """Who did what."""

    async def add(self, events: Sequence[AuditEvent]) -> None:
        """Fills in id and time (the database's) where they are missing."""
        ...

    async def newest(self, before: datetime) -> AuditEvent | None:
        """Of all tenants, the newest event before a time."""
        ...

    async def has(self, event_id: str) -> bool:
        """Whether there is that event."""
        ...

    async def everything(self, after: str | None, at_most: int) -> Sequence[AuditEvent]:
        """All tenants', by id, beyond that one: for who has the whole database."""
        ...

    async def events(self, tenant_id: str, wanted: AuditFilter, part: Slice) -> Page[AuditEvent]:
        """A tenant's events, the newest first. Keys: time (ISO 8601) and id."""
        ...


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    """A creation's answer, sealed, and the digest of the request that it answered."""

    request: bytes
    sealed: bytes


class KeptAnswers(Protocol):
    """Answers to requests that carried an Idempotency-Key."""

    async def find(self, answer_id: bytes, now: datetime) -> KeptAnswer | None:
        """None when there is none, or it has expired."""
        ...

    async def add(self, answer_id: bytes, answer: KeptAnswer, expires_at: datetime) -> None:
        """Replaces an expired one. Raises Refusal `conflict` when there is one that counts."""
        ...
