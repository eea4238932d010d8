"""What a key may be narrowed to: roles of its user, endpoints of the catalogue, a tenant."""

from collections.abc import Collection, Sequence

from ...domain.errors import invalid_request
from ...domain.model import User
from ..ports import Transaction

#: Roles and endpoints that one key may be narrowed to.
MAX_ROLES, MAX_ENDPOINTS = 100, 500


async def check_roles(tx: Transaction, user: User, role_ids: Sequence[str]) -> tuple[str, ...]:
    """The roles, each once. Raises Refusal `invalid_request` for one that the user lacks."""
    chosen = _chosen(role_ids, MAX_ROLES, "role_ids")
    held = {membership.role_id for membership, _ in await tx.memberships.of_user(user.id)}
    for index, role_id in enumerate(chosen):
        if role_id not in held:
            raise invalid_request("The user does not hold this role.", field=f"role_ids.{index}")
    return chosen


async def check_endpoints(
    tx: Transaction, user: User, endpoint_ids: Sequence[str]
) -> tuple[str, ...]:
    """The endpoints, each once.

    Raises Refusal `invalid_request` for one that is neither in the catalogue of the user's home
    tenant nor in one above it: whoever edits it says what the key carries, wherever the user has
    roles. Also for one that may stand on no list (F6).
    """
    chosen = _chosen(endpoint_ids, MAX_ENDPOINTS, "endpoint_ids")
    found = {endpoint.id: endpoint for endpoint in await tx.endpoints.many(chosen)}
    known = {
        owner: await tx.tenants.reaches(owner, user.home_tenant_id)
        for owner in {endpoint.tenant_id for endpoint in found.values()}
    }
    for index, endpoint_id in enumerate(chosen):
        field = f"endpoint_ids.{index}"
        endpoint = found.get(endpoint_id)
        if endpoint is None or not known[endpoint.tenant_id]:
            raise invalid_request("The catalogue has no such endpoint.", field=field)
        if not endpoint.listable:
            raise invalid_request("What administers users stands on no list.", field=field)
    return chosen


async def need_role_in(
    tx: Transaction, user: User, tenant_id: str, role_ids: Collection[str] | None, field: str
) -> None:
    """Raises Refusal `invalid_request` when none of these roles (None: none at all) of the user
    reaches the tenant. It is the same for a tenant that there is not.
    """
    for membership, _ in await tx.memberships.of_user(user.id):
        if role_ids is not None and membership.role_id not in role_ids:
            continue
        if await tx.tenants.reaches(membership.tenant_id, tenant_id):
            return
    raise invalid_request("The user has no such role in the key's tenant.", field=field)


def _chosen(ids: Sequence[str], at_most: int, field: str) -> tuple[str, ...]:
    if not ids:  # F3
        raise invalid_request("Choose at least one, or null for all.", field=field)
    if len(ids) > at_most:
        raise invalid_request("There are too many.", field=field)
    return tuple(dict.fromkeys(ids))
