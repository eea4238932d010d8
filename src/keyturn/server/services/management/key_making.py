"""How an API key is made and changed, whoever does it."""

from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime, timedelta
from enum import Enum

from ...domain.errors import conflict, invalid_request
from ...domain.model import ApiKey, User
from ...domain.networks import check_networks
from ...domain.policy import effective
from ...domain.revocations import FOREVER_YEAR
from ..ports import ApiKeyFormat
from .changes import Change, Versions, need_version
from .delegation import bounded, need_within
from .key_states import told
from .narrowing import check_endpoints, check_roles, need_role_in

#: Keys of one user that can be used still.
MAX_KEYS = 100


@dataclass(frozen=True, slots=True)
class WantedKey:
    """A key as it is asked for. None leaves it as wide as its user is.

    It ends at `expires_at`, or `expires_in` seconds after it was made; `idle_timeout` is in
    seconds, too.
    """

    name: str
    role_ids: tuple[str, ...] | None = None
    endpoint_ids: tuple[str, ...] | None = None
    networks: tuple[str, ...] | None = None
    tenant_id: str | None = None
    expires_at: datetime | None = None
    idle_timeout: int | None = None
    expires_in: int | None = None


@dataclass(frozen=True, slots=True)
class MadeKey:
    """A key with its secret, which is shown this once."""

    key: ApiKey
    secret: str = field(repr=False)


class Unchanged(Enum):
    """What a change leaves as it is."""

    UNCHANGED = "unchanged"


UNCHANGED = Unchanged.UNCHANGED


@dataclass(frozen=True, slots=True)
class KeyChange:
    """What is to be changed of a key: its name, and what narrows it (None: nothing does, F3)."""

    name: str | Unchanged = UNCHANGED
    role_ids: tuple[str, ...] | Unchanged | None = UNCHANGED
    endpoint_ids: tuple[str, ...] | Unchanged | None = UNCHANGED
    networks: tuple[str, ...] | Unchanged | None = UNCHANGED

    @property
    def narrows(self) -> bool:
        """Whether it is about more than the name."""
        return (self.role_ids, self.endpoint_ids, self.networks) != (UNCHANGED,) * 3

    def applied_to(self, key: ApiKey) -> ApiKey:
        """The key, changed."""
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        return replace(key, **{name: v for name, v in values.items() if v is not UNCHANGED})


async def make_key(
    change: Change,
    key_format: ApiKeyFormat,
    user: User,
    wanted: WantedKey,
    *,
    made_by: str | None,
    within: ApiKey | None = None,
) -> MadeKey:
    """Makes a key of `user`, in a change of the user's home tenant. Whether the caller may do
    that, the caller has found out. `within` bounds it, when it is made with another key.

    Raises Refusal `invalid_request` that names the field at fault, `insufficient_scope` for
    what is wider than `within`; `conflict` when the user has a live key of that name or
    `MAX_KEYS`, or the tenant as many keys as its policy allows.
    """
    tx, now, home = change.tx, change.now, user.home_tenant_id
    policy = effective(await tx.tenants.policies(home))
    limit = policy.max_api_keys or 0
    if await tx.api_keys.count_at_home(home, now, limit) >= limit:
        raise conflict("The tenant has as many API keys as its policy allows.")
    if await tx.api_keys.count_of_user(user.id, now, MAX_KEYS) >= MAX_KEYS:
        raise conflict("The user has as many API keys as one may have.")
    await _need_free_name(change, user.id, wanted.name)
    new = key_format.new()
    roles, endpoints, networks = wanted.role_ids, wanted.endpoint_ids, wanted.networks
    key = ApiKey(
        new.key_id,
        user.id,
        home,
        wanted.name,
        now,
        created_by=made_by,
        tenant_id=wanted.tenant_id,
        role_ids=None if roles is None else await check_roles(tx, user, roles),
        endpoint_ids=None if endpoints is None else await check_endpoints(tx, user, endpoints),
        networks=None if networks is None else check_networks(networks),
        expires_at=_expiry(wanted, now),
        idle_timeout=wanted.idle_timeout,
    )
    if within is not None:
        key = bounded(key, within)
    if key.tenant_id is not None:
        await need_role_in(tx, user, key.tenant_id, key.role_ids, "tenant_id")
    if policy.max_api_key_lifetime is not None:
        key = _expiring(key, wanted, now + timedelta(seconds=policy.max_api_key_lifetime))
    await tx.api_keys.add(key, new.hash)
    change.note("api_key.created", key.id, after=told(key), tenant_id=home)
    return MadeKey(key, new.text)


