"""Whether a caller may act on a user at all, and whether a tenant can spare one.

To act on a user takes *standing*: whoever does it must be able to give every role that the user
holds at the caller's tenant, below or above it. That is enough to add to what the user may do and
to take away from it. To make a key of the user, to change one or to enable the user is more: it
puts all that the user may do, wherever it is, into the caller's hands, and takes *command*.
"""

from ...domain.administration import administers, may_give, need_to_give
from ...domain.errors import conflict, gives_more, invalid_request, not_found
from ...domain.model import Role, User, UserKind
from ...domain.permissions import TENANT_ADMIN
from ..callers import TenantCaller
from ..ports import Transaction


async def need_standing(tx: Transaction, caller: TenantCaller, user_id: str) -> None:
    """Raises Refusal `insufficient_scope` when the user has a role the caller could not give."""
    beyond = {
        membership.tenant_id
        for membership, role in await tx.memberships.of_user(user_id)
        if not may_give(caller.permissions, role.permissions)
    }
    for tenant_id in sorted(beyond):
        if await _in_line(tx, caller.tenant_id, tenant_id):
            raise gives_more("the user holds a role that the caller could not give")


async def need_command(tx: Transaction, caller: TenantCaller, user_id: str) -> None:
    """Raises Refusal `insufficient_scope` when the user may do what the caller may not.

    Roles above the caller's tenant are given by those who hold as much there themselves. Where
    the user has roles in tenants apart, somebody there trusted its home: its administrators
    answer for that, and nobody else.
    """
    await need_standing(tx, caller, user_id)
    places: dict[str, frozenset[str]] = {}
    for membership, role in await tx.memberships.of_user(user_id):
        given = places.get(membership.tenant_id, frozenset())
        places[membership.tenant_id] = given | role.permissions
    for place, permissions in sorted(places.items()):
        if await tx.tenants.reaches(caller.tenant_id, place):
            continue
        if await tx.tenants.reaches(place, caller.tenant_id):
            if not may_give(await _carried_above(tx, caller, place), permissions):
                raise gives_more("the user holds a role above that the caller lacks there")
        elif not administers(caller.permissions):
            raise gives_more("the user holds a role in a tenant apart")


async def need_another_administrator(tx: Transaction, tenant_id: str, leaving: str) -> None:
    """Raises Refusal `conflict` when `leaving` is the tenant's only administrator.

    To be asked before it is taken away, under the tenant's lock: else two could leave at once.
    A tenant that has none of its own is administered from above.
    """
    if await tx.memberships.administrators(tenant_id) == (leaving,):
        raise conflict("The tenant's last administrator stays.")


async def need_other_administrators(tx: Transaction, tenant_id: str, leaving: str) -> None:
    """`need_another_administrator`, for the tenant, those below and those above it.

    Not for tenants apart: they cannot keep a user alive that its home wants to be rid of.
    """
    administered = {
        membership.tenant_id
        for membership, role in await tx.memberships.of_user(leaving)
        if role.id == TENANT_ADMIN.id
    }
    for other in sorted(administered):
        if await _in_line(tx, tenant_id, other):
            await tx.tenants.lock(other)
            await need_another_administrator(tx, other, leaving)


async def home_service_user(tx: Transaction, caller: TenantCaller, user_id: str) -> User:
    """The service user at home in the caller's tenant. Raises Refusal `not_found`."""
    user = await tx.users.get(user_id)
    if user is None or user.kind is not UserKind.SERVICE or user.home_tenant_id != caller.tenant_id:
        raise not_found("no such service user at home in the tenant")
    return user


async def role_to_give(
    tx: Transaction, caller: TenantCaller, tenant_id: str, role_id: str, field: str
) -> Role:
    """The role, which the caller gives somebody in a tenant at or below its own.

    Raises Refusal `invalid_request` for `field` when no such role can be given in that tenant,
    and `insufficient_scope` when the caller lacks what is in it.
    """
    role = await tx.roles.get(role_id)
    if role is None or not (
        role.tenant_id is None or await tx.tenants.reaches(role.tenant_id, tenant_id)
    ):
        raise invalid_request("There is no such role in the tenant.", field=field)
    need_to_give(caller.permissions, role.permissions)
    return role


async def _carried_above(tx: Transaction, caller: TenantCaller, place: str) -> frozenset[str]:
    """What the caller's token carries in a tenant above its own, in whole roles."""
    token = caller.token
    key = await tx.api_keys.of_caller(token.key_id)
    if key is None or token.tenant_id is not None:
        return frozenset()
    carried: set[str] = set()
    for membership, role in await tx.memberships.of_user(caller.user_id):
        if key.role_ids is not None and role.id not in key.role_ids:
            continue
        if token.roles is not None and role.name not in token.roles.get(membership.tenant_id, ()):
            continue
        if await tx.tenants.reaches(membership.tenant_id, place):
            carried.update(role.permissions)
    return frozenset(carried)


async def _in_line(tx: Transaction, one: str, other: str) -> bool:
    """Whether one of the two tenants is the other or stands above it."""
    return await tx.tenants.reaches(one, other) or await tx.tenants.reaches(other, one)
