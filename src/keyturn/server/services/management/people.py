"""People: how they come in with a password, change it, and leave."""

from dataclasses import dataclass

from ...domain.addresses import is_generated
from ...domain.authority import whole_roles
from ...domain.errors import Code, Guessed, Refusal, conflict, invalid_request, not_found
from ...domain.ids import new_id, parse_id
from ...domain.model import Invitation, Role, User, UserKind
from ...domain.passwords import check_password
from ...domain.trail import Actor, AuditEvent
from ..callers import OwnCaller
from ..ports import (
    ApiKeyFormat,
    AuditFilter,
    KeyLookup,
    Passwords,
    Slice,
    Store,
    Transaction,
)
from ..throttling import Throttling, Who
from .changes import Change, Changes
from .delegation import bounds_of
from .ending import end_sign_ins
from .invitations import code_hash
from .key_making import MadeKey, WantedKey, make_key
from .offboarding import take_roles
from .offers import Offer, accept, offer_of, role_offered

#: Wrong passwords after which an invitation's code accepts nothing any more. (They are counted in
#: the audit trail: by all nodes together, and as long as an invitation lives.)
MOST_WRONG = 10
_REFUSED = "invitation.refused"


@dataclass(frozen=True, slots=True)
class Newcomer:
    """Who answers an invitation by its code. `name` is how a new person is shown."""

    code: str
    password: str
    name: str | None = None
    key_name: str | None = None

    def __repr__(self) -> str:
        return f"Newcomer(name={self.name!r}, key_name={self.key_name!r})"


@dataclass(frozen=True, slots=True)
class Joined:
    """Who came in where, with the first API key when one was asked for."""

    user: User
    offer: Offer
    key: MadeKey | None = None


@dataclass(frozen=True, slots=True)
class _Invitee:
    """Who may accept an invitation by its code, which can be accepted.

    Somebody new, who becomes a user; or a person with the hash of a password. With neither of
    them nobody may by a code: it is a service user, disabled, or has no password.
    """

    invitation: Invitation
    role: Role
    user: User | None
    stored: str | None
    is_new: bool = False


