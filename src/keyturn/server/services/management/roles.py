"""Roles: built-in ones, and those that tenants make of permissions."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ...domain.administration import need_to_give
from ...domain.errors import conflict, invalid_request, not_found
from ...domain.ids import new_id
from ...domain.model import Role
from ...domain.permissions import OWN
from ...domain.trail import Json
from ..callers import TenantCaller
from ..ports import Page, Slice, Store, Transaction
from .changes import Change, Changes, Once, Versions, need_version
from .paging import paged

#: Of one tenant, and of one role.
MAX_ROLES, MAX_ROLE_PERMISSIONS = 500, 200


@dataclass(frozen=True, slots=True)
class NewRole:
    """A role to be made."""

    name: str
    permissions: Sequence[str]
    description: str = ""


@dataclass(frozen=True, slots=True)
class RoleEdit:
    """What is changed of a role; None: it stays as it is."""

    name: str | None = None
    permissions: Sequence[str] | None = None
    description: str | None = None


class RoleManagement:
    """Manages the roles of the caller's tenant; those of tenants above can be used in it."""

    def __init__(self, store: Store, changes: Changes) -> None:
        self._store = store
        self._changes = changes

    async def usable(self, caller: TenantCaller, part: Slice) -> Page[Role]:
        """The roles that can be given here, by name: built-in, the tenant's, those above."""
        async with self._store.transaction() as tx:
            roles = await tx.roles.in_tenant(caller.tenant_id)
        return paged(roles, part, lambda role: (role.name,))

    async def get(self, caller: TenantCaller, role_id: str) -> Role:
        """One that can be given here. Raises Refusal `not_found`."""
        async with self._store.transaction() as tx:
            return await _usable(tx, caller, await tx.roles.get(role_id))

    async def create(
        self, caller: TenantCaller, new: NewRole, once: Once[Role] | None = None
    ) -> Role:
        """A role of the caller's tenant.

        Raises Refusal `conflict` when the name is taken or there are too many,
        `invalid_request` for an unknown permission, `insufficient_scope` for one that the
        caller could not give.
        """
        async with self._changes.begin(caller.actor, caller.tenant_id, once) as change:
            permissions = await _known(change.tx, caller, new.permissions)
            need_to_give(caller.permissions, permissions)
            roles = await change.tx.roles.in_tenant(caller.tenant_id)
            if sum(role.tenant_id == caller.tenant_id for role in roles) >= MAX_ROLES:
                raise conflict(f"The tenant has {MAX_ROLES} roles, which is the most it may have.")
            role = Role(new_id(), new.name, permissions, caller.tenant_id, new.description)
            await change.tx.roles.add(role)
            change.outdate_policy()
            change.note("role.created", role.id, after=_shown(role))
            return change.made(role)

    async def edit(
        self, caller: TenantCaller, role_id: str, edit: RoleEdit, seen: Versions
    ) -> Role:
        """Changes a role of the caller's tenant. It takes effect at once, wherever it is held.

        Raises Refusal as `create` does, also for permissions that are taken away, and
        `not_found`, `stale`, `conflict` for a built-in role. A new name needs all of the
        role's permissions: a token carries names, and somebody may go by them.
        """
        async with self._changes.begin(caller.actor, caller.tenant_id) as change:
            role = await _own(change, caller, role_id, seen)
            edited = role
            if edit.permissions is not None:
                wanted = await _known(change.tx, caller, edit.permissions, role.permissions)
                need_to_give(caller.permissions, role.permissions ^ wanted)
                edited = replace(edited, permissions=wanted)
            if edit.name is not None and edit.name != role.name:
                need_to_give(caller.permissions, role.permissions)
                edited = replace(edited, name=edit.name)
            if edit.description is not None:
                edited = replace(edited, description=edit.description)
            if edited == role:
                return role
            saved = await change.tx.roles.save(edited)
            if (edited.name, edited.permissions) != (role.name, role.permissions):
                change.reauthorise(await change.tx.memberships.holders(role_id))
                change.outdate_policy()
            change.note("role.changed", role_id, before=_shown(role), after=_shown(edited))
            return saved

    async def delete(
        self, caller: TenantCaller, role_id: str, seen: Versions, *, force: bool = False
    ) -> None:
        """Deletes a role of the caller's tenant; with `force` also one that is in use.

        Who held it has it no longer, and a key narrowed to it carries nothing of it. Raises
        Refusal `not_found`, `stale`, `insufficient_scope` when the caller could not give it,
        and `conflict` for a built-in role, or one that is in use.
        """
        async with self._changes.begin(caller.actor, caller.tenant_id) as change:
            role = await _own(change, caller, role_id, seen)
            need_to_give(caller.permissions, role.permissions)
            if not force and await change.tx.roles.in_use(role_id):
                raise conflict("The role is in use. Force takes it away from all who have it.")
            holders = await change.tx.memberships.holders(role_id)
            change.reauthorise(holders)
            await change.tx.roles.remove(role_id)
            change.outdate_policy()
            for user_id in holders:
                change.note("membership.deleted", user_id, before={"role": role.name})
            change.note("role.deleted", role_id, before=_shown(role))


async def _usable(tx: Transaction, caller: TenantCaller, role: Role | None) -> Role:
    if role is None or (
        role.tenant_id is not None
        and not await tx.tenants.reaches(role.tenant_id, caller.tenant_id)
    ):
        raise not_found("no such role at or above the caller's tenant")
    return role


async def _own(change: Change, caller: TenantCaller, role_id: str, seen: Versions) -> Role:
    """A role of the caller's tenant, which nobody else gives or changes meanwhile."""
    role = await change.tx.roles.lock(role_id)
    if role is None or role.tenant_id not in (None, caller.tenant_id):
        raise not_found("no such role of the caller's tenant")
    if role.tenant_id is None:
        raise conflict("A built-in role can't be changed or deleted.")
    need_version(seen, role.version)
    return role


async def _known(
    tx: Transaction,
    caller: TenantCaller,
    names: Sequence[str],
    had: frozenset[str] = frozenset(),
) -> frozenset[str]:
    """`names`, all known here, or had before."""
    wanted = frozenset(names)
    if len(wanted) > MAX_ROLE_PERMISSIONS:
        raise conflict(f"A role has at most {MAX_ROLE_PERMISSIONS} permissions.")
    asked = wanted - OWN - had
    unknown = asked - await tx.permissions.known(caller.tenant_id, asked)
    for number, name in enumerate(names):
        if name in unknown:
            raise invalid_request(
                "Nobody registered this permission here or above: PUT /permissions/{name} does.",
                field=f"permissions.{number}",
            )
    return wanted


def _shown(role: Role) -> dict[str, Json]:
    return {
        "name": role.name,
        "description": role.description,
        "permissions": sorted(role.permissions),
    }
