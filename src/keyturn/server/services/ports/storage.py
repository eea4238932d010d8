"""The database, seen by the services: the hot path's one read, and units of work."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from ...domain.model import (
    ApiKey,
    AuditEvent,
    KeyHash,
    KeyRecord,
    Membership,
    Revocation,
    Role,
    Session,
    StoredSigningKey,
    Tenant,
    User,
)
from ...domain.revocations import Subject
from ...domain.sessions import RefreshState


class KeyLookup(Protocol):
    """The hot path's one read: one prepared statement, outside of any transaction."""

    async def find(
        self,
        key_id: str,
        *,
        tenants: Sequence[str] | None = None,
        after: str = "",
        limit: int = 20,
    ) -> KeyRecord | None:
        """The key with its user and the user's effective roles; None when there is none.

        `tenants` restricts the roles to these tenants (None: all); else they come in the
        order of their tenant ids, beginning behind `after`, from at most `limit` tenants.
        `more_tenants` is set when there are more. Revoked and expired keys are found, too.
        """
        ...


class Tenants(Protocol):
    """Tenants and their tree."""

    async def add(self, tenant: Tenant) -> None:
        """Raises Refusal `conflict` when a sibling has the name, or there is a root already."""
        ...

    async def get(self, tenant_id: str) -> Tenant | None: ...

    async def root(self) -> Tenant | None: ...

    async def below(self, tenant_id: str) -> tuple[str, ...]:
        """The tenant itself and all below it."""
        ...

    async def set_suspended(self, tenant_id: str, at: datetime | None) -> bool:
        """False when there is no such tenant. None resumes it."""
        ...


class Users(Protocol):
    """Users and what they may do."""

    async def add(self, user: User) -> None:
        """Raises Refusal `conflict` when the username is taken."""
        ...

    async def get(self, user_id: str) -> User | None: ...

    async def by_username(self, username: str) -> User | None: ...

    async def raise_epoch(self, user_id: str) -> int | None:
        """The new epoch; None when there is no such user. Serialises concurrent raises."""
        ...

    async def set_disabled(self, user_id: str, at: datetime | None) -> bool:
        """False when there is no such user. None enables it again."""
        ...

    async def add_membership(self, membership: Membership) -> None:
        """Raises Refusal `conflict` when the user has that role there, in any state."""
        ...


class Roles(Protocol):
    """Built-in roles (no tenant) and custom ones."""

    async def add(self, role: Role) -> None:
        """Raises Refusal `conflict` when the tenant has a role of that name."""
        ...

    async def get(self, role_id: str) -> Role | None: ...

    async def in_tenant(self, tenant_id: str) -> tuple[Role, ...]:
        """The roles that can be given in a tenant: the built-in ones and its own."""
        ...


@dataclass(frozen=True, slots=True)
class KeyUse:
    """What a batch of uses did to one key. `rehash` moves it to the newest pepper."""

    key_id: str
    count: int
    at: datetime
    address: str | None
    rehash: KeyHash | None = None


class ApiKeys(Protocol):
    """API keys. Their hashes go in and never come out but by the lookup."""

    async def add(self, key: ApiKey, key_hash: KeyHash) -> None: ...

    async def get(self, key_id: str) -> ApiKey | None: ...

    async def revoke(self, key_id: str, at: datetime) -> bool:
        """False when there is no such key or it was revoked before."""
        ...

    async def note_uses(self, uses: Sequence[KeyUse]) -> None:
        """Adds counts, keeps the latest time and its address."""
        ...


class Sessions(Protocol):
    """Rows of sessions that were refreshed or ended; a fresh session has none."""

    async def advance(self, state: RefreshState, user_id: str) -> Session | None:
        """Spends `state.generation`: one conditional statement, one winner.

        Generation 0 writes the row (generation 1); later ones step it from n to n+1 if it
        stands at n and has not ended. `rotated_at` is the database's time, to the
        microsecond on PostgreSQL, to the millisecond on SQLite. None: somebody else did, or
        the session has ended, or there is no such row.
        """
        ...

    async def get(self, session_id: str) -> Session | None: ...

    async def end(self, session: Session, reason: str) -> bool:
        """Ends the session, writing its row if it has none (its first refresh is then lost).

        `session.ended_at` is ignored: the database's time is taken. False when it had ended.
        """
        ...


@dataclass(frozen=True, slots=True)
class Tail:
    """New revocations, and where to go on: an opaque cursor."""

    entries: tuple[Revocation, ...]
    cursor: str


class Revocations(Protocol):
    """The truth about revocations."""

    async def add(self, entries: Sequence[Revocation]) -> None:
        """Adding a subject again keeps the stronger of both (domain.revocations.stronger)."""
        ...

    async def lift(self, subject: Subject) -> None:
        """Ends an entry at once (a tenant resumed). It is tailed as an entry in the past."""
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


class SigningKeys(Protocol):
    """Signing keys, the private part sealed."""

    async def add(self, key: StoredSigningKey) -> bool:
        """False when its slot of that algorithm is taken: another process was first."""
        ...

    async def all(self) -> tuple[StoredSigningKey, ...]: ...


class AuditLog(Protocol):
    """Who did what."""

    async def add(self, events: Sequence[AuditEvent]) -> None:
        """Fills in id and time (the database's) where they are missing."""
        ...


class Transaction(Protocol):
    """One unit of work: its repositories share a connection and one commit."""

    @property
    def tenants(self) -> Tenants: ...
    @property
    def users(self) -> Users: ...
    @property
    def roles(self) -> Roles: ...
    @property
    def api_keys(self) -> ApiKeys: ...
    @property
    def sessions(self) -> Sessions: ...
    @property
    def revocations(self) -> Revocations: ...
    @property
    def signing_keys(self) -> SigningKeys: ...
    @property
    def audit(self) -> AuditLog: ...

    async def now(self) -> datetime:
        """The database's time."""
        ...


class Store(Protocol):
    """The database."""

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        """Commits at the end, rolls back on any exception. Waits are bounded."""
        ...

    async def ping(self) -> None: ...
