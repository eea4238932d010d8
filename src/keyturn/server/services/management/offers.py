"""One offer of a role: how it is shown, and how it is answered, whoever answers it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from ...domain.addresses import folded_address
from ...domain.administration import may_give
from ...domain.errors import conflict, not_found
from ...domain.model import Invitation, InvitationState, Membership, Role, User, UserKind
from ...domain.policy import effective
from ..ports import Transaction
from .changes import Change

#: What somebody must be able to do, to stand behind an offer.
INVITE = "users:write"


class OfferState(StrEnum):
    """What became of an offer, as it is shown: what nobody answered in time has expired."""

    PENDING = "pending"
    ACCEPTED = "accepted"
    DECLINED = "declined"
    WITHDRAWN = "withdrawn"
    EXPIRED = "expired"

    @property
    def stored(self) -> InvitationState | None:
        """The only state it is stored as; None when there are several."""
        return None if self is OfferState.EXPIRED else InvitationState(self.value)


@dataclass(frozen=True, slots=True)
class Offer:
    """An invitation, with the names of what it offers."""

    invitation: Invitation
    tenant_name: str
    role_name: str
    state: OfferState


async def offers_of(
    tx: Transaction, invitations: Sequence[Invitation], now: datetime
) -> tuple[Offer, ...]:
    """The invitations as they are shown at `now`."""
    roles = {r.id: r.name for r in await tx.roles.many({i.role_id for i in invitations})}
    tenants = {i: await tx.tenants.get(i) for i in {i.tenant_id for i in invitations}}
    return tuple(
        Offer(invitation, tenant.name, roles[invitation.role_id], _state(invitation, now))
        for invitation in invitations
        if (tenant := tenants[invitation.tenant_id]) is not None and invitation.role_id in roles
    )


async def offer_of(tx: Transaction, invitation: Invitation, now: datetime) -> Offer:
    """One invitation as it is shown at `now`. Raises Refusal `not_found` when it is gone."""
    for offer in await offers_of(tx, [invitation], now):
        return offer
    raise not_found("the invitation's tenant or role is gone")


async def offered_to(tx: Transaction, user: User, invitation_id: str) -> Invitation:
    """The invitation, if it is for this user. Raises Refusal `not_found`."""
    invitation = await tx.invitations.get(invitation_id)
    if invitation is None or folded_address(invitation.email) != folded_address(user.username):
        raise not_found("no such invitation for the user")
    return invitation


async def answered(change: Change, user: User, invitation: Invitation, *, accepted: bool) -> Offer:
    """Accepts or declines it for `user`, in a change of the inviting tenant.

    Raises Refusal `conflict` when it is not pending any more, and for one to be accepted when
    nobody stands behind it any more.
    """
    if accepted:
        role = await role_offered(change.tx, invitation)
        if role is None:
            raise conflict("The invitation is not valid any more: ask for another.")
        ended = await accept(change, user, invitation, role)
    else:
        ended = await end(change, invitation, InvitationState.DECLINED)
    return await offer_of(change.tx, ended, change.now)


async def accept(change: Change, user: User, invitation: Invitation, role: Role) -> Invitation:
    """Makes the invitation a membership. `role` is what `role_offered` gave.

    Raises Refusal `conflict` when it is not pending any more.
    """
    ended = await end(change, invitation, InvitationState.ACCEPTED)
    tenant_id = invitation.tenant_id
    member = await change.tx.memberships.member(tenant_id, user.id)
    # Whoever was given the role in the meantime has what was offered.
    if member is None or role.id not in {held.id for held in member.roles}:
        await change.tx.memberships.add(Membership(user.id, tenant_id, role.id, change.now))
        change.note("membership.created", user.id, tenant_id=tenant_id, after={"role": role.name})
        change.reauthorise([user.id])
    return ended


async def end(change: Change, invitation: Invitation, state: InvitationState) -> Invitation:
    """Takes a pending invitation into its last state. Raises Refusal `conflict`."""
    if not (
        invitation.pending(change.now)
        and await change.tx.invitations.answer(invitation.id, state, change.now)
    ):
        raise conflict("The invitation was answered or withdrawn before, or it has expired.")
    change.note(
        f"invitation.{state.value}",
        invitation.id,
        tenant_id=invitation.tenant_id,
        email=invitation.email,
    )
    return replace(invitation, state=state, answered_at=change.now)


def needs_code(user: User) -> bool:
    """Whether `user` must show an invitation's code to accept it, besides its own token.

    A person's address is proved by nothing: whoever invited it first saw that code, and may have
    made the account with it. What is sent to the address later is for who reads the mail there,
    and the code tells. A service user's address is generated: whoever invites it means that very
    user.
    """
    return user.kind is UserKind.HUMAN


async def role_offered(tx: Transaction, invitation: Invitation) -> Role | None:
    """The role, if whoever offered it could do so now; else None.

    An offer lives for days. It must not outlive the authority that it was made with.
    """
    if await tx.tenants.suspended(invitation.tenant_id):
        return None
    role = await tx.roles.get(invitation.role_id)
    inviter = await tx.users.get(invitation.created_by or "")
    if role is None or inviter is None or inviter.disabled_at is not None:
        return None
    if inviter.kind is UserKind.SERVICE:
        policy = effective(await tx.tenants.policies(invitation.tenant_id))
        if not policy.service_users_administer:
            return None
    held = await _held(tx, inviter, invitation.tenant_id)
    return role if INVITE in held and may_give(held, role.permissions) else None


async def _held(tx: Transaction, user: User, tenant_id: str) -> frozenset[str]:
    """What the user may do in the tenant, by roles held there and above."""
    roles = await tx.memberships.of_user(user.id)
    above = {
        place
        for place in {membership.tenant_id for membership, _ in roles}
        if await tx.tenants.reaches(place, tenant_id)
    }
    return frozenset().union(*(r.permissions for m, r in roles if m.tenant_id in above))


def _state(invitation: Invitation, now: datetime) -> OfferState:
    state, end = invitation.state, invitation.answered_at or now
    # What has expired is withdrawn at some time, to make room for another offer.
    unanswered = state in (InvitationState.PENDING, InvitationState.WITHDRAWN)
    if unanswered and end >= invitation.expires_at:
        return OfferState.EXPIRED
    return OfferState(state.value)