class PeopleManagement:
    """What people do about themselves."""

    def __init__(
        self,
        store: Store,
        changes: Changes,
        passwords: Passwords,
        lookup: KeyLookup,
        key_format: ApiKeyFormat,
        throttling: Throttling,
    ) -> None:
        self._store = store
        self._throttling = throttling
        self._changes = changes
        self._passwords = passwords
        self._lookup = lookup
        self._key_format = key_format

    async def join(self, newcomer: Newcomer, address: str | None) -> Joined:
        """Accepts an invitation by its code.

        Somebody new gets an account, at home in the inviting tenant, with this password; who
        has an account gives its password. A service user has none, and a person without one
        answers with an API key: whoever invites knows the code, and must not gain an account
        by it. Nor whether there is one: a password is looked at before the account is, and
        every code that can be accepted costs one computation, no other code any.

        Raises Refusal `invalid_request` for `code`, and for a `password` that nobody should
        have; `conflict` when the tenant may have no more API keys. Raises Throttled.
        """
        check_password(newcomer.password, names=())
        invitee = await self._invitee(newcomer.code)
        if invitee is None:
            raise _bad_code("a code of nothing that can be accepted")
        invitation, known = invitee.invitation, invitee.user
        check_password(newcomer.password, names=(invitation.email,))
        new_hash = None
        if invitee.is_new:
            new_hash = await self._passwords.hash(newcomer.password)
        elif not await self._is_right(newcomer.password, invitee, address):
            await self._note_refused(invitation, address)
            raise _bad_code("no account that can accept it, or not its password")
        if known is not None and newcomer.key_name is not None:
            raise invalid_request(
                "Only somebody new gets a first API key: you have an account.", field="api_key"
            )
        user_id = new_id() if known is None else known.id
        actor, tenant_id = Actor(user_id, address=address), invitation.tenant_id
        async with self._changes.begin(actor, tenant_id) as change:
            # It took a while to compute the hash: the code may be spent, the password changed.
            again = await _invitee(change.tx, code_hash(newcomer.code))
            if again is None or (again.is_new, again.stored) != (invitee.is_new, invitee.stored):
                raise _bad_code("answered or changed meanwhile")
            user = again.user or await _new_person(change, user_id, again.invitation, newcomer)
            if new_hash is not None:
                await change.tx.users.set_password(user_id, new_hash, change.now)
            ended = await accept(change, user, again.invitation, again.role)
            key = None
            if newcomer.key_name is not None:
                wanted = WantedKey(newcomer.key_name)
                key = await make_key(change, self._key_format, user, wanted, made_by=user_id)
            return Joined(user, await offer_of(change.tx, ended, change.now), key)

    async def preview(self, code: str) -> tuple[Offer, str]:
        """What an invitation offers, and the name of who invites: for who has its code.

        Whether there is an account is not told. Raises Refusal `invalid_request` for `code`, the
        same whatever is wrong with it.
        """
        async with self._store.transaction() as tx:
            invitee = await _invitee(tx, code_hash(code))
            inviter = invitee and await tx.users.get(invitee.invitation.created_by or "")
            if not invitee or not inviter:
                raise _bad_code("previewed", "The code is not valid, or not any more.")
            return await offer_of(tx, invitee.invitation, await tx.now()), inviter.display_name

    async def change_password(self, caller: OwnCaller, current: str | None, new: str) -> None:
        """Gives the caller another password. All sessions go on: keys made them, not it. Sign-ins
        to the console end, but for the one that this is done in.

        Somebody without one has `current` None; then an API key vouches that nothing narrows.

        Raises Refusal `invalid_request` for `current` or `new`, `access_denied` for service
        users, `insufficient_scope` when a narrowed key or token wants to set the first one.
        Raises Throttled.
        """
        if caller.record.user_kind is not UserKind.HUMAN:
            raise Refusal(Code.ACCESS_DENIED, "Service users have no password.")
        try:
            check_password(new, names=(caller.record.username,))
        except Refusal as weak:
            raise invalid_request(weak.public, field="new") from None
        user_id = caller.record.user_id
        async with self._store.transaction() as tx:
            stored = await tx.users.password(user_id)
        if current is None and stored is None:
            await self._need_whole(caller)
        else:
            who = Who(user_id, caller.record.key_id, caller.record.home_tenant_id)
            self._throttling.password(f"of {user_id}", caller.actor.address, who)
            if not await self._passwords.verify(current or "", stored):
                raise _wrong_password()
        new_hash = await self._passwords.hash(new)
        async with self._changes.begin(caller.actor, caller.record.home_tenant_id) as change:
            if await change.tx.users.password(user_id) != stored:
                raise _wrong_password()
            await change.tx.users.set_password(user_id, new_hash, change.now)
            last = self._changes.last_token_ends(change.now)
            await end_sign_ins(change, user_id, last, but=caller.token.key_id)
            change.note("user.password_changed", user_id)

    async def leave(self, caller: OwnCaller, tenant_id: str) -> None:
        """Gives up all roles that the caller has in the tenant itself, at once.

        What reaches it from above stays. A person's service users and keys there become what
        the tenant's policy says (`offboarding`).

        Raises Refusal `not_found` for a tenant that caller or token has no such role in,
        `insufficient_scope` when the token carries only some of them, `conflict` for the
        tenant's last administrator, and for a service user's home.
        """
        left = parse_id(tenant_id)
        carried = None if left is None else await self._carried(caller, left)
        if left is None or carried is None:
            raise not_found("the token does not reach the tenant")
        async with self._changes.begin(caller.actor, left) as change:
            member = await change.tx.memberships.member(left, caller.record.user_id)
            if member is None:
                raise not_found("no role in the tenant itself")
            if not {role.name for role in member.roles} <= carried:
                raise Refusal(
                    Code.INSUFFICIENT_SCOPE, "To leave takes a token with all your roles there."
                )
            user = member.user
            if user.kind is UserKind.SERVICE and user.home_tenant_id == left:
                raise conflict("A service user stays where it is at home.")
            ends = self._changes.last_token_ends(change.now)
            await take_roles(change, left, member, member.roles, ends)

    async def _is_right(self, password: str, invitee: _Invitee, address: str | None) -> bool:
        who = Who(tenant_id=invitee.invitation.tenant_id)
        self._throttling.password(f"invited {invitee.invitation.email}", address, who)
        return await self._passwords.verify(password, invitee.stored)

    async def _note_refused(self, invitation: Invitation, address: str | None) -> None:
        """Tells the inviting tenant that somebody had the code, and no more about whom."""
        refused = AuditEvent(
            _REFUSED,
            "refused",
            actor=Actor(address=address),
            tenant_id=invitation.tenant_id,
            target=invitation.id,
            data={"why": "not with this password"},
        )
        async with self._store.transaction() as tx:
            await tx.audit.add([refused])

    async def _invitee(self, code: str) -> _Invitee | None:
        async with self._store.transaction() as tx:
            return await _invitee(tx, code_hash(code))

    async def _carried(self, caller: OwnCaller, tenant_id: str) -> frozenset[str] | None:
        """The names of the roles that the token carries whole there; None: it has none at all."""
        token = caller.token
        if token.roles is not None:
            names = token.roles.get(tenant_id)
            return None if names is None else frozenset(names)
        record = await self._lookup.find(token.key_id, tenants=[tenant_id])
        if record is None or not record.roles:
            return None
        return frozenset(item.role.name for item in whole_roles(record))

    async def _need_whole(self, caller: OwnCaller) -> None:
        """Raises Refusal when the caller's key, or its token, may do less than its user.

        A key made for one job could else make itself a credential for all of them.
        """
        async with self._store.transaction() as tx:
            bounds = await bounds_of(tx, self._lookup, caller)
        narrowing = {bounds.tenant_id, bounds.role_ids, bounds.endpoint_ids, bounds.networks}
        if narrowing != {None}:
            raise Refusal(
                Code.INSUFFICIENT_SCOPE,
                "A first password is set with an API key, and a token of it, that nothing narrows.",
            )


