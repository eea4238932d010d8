"""API keys of a tenant, for its administrators; and how a key is made, whoever makes it."""

from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime, timedelta
from enum import Enum

from ...domain.errors import Code, Refusal, conflict, invalid_request, not_found
from ...domain.model import ApiKey, User, UserKind
from ...domain.networks import check_networks
from ...domain.policy import effective
from ...domain.revocations import FOREVER_YEAR
from ..callers import TenantCaller
from ..ports import ApiKeyFormat, Page, Slice, Store, Transaction
from .changes import Change, Changes, Once, Versions, need_version
from .delegation import bounded
from .key_states import ListedKey, listed, listed_page, told
from .narrowing import check_endpoints, check_roles, need_role_in
from .rotation import WantedRotation, revoke_key, rotate_key
from .standing import home_service_user, need_standing


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
    what is wider than `within`; `conflict` when the user has a live key of that name, or the
    tenant as many keys as its policy allows.
    """
    tx, now, home = change.tx, change.now, user.home_tenant_id
    policy = effective(await tx.tenants.policies(home))
    limit = policy.max_api_keys or 0
    if await tx.api_keys.count_at_home(home, now, limit) >= limit:
        raise conflict("The tenant has as many API keys as its policy allows.")
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
    change: Change, user: User, key: ApiKey, wanted: KeyChange, seen: Versions
) -> ApiKey:
    """Changes a key. Whether the caller may do that, the caller has found out.

    Raises Refusal `stale`, `conflict` for the name of another live key of the user, and
    `invalid_request` that names the field at fault.
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


class ApiKeyManagement:
    """Manages the keys at home in the caller's tenant, which are those of the users there.

    Administrators make, change and rotate the keys of service users; humans' keys they see
    and may revoke (N3).
    """

    def __init__(self, store: Store, changes: Changes, key_format: ApiKeyFormat) -> None:
        self._store = store
        self._changes = changes
        self._format = key_format

    async def list(
        self, caller: TenantCaller, part: Slice, *, user_id: str | None = None
    ) -> Page[ListedKey]:
        """All keys, or one user's, dead ones too."""
        async with self._store.transaction() as tx:
            page = await tx.api_keys.at_home(caller.tenant_id, part, user_id=user_id)
            return await listed_page(tx, caller.tenant_id, page)

    async def get(self, caller: TenantCaller, key_id: str) -> ListedKey:
        """Raises Refusal `not_found`."""
        async with self._store.transaction() as tx:
            return await listed(tx, await _at_home(tx, caller, key_id))

    async def make(
        self,
        caller: TenantCaller,
        user_id: str,
        wanted: WantedKey,
        once: Once[MadeKey] | None = None,
    ) -> MadeKey:
        """A key for a service user at home in the tenant (N3).

        Raises Refusal `not_found` for everybody else, `insufficient_scope` when the user may do
        what the caller may not, and as `make_key`.
        """
        async with self._changes.begin(caller.actor, caller.tenant_id, once) as change:
            if user_id == caller.user_id:
                raise _own("Keys of your own are made at /users/me/api-keys.")
            user = await home_service_user(change.tx, caller, user_id)
            await need_standing(change.tx, caller, user_id)
            return change.made(
                await make_key(change, self._format, user, wanted, made_by=caller.user_id)
            )

    async def change(
        self, caller: TenantCaller, key_id: str, wanted: KeyChange, seen: Versions
    ) -> ListedKey:
        """Renames a key, or narrows it otherwise: tokens from before die.

        Raises Refusal `not_found`, `insufficient_scope` for a human's key and for what narrows
        the caller's own, and as `change_key`.
        """
        async with self._changes.begin(caller.actor, caller.tenant_id) as change:
            key = await _at_home(change.tx, caller, key_id)
            if key.user_id == caller.user_id and wanted.narrows:
                raise _own("What narrows a key of your own is for another administrator to change.")
            user = await _manageable(change.tx, caller, key)
            key = await change_key(change, user, key, wanted, seen)
            return await listed(change.tx, key)

    async def rotate(self, caller: TenantCaller, key_id: str, wanted: WantedRotation) -> MadeKey:
        """A new secret for a service user's key.

        Raises Refusal `not_found`, `insufficient_scope`, and as `rotate_key`.
        """
        async with self._changes.begin(caller.actor, caller.tenant_id) as change:
            key = await _at_home(change.tx, caller, key_id)
            if key.user_id == caller.user_id:
                raise _own("Keys of your own are rotated at /users/me/api-keys.")
            await _manageable(change.tx, caller, key)
            return MadeKey(*await rotate_key(change, self._format, key, wanted))

    async def revoke(self, caller: TenantCaller, key_id: str) -> ListedKey:
        """Ends a key and all that was issued for it. Raises Refusal `not_found`."""
        async with self._changes.begin(caller.actor, caller.tenant_id) as change:
            key = await _at_home(change.tx, caller, key_id)
            last = self._changes.last_token_ends(change.now)
            return await listed(change.tx, await revoke_key(change, key, last))


async def _at_home(tx: Transaction, caller: TenantCaller, key_id: str) -> ApiKey:
    key = await tx.api_keys.get(key_id)
    if key is None or key.home_tenant_id != caller.tenant_id:
        raise not_found("no such key at home in the tenant")
    return key


async def _manageable(tx: Transaction, caller: TenantCaller, key: ApiKey) -> User:
    """The key's user, if the caller may dispose of what the key gives, or is the user."""
    user = await tx.users.get(key.user_id)
    if user is None:
        raise not_found("the user is gone")
    if user.id != caller.user_id:
        if user.kind is UserKind.HUMAN:
            raise _own("Humans change their keys themselves. Others may revoke them.")
        await need_standing(tx, caller, user.id)
    return user


def _own(public: str) -> Refusal:
    return Refusal(Code.INSUFFICIENT_SCOPE, public)


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
