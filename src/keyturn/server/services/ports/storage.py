"""The database, seen by the services: units of work."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Protocol

from .activity import Activity
from .catalogue import Endpoints, Permissions, ResourceServers
from .credentials import ApiKeys, Seals, Sessions, SigningKeys
from .housekeeping import Housekeeping
from .identity import Invitations, Memberships, Roles, Tenants, Users
from .restored import Restored
from .sign_ins import SecondFactors, SignIns
from .team import Team
from .trail import AuditLog, KeptAnswers, Revocations
from .webhooks import Deliveries, Webhooks


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
    def seals(self) -> Seals: ...
    @property
    def resource_servers(self) -> ResourceServers: ...
    @property
    def audit(self) -> AuditLog: ...
    @property
    def activity(self) -> Activity: ...
    @property
    def team(self) -> Team: ...
    @property
    def kept_answers(self) -> KeptAnswers: ...
    @property
    def housekeeping(self) -> Housekeeping: ...
    @property
    def webhooks(self) -> Webhooks: ...
    @property
    def deliveries(self) -> Deliveries: ...
    @property
    def sign_ins(self) -> SignIns: ...
    @property
    def second_factors(self) -> SecondFactors: ...
    @property
    def restored(self) -> Restored: ...

    async def now(self) -> datetime:
        """The database's time."""
        ...


class Store(Protocol):
    """The database."""

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        """Commits at the end, rolls back on any exception. Waits are bounded."""
        ...

    def watch(self, changed: Callable[[], None]) -> None:
        """Calls `changed` whenever this process has changed what a `KeyLookup` finds."""
        ...

    async def listen(self, heard: Callable[[], None]) -> None:
        """Calls `heard` when another node may have revoked something, as soon as it can be told.

        It is a hint: sometimes too much, or too little. Returns where there is nothing to hear,
        else it ends by cancellation only.
        """
        ...

    async def ping(self) -> None: ...
