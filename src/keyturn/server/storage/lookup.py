"""What both lookups share: which input can be found at all, and the record made of the rows."""

from collections.abc import Iterable, Sequence
from datetime import datetime

import orjson

from ..domain.errors import invalid_request
from ..domain.ids import parse_id
from ..domain.model import KeyHash, KeyRecord, OldSecret, Role, TenantRole, UserKind
from ..domain.permissions import ADMINISTERING
from ..domain.records import transient
from .columns import storable


@transient
class Asked:
    """A lookup's parameters, checked. `tenants` None: all, `limit` of them behind `after`."""

    key_id: str
    tenants: list[str] | None
    after: str
    limit: int


@transient
class KeyRow:
    """The key and its user.

    `networks` and `endpoint_ids` are lists in JSON, `openings` one of what opens each of them:
    only of those at or above the user's home tenant, for whoever edits a catalogue below or beside
    it would say what the key carries everywhere; and of none that is administrative.
    """

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
    home_tenant_id: str
    old_digest: bytes | None
    old_pepper_version: int | None
    old_until: datetime | None
    old_ends_on_use: bool | None
    networks: str | None
    endpoint_ids: str | None
    openings: str | None
    idle_since: datetime
    idle_timeout: int | None
    sessions_epoch: int
    single_token: bool | None
    for_console: bool


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
        home_tenant_id=row.home_tenant_id,
        old_secret=_old_secret(row),
        networks=_texts(row.networks),
        endpoint_ids=_texts(row.endpoint_ids),
        opened=_opened(row),
        idle_since=row.idle_since,
        idle_timeout=row.idle_timeout,
        sessions_epoch=row.sessions_epoch,
        single_token=bool(row.single_token),
        for_console=bool(row.for_console),
    )


def _old_secret(row: KeyRow) -> OldSecret | None:
    if row.old_digest is None or row.old_pepper_version is None or row.old_until is None:
        return None
    old = KeyHash(row.old_digest, row.old_pepper_version)
    return OldSecret(old, row.old_until, bool(row.old_ends_on_use))


def _opened(row: KeyRow) -> frozenset[str] | None:
    if row.endpoint_ids is None:
        return None
    openings: list[list[list[str]]] = orjson.loads(row.openings or "[]")
    names = {name for groups in openings for group in groups for name in group}
    # An endpoint may come to administer after it was listed (F6): the list does not give that.
    return frozenset(names - ADMINISTERING)


def _texts(listed: str | None) -> tuple[str, ...] | None:
    return None if listed is None else tuple(orjson.loads(listed))
