"""Roles offered, and what became of the offers."""

import hmac
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Row, func, select, update

from ..domain.addresses import folded_address
from ..domain.errors import conflict
from ..domain.ids import parse_id
from ..domain.model import Invitation, InvitationState
from ..services.ports import Page, Slice
from .columns import storable
from .paging import mentions, page, sliced
from .tables import invitations
from .unit import Unit

# What is shown to one person at once.
_MAX_PENDING = 200

# A code's hash goes in, and is only ever compared.
_LISTED = [column for column in invitations.c if column.name != "code_hash"]

_is_pending = invitations.c.state == InvitationState.PENDING.value


class InvitationRepository:
    """Implements `ports.Invitations`."""

    def __init__(self, unit: Unit) -> None:
        self._unit = unit

    async def add(self, invitation: Invitation, code_hash: bytes) -> None:
        """Raises Refusal `conflict` while the same offer is pending, be it expired or not."""
        row = {
            "id": invitation.id,
            "tenant_id": invitation.tenant_id,
            "role_id": invitation.role_id,
            "email": invitation.email,
            "email_folded": folded_address(invitation.email),
            "state": invitation.state.value,
            "code_hash": code_hash,
            "created_at": invitation.created_at,
            "expires_at": invitation.expires_at,
            "created_by": invitation.created_by,
            "answered_at": invitation.answered_at,
        }
        statement = (
            self._unit.insert(invitations).on_conflict_do_nothing().returning(invitations.c.id)
        )
        if (await self._unit.run(statement, row)).first() is None:
            raise conflict(
                "That role is offered to that address already. Withdraw the offer for a new code."
            )

    async def get(self, invitation_id: str) -> Invitation | None:
        """None for a malformed id, too."""
        if parse_id(invitation_id) is None:
            return None
        return await self._one(invitations.c.id == invitation_id)

    async def by_code(self, code_hash: bytes) -> Invitation | None:
        """In whatever state."""
        return await self._one(invitations.c.code_hash == code_hash)

    async def is_code(self, invitation_id: str, code_hash: bytes) -> bool:
        """Compares in constant time."""
        if parse_id(invitation_id) is None:
            return False
        statement = select(invitations.c.code_hash).where(invitations.c.id == invitation_id)
        stored = (await self._unit.run(statement)).scalar_one_or_none()
        return stored is not None and hmac.compare_digest(stored, code_hash)

    async def in_tenant(
        self,
        tenant_id: str,
        part: Slice,
        *,
        state: InvitationState | None = None,
        query: str = "",
    ) -> Page[Invitation]:
        """Expired ones are pending until they are withdrawn."""
        statement = select(*_LISTED).where(invitations.c.tenant_id == tenant_id)
        if state is not None:
            statement = statement.where(invitations.c.state == state.value)
        if query:
            statement = statement.where(mentions(query, None, invitations.c.email_folded))
        rows = (await self._unit.run(sliced(statement, part, invitations.c.id))).all()
        return page(rows, part, _invitation, "id")

    async def count_pending(self, tenant_id: str, at_most: int) -> int:
        """Reads no more than `at_most` rows."""
        some = (
            select(invitations.c.id)
            .where(invitations.c.tenant_id == tenant_id, _is_pending)
            .limit(at_most)
        )
        statement = select(func.count()).select_from(some.subquery())
        return int((await self._unit.run(statement)).scalar_one())

    async def pending_for(self, email: str, now: datetime) -> tuple[Invitation, ...]:
        """By id; the address in whatever case."""
        if not storable(email):
            return ()
        statement = (
            select(*_LISTED)
            .where(
                invitations.c.email_folded == folded_address(email),
                _is_pending,
                invitations.c.expires_at > now,
            )
            .order_by(invitations.c.id)
            .limit(_MAX_PENDING)
        )
        return tuple(_invitation(row) for row in await self._unit.run(statement))

    async def answer(self, invitation_id: str, state: InvitationState, at: datetime) -> bool:
        """One statement decides a race. Does not look at the time: `Invitation.pending` does."""
        if parse_id(invitation_id) is None:
            return False
        statement = (
            update(invitations)
            .where(invitations.c.id == invitation_id, _is_pending)
            .values(state=state.value, answered_at=at)
        )
        return (await self._unit.run(statement)).rowcount > 0

    async def withdraw_expired(self, tenant_id: str, now: datetime) -> None:
        """So that what nobody answered in time can be offered again."""
        statement = (
            update(invitations)
            .where(
                invitations.c.tenant_id == tenant_id, _is_pending, invitations.c.expires_at <= now
            )
            .values(state=InvitationState.WITHDRAWN.value, answered_at=now)
        )
        await self._unit.run(statement)

    async def _one(self, condition: ColumnElement[bool]) -> Invitation | None:
        row = (await self._unit.run(select(*_LISTED).where(condition))).first()
        return None if row is None else _invitation(row)


def _invitation(row: Row[Any]) -> Invitation:
    return Invitation(
        id=row.id,
        tenant_id=row.tenant_id,
        role_id=row.role_id,
        email=row.email,
        state=InvitationState(row.state),
        created_at=row.created_at,
        expires_at=row.expires_at,
        created_by=row.created_by,
        answered_at=row.answered_at,
    )
