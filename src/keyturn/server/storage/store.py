"""The database behind the management ports: `ports.Store` and `ports.Transaction`."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncEngine

from ..domain.errors import Unavailable
from ..services.ports.observing import PoolUse
from .activity import ActivityRepository
from .audit import AuditRepository
from .columns import db_now
from .deliveries import DeliveryRepository
from .endpoints import EndpointRepository
from .engine import TRANSACTION_SECONDS
from .faults import translated
from .housekeeping import HousekeepingRepository
from .invitations import InvitationRepository
from .kept_answers import KeptAnswerRepository
from .keys import ApiKeyRepository
from .memberships import MembershipRepository
from .notifications import Notifications
from .permissions import PermissionRepository
from .resource_servers import ResourceServerRepository
from .restored import RestoredRepository
from .revocations import RevocationRepository
from .roles import RoleRepository
from .seals import SealRepository
from .sessions import SessionRepository
from .sign_ins import SecondFactorRepository, SignInRepository
from .signing_keys import SigningKeyRepository
from .team import TeamRepository
from .tenants import TenantRepository
from .turns import Turns
from .unit import Unit
from .users import UserRepository
from .webhooks import WebhookRepository


class DatabaseTransaction:
    """Implements `ports.Transaction`."""

    def __init__(self, unit: Unit) -> None:
        self.unit = unit

    @property
    def tenants(self) -> TenantRepository:
        """Tenants, their tree and policies."""
        return TenantRepository(self.unit)

    @property
    def users(self) -> UserRepository:
        """Users, epochs and passwords."""
        return UserRepository(self.unit)

    @property
    def roles(self) -> RoleRepository:
        """Built-in and custom roles."""
        return RoleRepository(self.unit)

    @property
    def memberships(self) -> MembershipRepository:
        """Who holds which role where."""
        return MembershipRepository(self.unit)

    @property
    def invitations(self) -> InvitationRepository:
        """Roles offered."""
        return InvitationRepository(self.unit)

    @property
    def api_keys(self) -> ApiKeyRepository:
        """API keys."""
        return ApiKeyRepository(self.unit)

    @property
    def sessions(self) -> SessionRepository:
        """Sessions that were refreshed or ended."""
        return SessionRepository(self.unit)

    @property
    def permissions(self) -> PermissionRepository:
        """The registry of permissions."""
        return PermissionRepository(self.unit)

    @property
    def endpoints(self) -> EndpointRepository:
        """The endpoint catalogue."""
        return EndpointRepository(self.unit)

    @property
    def revocations(self) -> RevocationRepository:
        """The truth about revocations."""
        return RevocationRepository(self.unit)

    @property
    def signing_keys(self) -> SigningKeyRepository:
        """Signing keys at rest."""
        return SigningKeyRepository(self.unit)

    @property
    def seals(self) -> SealRepository:
        """What depends on earlier master secrets."""
        return SealRepository(self.unit)

    @property
    def resource_servers(self) -> ResourceServerRepository:
        """Who takes tokens."""
        return ResourceServerRepository(self.unit)

    @property
    def audit(self) -> AuditRepository:
        """The audit trail."""
        return AuditRepository(self.unit)

    @property
    def activity(self) -> ActivityRepository:
        """The audit trail in numbers."""
        return ActivityRepository(self.unit)

    @property
    def team(self) -> TeamRepository:
        """A tenant seen with all below it."""
        return TeamRepository(self.unit)

    @property
    def kept_answers(self) -> KeptAnswerRepository:
        """Answers kept for a repeated request."""
        return KeptAnswerRepository(self.unit)

    @property
    def housekeeping(self) -> HousekeepingRepository:
        """Deletes what has ended."""
        return HousekeepingRepository(self.unit)

    @property
    def webhooks(self) -> WebhookRepository:
        """Addresses that are told of events."""
        return WebhookRepository(self.unit)

    @property
    def deliveries(self) -> DeliveryRepository:
        """What is to be told to them."""
        return DeliveryRepository(self.unit)

    @property
    def sign_ins(self) -> SignInRepository:
        """People signed in to the console."""
        return SignInRepository(self.unit)

    @property
    def second_factors(self) -> SecondFactorRepository:
        """What people sign in with beside passwords."""
        return SecondFactorRepository(self.unit)

    @property
    def restored(self) -> RestoredRepository:
        """What a database that was restored from a copy must not keep."""
        return RestoredRepository(self.unit)

    async def now(self) -> datetime:
        """The database's time."""
        now: datetime = (await self.unit.run(select(db_now()))).scalar_one()
        return now


class DatabaseStore:
    """Implements `ports.Store` over one engine, whose owner closes it."""

    def __init__(
        self,
        engine: AsyncEngine,
        turns: Turns,
        notifications: Notifications | None = None,
        *,
        patience: float = TRANSACTION_SECONDS,
    ) -> None:
        """`turns` are as many as the engine has connections. `patience`, in seconds, is longer only
        where no node serves meanwhile.
        """
        self._engine = engine
        self._turns = turns
        self._patience = patience
        self._notifications = notifications
        self._watchers: list[Callable[[], None]] = []

    @property
    def use(self) -> PoolUse:
        """How its connections are used."""
        return self._turns.use

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[DatabaseTransaction]:
        """Commits at the end, rolls back on any exception.

        Raises Unavailable when it takes longer than its patience, waiting for
        a connection included. A commit whose answer is lost is Unavailable, too: it may have
        happened or not.
        """
        try:
            async with asyncio.timeout(self._patience) as limit, self._turn():
                with translated():
                    connection = await self._engine.connect()
                told = self._notifications
                unit = Unit(connection, notifies=told is not None and told.works)
                try:
                    await unit.begin()
                    yield DatabaseTransaction(unit)
                    try:
                        await unit.commit()
                    finally:
                        # A commit whose answer was lost may have happened.
                        if unit.changes_keys:
                            self._changed()
                except BaseException as error:
                    await unit.undo(error)
                    raise
                finally:
                    await unit.close()
        except TimeoutError as error:
            if limit.expired():
                raise Unavailable("a transaction took too long") from error
            raise

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """The engine's own line would be one for all."""
        await self._turns.take()
        try:
            yield
        finally:
            self._turns.give_back()

    def watch(self, changed: Callable[[], None]) -> None:
        """See `ports.Store`."""
        self._watchers.append(changed)

    def _changed(self) -> None:
        for changed in self._watchers:
            changed()

    async def listen(self, heard: Callable[[], None]) -> None:
        """Of other nodes' revocations; SQLite has no other nodes."""
        if self._notifications is not None:
            await self._notifications.listen(heard)

    async def ping(self) -> None:
        """Raises Unavailable unless the database answers, and takes writes."""
        with translated():
            async with self._engine.connect() as connection:
                if connection.dialect.name != "postgresql":
                    await connection.execute(text("SELECT 1"))
                    return
                answer = await connection.execute(text("SHOW transaction_read_only"))
                if answer.scalar_one() != "off":
                    await connection.invalidate()
                    raise Unavailable("the database is read-only")