async def change_key(
    change: Change,
    user: User,
    key: ApiKey,
    wanted: KeyChange,
    seen: Versions,
    *,
    within: ApiKey | None = None,
) -> ApiKey:
    """Changes a key. Whether the caller may do that, the caller has found out. `within` bounds
    what narrows it from now on, as in `make_key`.

    Raises Refusal `stale`, `conflict` for the name of another live key of the user,
    `insufficient_scope` for what is wider than `within`, and `invalid_request` that names the
    field at fault.
    """
    need_version(seen, key.version)
    tx, changed = change.tx, wanted.applied_to(key)
    if changed.name != key.name:
        await _need_free_name(change, key.user_id, changed.name)
    if isinstance(wanted.role_ids, tuple):
        changed = replace(changed, role_ids=await check_roles(tx, user, wanted.role_ids))
        if key.tenant_id is not None:
            await need_role_in(tx, user, key.tenant_id, changed.role_ids, "role_ids")
    if isinstance(wanted.endpoint_ids, tuple):
        ids = await check_endpoints(tx, user, wanted.endpoint_ids)
        changed = replace(changed, endpoint_ids=ids)
    if isinstance(wanted.networks, tuple):
        changed = replace(changed, networks=check_networks(wanted.networks))
    if within is not None:
        if wanted.endpoint_ids is not UNCHANGED:
            need_within(replace(within, endpoint_ids=changed.endpoint_ids), within)
        if wanted.networks is not UNCHANGED:
            need_within(replace(within, networks=changed.networks), within)
    if changed == key:
        return key
    if wanted.narrows:
        change.reauthorise([key.user_id])
    change.note(
        "api_key.changed",
        key.id,
        tenant_id=key.home_tenant_id,
        before=told(key),
        after=told(changed),
    )
    return await tx.api_keys.save(changed)


async def _need_free_name(change: Change, user_id: str, name: str) -> None:
    if await change.tx.api_keys.name_taken(user_id, name, change.now):
        raise conflict("The user has an API key of this name.", field="name")


def _expiry(wanted: WantedKey, now: datetime) -> datetime | None:
    """When the key is asked to end; None when nothing was said."""
    if wanted.expires_in is not None and wanted.expires_at is not None:
        raise invalid_request("Say expires_at or expires_in, not both.", field="expires_in")
    if wanted.expires_in is not None:
        return now + timedelta(seconds=wanted.expires_in)
    expires_at = wanted.expires_at
    if expires_at is None:
        return None
    if expires_at <= now:
        raise invalid_request("The expiry has passed.", field="expires_at")
    if expires_at.year >= FOREVER_YEAR:
        raise invalid_request("For a key without expiry, leave it out.", field="expires_at")
    return expires_at.astimezone(UTC)


def _expiring(key: ApiKey, wanted: WantedKey, latest: datetime) -> ApiKey:
    """The key, ending at `latest` unless it ends before: keys must expire where policy says so."""
    if key.expires_at is not None and key.expires_at <= latest:
        return key
    for name in ("expires_at", "expires_in"):
        if getattr(wanted, name) is not None:
            raise invalid_request("The tenant's policy wants the key to end earlier.", field=name)
    return replace(key, expires_at=latest)
