"""Invitations: a role offered to a mail address, and what becomes of the offer.

An offer gives nothing. Accepted, it is a membership; if whoever made it could not give that role
any more by then, it cannot be accepted. Service users are invited by their generated address and
never written to: they, or their home tenant's editors, find the offer in a list (W4).
"""

import secrets
from dataclasses import dataclass, field, replace
from datetime import timedelta
from hashlib import sha256

from ...domain.addresses import is_generated
from ...domain.errors import Code, Refusal, conflict, invalid_request, not_found
from ...domain.ids import SECRET_LETTERS, base62, new_id
from ...domain.model import Invitation, InvitationState, Role, User, UserKind
from ..callers import OwnCaller, TenantCaller
from ..ports import KeyLookup, Page, Slice, Store, Transaction
from .changes import Changes, Once
from .delegation import bounds_of
from .letters import Letters
from .offers import Offer, OfferState, answered, end, needs_code, offer_of, offered_to, offers_of
from .standing import home_service_user, need_standing, role_to_give

#: Offers of one tenant that wait for an answer.
MAX_PENDING = 1_000


@dataclass(frozen=True, slots=True)
class Invited:
    """An offer just made, with its code, which is shown this once.

    `mailed`: whether a mail server took the mail; None as long as that is not known.
    """

    offer: Offer
    code: str = field(repr=False)
    mailed: bool | None = None


def code_hash(code: str) -> bytes:
    """What is stored of a code. It is random, so nothing slow is needed."""
    return sha256(code.encode("utf-8", "surrogatepass")).digest()


