"""Which roles a token carries in a tenant, and which tenant is at the top."""

from ..domain.errors import not_a_member
from ..domain.model import TenantRole
from ..domain.records import transient
from ..domain.tokens import AccessToken
from .ports import Store


@transient
class Me:
    """Who the caller is, and what it effectively has, tenant by tenant."""

    user_id: str
    username: str
    kind: str
    key_id: str
    roles: tuple[TenantRole, ...]
    next_after: str | None


async def named_in(store: Store, token: AccessToken, tenant_id: str) -> frozenset[str] | None:
    """The names of the roles that the token carries whole in the tenant; None: it lists none.

    A tenant that was made after the token is not in it; the roles carried above reach it.
    Raises Refusal `access_denied`, Unavailable.
    """
    if token.roles is None:
        return None
    if tenant_id in token.roles:
        return frozenset(token.roles[tenant_id])
    names: set[str] = set()
    if token.tenant_id is None:
        async with store.transaction() as tx:
            for above, roles in token.roles.items():
                if await tx.tenants.reaches(above, tenant_id):
                    names.update(roles)
    if not names:
        raise not_a_member("the token does not name the tenant")
    return frozenset(names)


async def held_by(store: Store, user_id: str) -> frozenset[tuple[str, str]]:
    """The roles that a user holds: the ids of the tenant, and of the role. Raises Unavailable."""
    async with store.transaction() as tx:
        roles = await tx.memberships.of_user(user_id)
    return frozenset((membership.tenant_id, role.id) for membership, role in roles)


async def root_of(store: Store) -> str | None:
    """The id of the platform's tenant; None before there is one. Raises Unavailable."""
    async with store.transaction() as tx:
        root = await tx.tenants.root()
    return None if root is None else root.id
