"""The permissions that roles are made of: Keyturn's own, and those that tenants registered."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from ...domain.errors import conflict, not_found
from ...domain.model import Permission
from ...domain.permissions import OWN, check_permission
from ..callers import TenantCaller
from ..ports import Page, Slice, Store
from .changes import Change, Changes

#: That one tenant registers.
MAX_PERMISSIONS = 1_000

#: What Keyturn's own permissions open.
OWN_DESCRIBED: Mapping[str, str] = {
    "audit:read": "Read what was done in the tenant.",
    "endpoints:read": "Search the endpoint catalogue, and ask what opens a call.",
    "endpoints:write": "Register, import, change and delete endpoints.",
    "invitations:accept": "Accept or decline invitations of the tenant's service users.",
    "keys:read": "List the API keys of the tenant's users.",
    "keys:write": "Make, change, rotate and revoke API keys of service users.",
    "roles:read": "List roles and permissions.",
    "roles:write": "Make, change and delete roles, and register permissions.",
    "resource-servers:read": "List the tenant's resource servers.",
    "resource-servers:write": "Register, change and remove resource servers.",
    "sessions:read": "List the sessions of the tenant's users.",
    "signing-keys:read": "List the keys that sign tokens.",
    "signing-keys:write": "Rotate, import and revoke the keys that sign tokens.",
    "tenants:read": "Read the tenant and those below it.",
    "tenants:write": "Make, rename, suspend and delete tenants below, and settle policies.",
    "tokens:introspect": "Ask what a token is worth.",
    "tokens:revoke": "End other users' tokens and sessions.",
    "users:read": "List users, members and invitations.",
    "users:write": "Make, change and delete users, and say which roles they have.",
    "webhooks:read": "List webhooks, and what they were told.",
    "webhooks:write": "Make, change, test and delete webhooks, and have deliveries tried again.",
}

# Where Keyturn's own stand among permissions of one name: before those of tenants.
_NO_TENANT = "00000000-0000-0000-0000-000000000000"
_TOO_MANY = f"A tenant registers at most {MAX_PERMISSIONS} permissions."


@dataclass(frozen=True, slots=True)
class KnownPermission:
    """A permission that roles can have. `tenant_id` is None for Keyturn's own."""

    name: str
    description: str
    tenant_id: str | None


class PermissionRegistry:
    """Manages the permissions of the caller's tenant; those of tenants above are known, too."""

    def __init__(self, store: Store, changes: Changes) -> None:
        self._store = store
        self._changes = changes

    async def known(self, caller: TenantCaller, part: Slice) -> Page[KnownPermission]:
        """What roles can be made of here, by name and tenant."""
        async with self._store.transaction() as tx:
            registered = await tx.permissions.visible(caller.tenant_id, part)
        own = (KnownPermission(name, text, None) for name, text in OWN_DESCRIBED.items())
        found = [p for p in own if part.after is None or _place(p) > part.after]
        found += [KnownPermission(p.name, p.description, p.tenant_id) for p in registered.items]
        found.sort(key=_place)
        items = tuple(found[: part.limit])
        more = registered.next is not None or len(found) > part.limit
        return Page(items, _place(items[-1]) if more else None)

    async def register(self, caller: TenantCaller, name: str, description: str) -> KnownPermission:
        """Registers a permission in the caller's tenant, or describes it anew.

        Raises Refusal `invalid_request` for a malformed name, `conflict` for one of Keyturn's
        own, or when there are too many.
        """
        check_permission(name, "name")
        _need_foreign(name)
        async with self._changes.begin(caller.actor, caller.tenant_id) as change:
            permission = Permission(caller.tenant_id, name, description, change.now)
            await change.tx.permissions.describe(permission)
            await _need_room(change, caller.tenant_id)
            change.note("permission.registered", name, after={"description": description})
        return KnownPermission(name, description, caller.tenant_id)

    async def delete(self, caller: TenantCaller, name: str) -> None:
        """Deletes a permission that the caller's tenant registered.

        Raises Refusal `not_found`, and `conflict` while a role here or below has it, or when
        it is Keyturn's own.
        """
        _need_foreign(name)
        async with self._changes.begin(caller.actor, caller.tenant_id) as change:
            if not await change.tx.permissions.remove(caller.tenant_id, name):
                raise not_found("the tenant registered no such permission")
            if await change.tx.roles.any_has(name, caller.tenant_id):
                raise conflict("A role of the tenant or of one below it has the permission.")
            change.note("permission.deleted", name)


async def register_unknown(change: Change, tenant_id: str, names: Collection[str]) -> None:
    """Registers in the tenant those of `names` that are neither known there nor Keyturn's own.

    Raises Refusal `conflict` when that would be too many.
    """
    foreign = frozenset(names) - OWN
    if len(foreign) > MAX_PERMISSIONS:
        raise conflict(_TOO_MANY)
    new = sorted(foreign - await change.tx.permissions.known(tenant_id, foreign))
    if new:
        await change.tx.permissions.add([Permission(tenant_id, n, "", change.now) for n in new])
        await _need_room(change, tenant_id)
        change.note("permissions.registered", tenant_id, names=new)


async def _need_room(change: Change, tenant_id: str) -> None:
    if await change.tx.permissions.count(tenant_id) > MAX_PERMISSIONS:
        raise conflict(_TOO_MANY)


def _need_foreign(name: str) -> None:
    if name in OWN:
        raise conflict("This is one of Keyturn's own permissions.", field="name")


def _place(permission: KnownPermission) -> tuple[str, str]:
    return permission.name, permission.tenant_id or _NO_TENANT
