"""The database, seen by the services: units of work."""

from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Protocol

from .catalogue import Endpoints, Permissions
from .credentials import ApiKeys, Sessions, SigningKeys
from .identity import Invitations, Memberships, Roles, Tenants, Users
from .trail import AuditLog, KeptAnswers, Revocations


class Transaction(Protocol):
    """One unit of work: its repositories share a connection and one commit."""

    @property
    def tenants(self) -> Tenants: ...
    @property
    def users(self) -> Users: ...
    @property
    def roles(self) -> Roles: ...
    @property
    def memberships(self) -> Memberships: ...
    @property
    def invitations(self) -> Invitations: ...
    @property
    def api_keys(self) -> ApiKeys: ...
    @property
    def sessions(self) -> Sessions: ...
    @property
    def permissions(self) -> Permissions: ...
    @property
    def endpoints(self) -> Endpoints: ...
    @property
    def revocations(self) -> Revocations: ...
    @property
    def signing_keys(self) -> SigningKeys: ...
    @property
    def audit(self) -> AuditLog: ...
    @property
    def kept_answers(self) -> KeptAnswers: ...

    async def now(self) -> datetime:
        """The database's time."""
        ...


class Store(Protocol):
    """The database."""

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        """Commits at the end, rolls back on any exception. Waits are bounded."""
        ...

    async def ping(self) -> None: ...