class InvitationManagement:
    """Offers of the caller's tenant; the caller's own; those to its service users."""

    def __init__(self, store: Store, changes: Changes, lookup: KeyLookup, letters: Letters) -> None:
        self._store = store
        self._changes = changes
        self._lookup = lookup
        self._letters = letters

    # --- the tenant's ---------------------------------------------------------------------

    async def made_here(
        self,
        caller: TenantCaller,
        part: Slice,
        state: OfferState | None = None,
        query: str = "",
    ) -> Page[Offer]:
        """What the tenant offered, by id. With `state` a page may be shorter than asked for."""
        async with self._store.transaction() as tx:
            stored = None if state is None else state.stored
            page = await tx.invitations.in_tenant(caller.tenant_id, part, state=stored, query=query)
            offers = await offers_of(tx, page.items, await tx.now())
        return Page(tuple(o for o in offers if state is None or o.state is state), page.next)

    async def get(self, caller: TenantCaller, invitation_id: str) -> Offer:
        """Raises Refusal `not_found`."""
        async with self._store.transaction() as tx:
            return await offer_of(tx, await _made_here(tx, caller, invitation_id), await tx.now())

    async def invite(
        self,
        caller: TenantCaller,
        email: str,
        role_id: str,
        *,
        good_for: int,
        once: Once[Invited] | None = None,
    ) -> Invited:
        """Offers a role in the caller's tenant for `good_for` seconds, and mails the code.

        Raises Refusal `invalid_request` for a role that cannot be given here,
        `insufficient_scope` for one beyond the caller, and `conflict` when whoever has that
        address holds it already, it is offered already, or too much is. Nothing tells whether
        the address is anybody's elsewhere. What becomes of the mail undoes nothing.
        """
        code = "kti_" + base62(int.from_bytes(secrets.token_bytes(32)), SECRET_LETTERS)
        async with self._changes.begin(caller.actor, caller.tenant_id, once) as change:
            tx, tenant_id = change.tx, caller.tenant_id
            role = await role_to_give(tx, caller, tenant_id, role_id, "role_id")
            await tx.invitations.withdraw_expired(tenant_id, change.now)
            if await tx.invitations.count_pending(tenant_id, MAX_PENDING) >= MAX_PENDING:
                raise conflict("The tenant has as many pending invitations as it may have.")
            invitee = await tx.users.by_username(email)
            if invitee is not None:
                await _need_without(tx, tenant_id, invitee, role)
            invitation = Invitation(
                new_id(),
                tenant_id,
                role.id,
                email,
                InvitationState.PENDING,
                change.now,
                change.now + timedelta(seconds=good_for),
                caller.user_id,
            )
            await tx.invitations.add(invitation, code_hash(code))
            change.note(
                "invitation.created",
                invitation.id,
                after={
                    "email": email,
                    "role": role.name,
                    "expires_at": invitation.expires_at.isoformat(),
                },
            )
            offer = Offer(invitation, caller.tenant_name, role.name, OfferState.PENDING)
            invited = change.made(Invited(offer, code))
        # Committed: nobody gets a code that is not good, and no lock waits for a mail server.
        return replace(invited, mailed=await self._mailed(caller, invited, invitee))

    async def withdraw(self, caller: TenantCaller, invitation_id: str) -> None:
        """Raises Refusal `not_found`, and `conflict` for what is not pending any more."""
        async with self._changes.begin(caller.actor, caller.tenant_id) as change:
            invitation = await _made_here(change.tx, caller, invitation_id)
            await end(change, invitation, InvitationState.WITHDRAWN)

    # --- one's own ------------------------------------------------------------------------

    async def own(self, caller: OwnCaller) -> tuple[Offer, ...]:
        """What the caller can answer."""
        return await self._pending(caller.record.username)

    async def answer(
        self, caller: OwnCaller, invitation_id: str, *, accepted: bool, code: str | None = None
    ) -> Offer:
        """Accepts or declines an offer to the caller.

        What a person is offered takes the `code` to accept: an account says
        nothing about who reads the mail that is sent to its address (offers.needs_code).

        Raises Refusal `not_found` for one to others, `insufficient_scope` for a token that
        carries less than its user has, `invalid_request` for `code`, `conflict` for an offer
        that is not pending any more, or that nobody stands behind any more.
        """
        async with self._store.transaction() as tx:
            user = await self_of(tx, caller)
            invitation = await offered_to(tx, user, invitation_id)
            await self._need_whole(tx, caller)
            if accepted and needs_code(user):
                given = code_hash(code or "")
                if not await tx.invitations.is_code(invitation.id, given):
                    raise invalid_request(
                        "To accept this invitation takes the code that was sent with it.",
                        field="code",
                    )
            tenant_id = invitation.tenant_id
        async with self._changes.begin(caller.actor, tenant_id) as change:
            invitation = await offered_to(change.tx, user, invitation_id)
            return await answered(change, user, invitation, accepted=accepted)

    # --- those to a service user at home here ---------------------------------------------

    async def of_service_user(self, caller: TenantCaller, user_id: str) -> tuple[Offer, ...]:
        """What a service user at home here can answer. Raises Refusal `not_found`."""
        async with self._store.transaction() as tx:
            user = await home_service_user(tx, caller, user_id)
        return await self._pending(user.username)

    async def answer_for(
        self, caller: TenantCaller, user_id: str, invitation_id: str, *, accepted: bool
    ) -> Offer:
        """`answer`, for a service user at home here.

        Raises Refusal as `answer` does, and `insufficient_scope` when the service user may do
        here what the caller could not let it.
        """
        async with self._store.transaction() as tx:
            user = await home_service_user(tx, caller, user_id)
            await need_standing(tx, caller, user_id)
            tenant_id = (await offered_to(tx, user, invitation_id)).tenant_id
        async with self._changes.begin(caller.actor, tenant_id) as change:
            invitation = await offered_to(change.tx, user, invitation_id)
            offer = await answered(change, user, invitation, accepted=accepted)
            # At home, too: its administrators answer for what their service users may do.
            change.note(
                f"invitation.{offer.state.value}",
                invitation_id,
                tenant_id=caller.tenant_id,
                user=user.id,
                into=tenant_id,
                role=offer.role_name,
            )
            return offer

    async def _need_whole(self, tx: Transaction, caller: OwnCaller) -> None:
        """Raises Refusal when the caller's key, or its token, has less than the user's roles.

        What is made for one job does not gain its user another role. (An allow-list of endpoints
        has this one, or the call had not come here; one of networks bounds no roles.)
        """
        bounds = await bounds_of(tx, self._lookup, caller)
        if bounds.tenant_id is not None or bounds.role_ids is not None:
            raise Refusal(
                Code.INSUFFICIENT_SCOPE,
                "Invitations are answered with an API key, and a token of it, for all one's roles.",
            )

    async def _pending(self, email: str) -> tuple[Offer, ...]:
        async with self._store.transaction() as tx:
            now = await tx.now()
            return await offers_of(tx, await tx.invitations.pending_for(email, now), now)

    async def _mailed(self, caller: TenantCaller, invited: Invited, invitee: User | None) -> bool:
        offer, to = invited.offer, invited.offer.invitation.email
        if is_generated(to):
            return False
        if invitee is not None and invitee.kind is UserKind.SERVICE:
            return False
        return await self._letters.invite(caller.username, offer, invited.code)


async def self_of(tx: Transaction, caller: OwnCaller) -> User:
    """The caller's user. Raises Refusal `not_found` when it was deleted just now."""
    user = await tx.users.get(caller.record.user_id)
    if user is None:
        raise not_found("the caller is gone")
    return user


async def _made_here(tx: Transaction, caller: TenantCaller, invitation_id: str) -> Invitation:
    invitation = await tx.invitations.get(invitation_id)
    if invitation is None or invitation.tenant_id != caller.tenant_id:
        raise not_found("no such invitation of the tenant")
    return invitation


async def _need_without(tx: Transaction, tenant_id: str, user: User, role: Role) -> None:
    member = await tx.memberships.member(tenant_id, user.id)
    if member is not None and role.id in {held.id for held in member.roles}:
        raise conflict("Whoever has that address holds that role already.", field="role_id")
