"""Service users: programs' users, at home in the caller's tenant."""

from dataclasses import dataclass, replace
from typing import TypedDict

from ...domain.errors import Code, Refusal, conflict, invalid_request
from ...domain.ids import new_id
from ...domain.model import Membership, Role, User, UserKind
from ...domain.policy import effective
from ...domain.trail import Json
from ..bootstrap import service_username
from ..callers import TenantCaller
from ..ports import ApiKeyFormat, Page, Slice, Store, Transaction
from .changes import Change, Changes, Once, Versions, need_version
from .delegation import bounds_for_others
from .ending import end_sessions_of_users
from .key_making import MadeKey, WantedKey, make_key
from .offboarding import delete, disable
from .standing import (
    home_service_user,
    need_command,
    need_other_administrators,
    need_standing,
    role_to_give,
)


@dataclass(frozen=True, slots=True)
class WantedServiceUser:
    """A service user as it is asked for, with a key when there is to be one (F1).

    Its roles are one in the caller's tenant, which reaches all tenants below (`role_id`), or a
    list of (tenant id, role id) at or below it (`memberships`); never both.
    """

    name: str
    description: str = ""
    role_id: str | None = None
    memberships: tuple[tuple[str, str], ...] | None = None
    key: WantedKey | None = None


@dataclass(frozen=True, slots=True)
class ServiceUser:
    """A service user with all its roles; with its first key when it has just been made."""

    user: User
    roles: tuple[tuple[Membership, Role], ...]
    key: MadeKey | None = None


@dataclass(frozen=True, slots=True)
class AtHome:
    """A service user, and what its home tenant is called."""

    user: User
    tenant_name: str


class ServiceUserEdits(TypedDict, total=False):
    """What is to be changed of a service user; what is missing stays as it is.

    `single_token` None: as the tenant's policy says.
    """

    name: str
    description: str
    single_token: bool | None


class ServiceUserManagement:
    """Manages the service users at home in the caller's tenant; no others exist for it (404)."""

    def __init__(self, store: Store, changes: Changes, key_format: ApiKeyFormat) -> None:
        self._store = store
        self._changes = changes
        self._key_format = key_format

    async def service_users(
        self, caller: TenantCaller, part: Slice, *, below: bool = False, query: str = ""
    ) -> Page[AtHome]:
        """Those at home in the tenant; with `below`, also those at home below it (P5)."""
        async with self._store.transaction() as tx:
            page = await tx.users.at_home(
                caller.tenant_id, UserKind.SERVICE, part, below=below, query=query
            )
            names = await tx.team.names({user.home_tenant_id for user in page.items})
        items = (AtHome(user, names.get(user.home_tenant_id, "")) for user in page.items)
        return Page(tuple(items), page.next)

    async def get(self, caller: TenantCaller, user_id: str) -> ServiceUser:
        """Raises Refusal `not_found`."""
        async with self._store.transaction() as tx:
            return await _with_roles(tx, await home_service_user(tx, caller, user_id))

    async def create(
        self,
        caller: TenantCaller,
        wanted: WantedServiceUser,
        once: Once[ServiceUser] | None = None,
    ) -> ServiceUser:
        """Makes a service user, its memberships and its first key.

        Raises Refusal `invalid_request` that names the field at fault, `insufficient_scope` for
        a role or a key with more in it than the caller has, `conflict` when the name is taken or
        there are as many as the tenant's policy allows.
        """
        async with self._changes.begin(caller.actor, caller.tenant_id, once) as change:
            roles = await _roles(change.tx, caller, wanted)
            await _need_room(change.tx, caller.tenant_id)
            user = await _add(change, caller, wanted)
            for tenant_id, role in roles:
                await change.tx.memberships.add(Membership(user.id, tenant_id, role.id, change.now))
                change.note(
                    "membership.created", user.id, tenant_id=tenant_id, after={"role": role.name}
                )
            key = None
            if wanted.key is not None:
                key = await self._first_key(change, caller, user, wanted.key)
            return change.made(replace(await _with_roles(change.tx, user), key=key))

    async def edit(
        self, caller: TenantCaller, user_id: str, edits: ServiceUserEdits, seen: Versions
    ) -> ServiceUser:
        """Changes what the user is called and whether it has one token at a time.

        Its email stays. With one token at a time, those that it has end. Raises Refusal
        `not_found`, `stale`, `conflict` when the name is taken.
        """
        async with self._changes.begin(caller.actor, caller.tenant_id) as change:
            user = await home_service_user(change.tx, caller, user_id)
            need_version(seen, user.version)
            edited = replace(
                user,
                display_name=edits.get("name", user.display_name),
                description=edits.get("description", user.description),
                single_token=edits.get("single_token", user.single_token),
            )
            if edited != user:
                await _need_free_name(change.tx, edited)
                edited = await change.tx.users.save(edited)
                if edited.single_token and not user.single_token:
                    last = self._changes.last_token_ends(change.now)
                    await end_sessions_of_users(change, [user.id], last)
                change.note(
                    "service_user.changed", user.id, before=_told(user), after=_told(edited)
                )
            return await _with_roles(change.tx, edited)

    async def disable(self, caller: TenantCaller, user_id: str) -> ServiceUser:
        """Ends its tokens at once and stops its keys, until it is enabled.

        Raises Refusal `not_found`, `insufficient_scope` for one with more than the caller could
        give, `conflict` for a tenant's last administrator.
        """
        async with self._changes.begin(caller.actor, caller.tenant_id) as change:
            user = await home_service_user(change.tx, caller, user_id)
            await need_standing(change.tx, caller, user.id)
            await need_other_administrators(change.tx, caller.tenant_id, user.id)
            if user.disabled_at is None:
                await disable(change, user)
            return await _again(change.tx, user)

    async def enable(self, caller: TenantCaller, user_id: str) -> ServiceUser:
        """Lets it and its keys work again. Raises Refusal `not_found`, `insufficient_scope`."""
        async with self._changes.begin(caller.actor, caller.tenant_id) as change:
            user = await home_service_user(change.tx, caller, user_id)
            await need_command(change.tx, caller, user.id)
            if user.disabled_at is not None:
                await change.tx.users.set_disabled(user.id, None)
                change.reauthorise([user.id])
                change.note("service_user.enabled", user.id)
            return await _again(change.tx, user)

    async def delete(self, caller: TenantCaller, user_id: str, seen: Versions) -> None:
        """Deletes it with all its keys; what they gave ends at once (W3).

        Raises Refusal as `disable` does, and `stale`.
        """
        async with self._changes.begin(caller.actor, caller.tenant_id) as change:
            user = await home_service_user(change.tx, caller, user_id)
            need_version(seen, user.version)
            await need_standing(change.tx, caller, user.id)
            await need_other_administrators(change.tx, caller.tenant_id, user.id)
            await delete(change, user, self._changes.last_token_ends(change.now))

    async def _first_key(
        self, change: Change, caller: TenantCaller, user: User, wanted: WantedKey
    ) -> MadeKey:
        caller.need("keys:write")
        within = await bounds_for_others(change.tx, caller)
        try:
            return await make_key(
                change, self._key_format, user, wanted, made_by=caller.user_id, within=within
            )
        except Refusal as refusal:
            if refusal.field is None:
                raise
            # Its fields stand one level deeper here.
            field = f"api_key.{refusal.field}"
            raise Refusal(
                refusal.code, refusal.public, detail=refusal.detail, field=field
            ) from None


