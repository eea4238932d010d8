"""What a database that was restored from a copy must not keep."""

from datetime import datetime

from sqlalchemy import ColumnElement, delete, func, update

from ..domain.model import InvitationState
from ..domain.webhooks import DeliveryState, Disabled
from .tables import (
    api_keys,
    invitations,
    kept_answers,
    passwords,
    second_factors,
    webhook_deliveries,
    webhooks,
)
from .unit import Unit

#: Why such a key was revoked, as it is stored (management.key_states).
_REASON = "restored"


class RestoredRepository:
    """Implements `ports.Restored`."""

    def __init__(self, unit: Unit) -> None:
        self._unit = unit

    async def revoke_keys(self, at: datetime) -> int:
        """Expired ones, too."""
        return await self._revoke(api_keys.c.for_console.is_(False), at)

    async def end_sign_ins(self, at: datetime) -> int:
        """Expired ones, too."""
        return await self._revoke(api_keys.c.for_console, at)

    async def forget_second_factors(self) -> int:
        """Whoever sets a password anew sets up another."""
        return (await self._unit.run(delete(second_factors))).rowcount

    async def withdraw_invitations(self, at: datetime) -> int:
        """Expired ones, too."""
        statement = (
            update(invitations)
            .where(invitations.c.state == InvitationState.PENDING.value)
            .values(state=InvitationState.WITHDRAWN.value, answered_at=at)
        )
        return (await self._unit.run(statement)).rowcount

    async def forget_passwords(self) -> int:
        """An invitation, accepted, sets another one."""
        return (await self._unit.run(delete(passwords))).rowcount

    async def forget_answers(self) -> None:
        """Whoever repeats a request makes another thing."""
        await self._unit.run(delete(kept_answers))

    async def disable_webhooks(self, at: datetime) -> int:
        """Those that were disabled lose their secrets, too."""
        statement = (
            update(webhooks)
            .where(webhooks.c.secret.is_not(None))
            .values(
                secret=None,
                old_secret=None,
                old_until=None,
                disabled_at=func.coalesce(webhooks.c.disabled_at, at),
                disabled_reason=Disabled.RESTORED.value,
                version=webhooks.c.version + 1,
            )
        )
        return (await self._unit.run(statement)).rowcount

    async def _revoke(self, which: ColumnElement[bool], at: datetime) -> int:
        statement = (
            update(api_keys)
            .where(api_keys.c.revoked_at.is_(None), which)
            .values(revoked_at=at, revoked_reason=_REASON, version=api_keys.c.version + 1)
        )
        return (await self._unit.run(statement)).rowcount

    async def give_up_deliveries(self, at: datetime) -> int:
        """Dead, as if all tries had failed."""
        statement = (
            update(webhook_deliveries)
            .where(webhook_deliveries.c.state == DeliveryState.PENDING.value)
            .values(state=DeliveryState.DEAD.value, due_at=None, ended_at=at)
        )
        return (await self._unit.run(statement)).rowcount
