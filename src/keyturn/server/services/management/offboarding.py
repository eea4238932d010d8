"""Roles are taken away; and what becomes of a departed person's service users and keys.

Service users outlive who made them: that is the default (`keep`). A tenant may settle that they
are disabled or deleted instead.
"""

from collections.abc import Collection, Iterable
from datetime import datetime

from ...domain.model import (
    ApiKey,
    Member,
    Membership,
    Revocation,
    RevocationKind,
    Role,
    User,
    UserKind,
)
from ...domain.permissions import TENANT_ADMIN
from ...domain.policy import Offboarding, effective
from ...domain.revocations import EVERY_EPOCH
from .changes import Change
from .key_states import OFFBOARDING
from .rotation import revoke_key
from .standing import need_another_administrator, need_other_administrators

#: Why a service user was disabled or deleted, when somebody asked for that.
REQUEST = "request"


async def take_roles(
    change: Change, tenant_id: str, member: Member, roles: Collection[Role], ends: datetime
) -> None:
    """Takes roles that the member has in the tenant. A human without another has left it.

    Whether the caller may, the caller has found out. `ends` is when no access token is left
    that was issued up to now.

    Raises Refusal `conflict` when a tenant's last administrator would go.
    """
    user = member.user
    if any(role.id == TENANT_ADMIN.id for role in roles):
        await need_another_administrator(change.tx, tenant_id, user.id)
    for role in roles:
        await change.tx.memberships.remove(Membership(user.id, tenant_id, role.id, change.now))
        change.note("membership.deleted", user.id, before={"role": role.name}, tenant_id=tenant_id)
    change.reauthorise([user.id])
    if user.kind is UserKind.HUMAN and len(roles) == len(member.roles):
        await _offboard(change, tenant_id, user.id, ends)


async def _offboard(change: Change, tenant_id: str, person_id: str, ends: datetime) -> None:
    """Applies the policies to what a person made in a tenant that it left, and below it.

    Whatever the person still reaches, by a role held above or below, it has not left: there
    all stays as it is.
    """
    tx = change.tx
    users = await tx.users.made_by(person_id, tenant_id)
    keys = await tx.api_keys.made_by(person_id, tenant_id)
    demands = await _demands(change, person_id, [*users, *keys])
    # Keys first: those of deleted users are deleted with them.
    for key in keys:
        if demands[key.home_tenant_id] is not Offboarding.KEEP:
            await revoke_key(change, key, ends, OFFBOARDING)
    for user in users:
        demand = demands[user.home_tenant_id]
        if demand is not Offboarding.KEEP:
            await need_other_administrators(tx, user.home_tenant_id, user.id)
        if demand is Offboarding.DISABLE and user.disabled_at is None:
            await disable(change, user, reason=OFFBOARDING)
        elif demand is Offboarding.DELETE:
            await delete(change, user, ends, reason=OFFBOARDING)


async def disable(change: Change, user: User, *, reason: str = REQUEST) -> None:
    """Disables a user: its tokens end at once, its keys work no more until it is enabled."""
    await change.tx.users.set_disabled(user.id, change.now)
    change.reauthorise([user.id])
    _note(change, "service_user.disabled", user, reason)


async def delete(change: Change, user: User, ends: datetime, *, reason: str = REQUEST) -> None:
    """Deletes a user with its keys and sessions; its access tokens end at once (W3)."""
    for membership, role in await change.tx.memberships.of_user(user.id):
        before = {"role": role.name}
        change.note("membership.deleted", user.id, before=before, tenant_id=membership.tenant_id)
    await change.tx.users.remove(user.id)
    change.revoke(Revocation(RevocationKind.USER, user.id, ends, EVERY_EPOCH))
    _note(change, "service_user.deleted", user, reason)


def _note(change: Change, action: str, user: User, reason: str) -> None:
    before = {"name": user.display_name, "email": user.username}
    change.note(action, user.id, before=before, tenant_id=user.home_tenant_id, reason=reason)


async def _demands(
    change: Change, person_id: str, made: Iterable[User | ApiKey]
) -> dict[str, Offboarding]:
    """What to do in each tenant where something that the person made is at home."""
    tenants = change.tx.tenants
    held = {m.tenant_id for m, _ in await change.tx.memberships.of_user(person_id)}
    demands: dict[str, Offboarding] = {}
    for home in {item.home_tenant_id for item in made}:
        demands[home] = effective(await tenants.policies(home)).offboarding or Offboarding.KEEP
        for above in held:
            if await tenants.reaches(above, home):
                demands[home] = Offboarding.KEEP
                break
    return demands
