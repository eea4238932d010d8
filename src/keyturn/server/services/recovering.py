"""A new key for a person who lost every one: whoever has the master secret may make it.

What they are signed in with ends, and if wanted password and second factor: they may be lost, too.
"""

from dataclasses import dataclass
from datetime import timedelta

from ..domain.administration import administers
from ..domain.errors import Code, Refusal, conflict
from ..domain.model import ApiKey, User, UserKind
from ..domain.sessions import Lifetimes
from ..domain.trail import Actor, AuditEvent
from .management.changes import Change
from .management.ending import end_sign_ins
from .ports import ApiKeyFormat, NewKey, Store, Transaction


@dataclass(frozen=True, slots=True)
class Recovered:
    """The person, and the key that was made.

    `sign_ins` to the console ended; `second_factor` and `password`: there was one, which was
    removed.
    """

    user: User
    key: NewKey
    name: str
    sign_ins: int
    second_factor: bool
    password: bool


async def recover(
    store: Store,
    key_format: ApiKeyFormat,
    lifetimes: Lifetimes,
    *,
    username: str,
    expires_in: timedelta,
    second_factor: bool = False,
    password: bool = False,
) -> Recovered:
    """Makes a key for a person, or a service user that administers the root tenant.

    It narrows nothing, opens nothing that its user might not open before, and expires.

    Sign-ins to the console end. `second_factor`: it is removed, and the password alone will do.
    `password`: it is removed, and a new one is set with the key.

    Raises Refusal `not_found` for nobody of that name, `conflict` for somebody who is disabled,
    and for other service users: whoever administers those makes their keys.
    """
    async with store.transaction() as tx:
        user = await tx.users.by_username(username)
        if user is None:
            raise _nobody()
        root = await tx.tenants.root()
        if root is None:
            raise _nobody()
        administrator = await _administers(tx, user, root.id)
        if user.kind is not UserKind.HUMAN and not administrator:
            raise conflict("This is a service user, and no administrator of the root tenant.")
        if user.disabled_at is not None:
            raise conflict("This user is disabled.")
        now = await tx.now()
        new = key_format.new()
        name = f"recovered {now:%Y-%m-%d %H:%M:%S}"
        key = ApiKey(
            new.key_id, user.id, user.home_tenant_id, name, now, expires_at=now + expires_in
        )
        await tx.api_keys.add(key, new.hash)
        events = [
            AuditEvent(
                "administrator.recovered" if administrator else "user.recovered",
                "done",
                tenant_id=root.id if administrator else user.home_tenant_id,
                target=user.id,
                data={"username": user.username, "api_key": new.key_id},
            ),
            AuditEvent(
                "api_key.created",
                "done",
                tenant_id=user.home_tenant_id,
                target=new.key_id,
                data={"user": user.username},
            ),
        ]
        change = Change(tx, now, Actor(), user.home_tenant_id)
        ended = await end_sign_ins(change, user.id, now + lifetimes.longest_access)
        if ended:
            change.note("user.signed_out", user.id, sign_ins=ended)
            await tx.revocations.add(change.revocations)
        removed = second_factor and await tx.second_factors.remove(user.id)
        if removed:
            change.note("user.second_factor_removed", user.id)
        forgotten = password and await tx.sign_ins.forget_password(user.id)
        if forgotten:
            change.note("user.password_removed", user.id)
        await tx.audit.add([*events, *change.events])
        return Recovered(user, new, name, ended, removed, forgotten)


async def _administers(tx: Transaction, user: User, root_id: str) -> bool:
    held = await tx.memberships.of_user(user.id)
    permissions = frozenset(
        permission
        for membership, role in held
        if membership.tenant_id == root_id
        for permission in role.permissions
    )
    return administers(permissions)


def _nobody() -> Refusal:
    return Refusal(Code.NOT_FOUND, "There is no user of that name.")