async def _roles(
    tx: Transaction, caller: TenantCaller, wanted: WantedServiceUser
) -> list[tuple[str, Role]]:
    """The roles asked for, which the caller can give, by tenant id."""
    here = caller.tenant_id
    if wanted.memberships is None:
        if wanted.role_id is None:
            raise invalid_request("Say role_id or memberships.", field="role_id")
        return [(here, await role_to_give(tx, caller, here, wanted.role_id, "role_id"))]
    if wanted.role_id is not None:
        raise invalid_request("Say role_id or memberships, not both.", field="memberships")
    roles: list[tuple[str, Role]] = []
    for index, (tenant_id, role_id) in enumerate(wanted.memberships):
        field = f"memberships.{index}"
        if not await tx.tenants.reaches(here, tenant_id):
            raise invalid_request(
                "There is no such tenant at or below this one.", field=f"{field}.tenant_id"
            )
        if (tenant_id, role_id) in wanted.memberships[:index]:
            raise invalid_request("This membership stands here twice.", field=field)
        roles.append(
            (tenant_id, await role_to_give(tx, caller, tenant_id, role_id, f"{field}.role_id"))
        )
    return roles


async def _add(change: Change, caller: TenantCaller, wanted: WantedServiceUser) -> User:
    user = User(
        new_id(),
        UserKind.SERVICE,
        service_username(wanted.name, caller.tenant_name),
        wanted.name,
        caller.tenant_id,
        1,
        change.now,
        description=wanted.description,
        created_by=caller.user_id,
    )
    await _need_free_name(change.tx, user)
    try:
        await change.tx.users.add(user)
    except Refusal as refusal:
        if refusal.code is not Code.CONFLICT:
            raise
        # A tenant of the same name elsewhere, or an earlier name of another user here.
        name = f"{wanted.name[:40]} {user.id[-12:]}"
        user = replace(user, username=service_username(name, caller.tenant_name))
        await change.tx.users.add(user)
    change.note("service_user.created", user.id, after=_told(user))
    return user


async def _need_room(tx: Transaction, tenant_id: str) -> None:
    limit = effective(await tx.tenants.policies(tenant_id)).max_service_users or 0
    if await tx.users.count_at_home(tenant_id, UserKind.SERVICE, limit) >= limit:
        raise conflict("The tenant has as many service users as its policy allows.")


async def _need_free_name(tx: Transaction, user: User) -> None:
    """To be asked under the tenant's lock. Raises Refusal `conflict` naming the field."""
    other = await tx.users.named(user.home_tenant_id, user.kind, user.display_name)
    if other is not None and other.id != user.id:
        raise conflict("A service user of that name is there already.", field="name")


async def _with_roles(tx: Transaction, user: User) -> ServiceUser:
    return ServiceUser(user, await tx.memberships.of_user(user.id))


async def _again(tx: Transaction, user: User) -> ServiceUser:
    return await _with_roles(tx, await tx.users.get(user.id) or user)


def _told(user: User) -> dict[str, Json]:
    return {
        "name": user.display_name,
        "description": user.description,
        "email": user.username,
        "single_token": user.single_token,
    }
