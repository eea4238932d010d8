"""What both lookups share: which input can be found at all, and the record made of the rows."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from ..domain.errors import invalid_request
from ..domain.ids import parse_id
from ..domain.model import KeyHash, KeyRecord, Role, TenantRole, UserKind
from .columns import storable


@dataclass(frozen=True, slots=True)
class Asked:
    """A lookup's parameters, checked. `tenants` None: all, `limit` of them behind `after`."""

    key_id: str
    tenants: list[str] | None
    after: str
    limit: int


@dataclass(frozen=True, slots=True)
class KeyRow:
    """The key and its user."""

    key_id: str
    digest: bytes
    pepper_version: int
    expires_at: datetime | None
    revoked_at: datetime | None
    tenant_id: str | None
    user_id: str
    username: str
    user_kind: str
    user_disabled_at: datetime | None
    epoch: int


#: A role that is held in a tenant: its id, the tenant's name, the role's id.
Held = tuple[str, str, str]


def check(key_id: str, tenants: Sequence[str] | None, after: str, limit: int) -> Asked | None:
    """The parameters in the form the databases take; None when no key can be found.

    Malformed tenant ids name no tenant and are left out. `after` and `limit` are for walking
    through all tenants: with `tenants`, the caller has set the bounds, and gets all of them.
    Raises Refusal `invalid_request` when `after` is neither empty nor an id.
    """
    if not storable(key_id):
        return None
    behind = parse_id(after) if after else ""
    if behind is None:
        raise invalid_request("The cursor is not valid.")
    if tenants is None:
        return Asked(key_id, None, behind, limit)
    return Asked(key_id, [t for t in map(parse_id, tenants) if t is not None], "", limit)


def record(asked: Asked, row: KeyRow, held: Iterable[Held], roles: Iterable[Role]) -> KeyRecord:
    """The record, its roles ordered by tenant id and role name, each once."""
    by_id = {role.id: role for role in roles}
    ordered = sorted(set(held), key=lambda item: (item[0], by_id[item[2]].name))
    more = False
    if asked.tenants is None:
        listed = sorted({tenant_id for tenant_id, _, _ in ordered})
        more = len(listed) > asked.limit
        if more:
            kept = set(listed[: asked.limit])
            ordered = [item for item in ordered if item[0] in kept]
    return KeyRecord(
        key_id=row.key_id,
        hash=KeyHash(row.digest, row.pepper_version),
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
        key_tenant_id=row.tenant_id,
        user_id=row.user_id,
        username=row.username,
        user_kind=UserKind(row.user_kind),
        user_disabled_at=row.user_disabled_at,
        epoch=row.epoch,
        roles=tuple(TenantRole(t, name, by_id[role_id]) for t, name, role_id in ordered),
        more_tenants=more,
    )