async def _invitee(tx: Transaction, hashed: bytes) -> _Invitee | None:
    """Who may accept the invitation by its code; None for a code of none that can be accepted."""
    invitation = await tx.invitations.by_code(hashed)
    if invitation is None or not invitation.pending(await tx.now()):
        return None
    role = await role_offered(tx, invitation)
    if role is None or await _guessed_at(tx, invitation):
        return None
    user = await tx.users.by_username(invitation.email)
    # A person with a generated address could be taken for a service user, or stand in one's way.
    may_be_human = not is_generated(invitation.email)
    if user is None:
        return _Invitee(invitation, role, None, None, is_new=may_be_human)
    stored = await tx.users.password(user.id)
    if user.kind is not UserKind.HUMAN or user.disabled_at is not None or not may_be_human:
        stored = None
    return _Invitee(invitation, role, user, stored)


async def _guessed_at(tx: Transaction, invitation: Invitation) -> bool:
    wanted = AuditFilter(action=_REFUSED, target=invitation.id)
    wrong = await tx.audit.events(invitation.tenant_id, wanted, Slice(MOST_WRONG))
    return len(wrong.items) == MOST_WRONG


async def _new_person(
    change: Change, user_id: str, invitation: Invitation, newcomer: Newcomer
) -> User:
    email = invitation.email
    user = User(
        user_id,
        UserKind.HUMAN,
        email,
        newcomer.name or email,
        invitation.tenant_id,
        1,
        change.now,
        created_by=invitation.created_by,
    )
    await change.tx.users.add(user)
    change.note(
        "user.created",
        user.id,
        after={"email": email, "name": user.display_name, "kind": user.kind},
    )
    return user


def _bad_code(
    detail: str, public: str = "The code is not valid, or not with this password."
) -> Refusal:
    return Guessed(Code.INVALID_REQUEST, public, detail=detail, field="code")


def _wrong_password() -> Refusal:
    public = "The current password is not right."
    return Guessed(Code.INVALID_REQUEST, public, field="current")
