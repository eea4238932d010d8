"""API keys of a tenant, for its administrators."""

from dataclasses import replace

from ...domain.errors import Code, Refusal, not_found
from ...domain.model import ApiKey, User, UserKind
from ..callers import TenantCaller
from ..ports import ApiKeyFormat, KeyFilter, Page, Slice, Store, Transaction
from ..ports.credentials import ALL_KEYS
from .changes import Changes, Once, Versions
from .delegation import bounds_for_others, need_within
from .key_making import KeyChange, MadeKey, WantedKey, change_key, make_key
from .key_states import KeyState, ListedKey, listed, listed_page
from .rotation import WantedRotation, revoke_key, rotate_key
from .standing import home_service_user, need_command, need_standing


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
        self,
        caller: TenantCaller,
        part: Slice,
        wanted: KeyFilter = ALL_KEYS,
        state: KeyState | None = None,
    ) -> Page[ListedKey]:
        """Dead ones, too. With `state` a page may be shorter than asked for."""
        if state is not None:
            revoked = state is KeyState.REVOKED
            expired = None if revoked else state is KeyState.EXPIRED
            wanted = replace(wanted, revoked=revoked, expired=expired)
        async with self._store.transaction() as tx:
            page = await tx.api_keys.at_home(caller.tenant_id, part, wanted)
            found = await listed_page(tx, caller.tenant_id, page)
        items = tuple(item for item in found.items if state in {None, item.state})
        return Page(items, found.next)

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

        It is no wider than the caller's own, but for its roles. Raises Refusal `not_found` for
        everybody else, `insufficient_scope` when the user may do what the caller may not, and
        as `make_key`.
        """
        async with self._changes.begin(caller.actor, caller.tenant_id, once) as change:
            if user_id == caller.user_id:
                raise _own("Keys of your own are made at /users/me/api-keys.")
            user = await home_service_user(change.tx, caller, user_id)
            await need_command(change.tx, caller, user_id)
            bounds = await bounds_for_others(change.tx, caller)
            made = await make_key(
                change, self._format, user, wanted, made_by=caller.user_id, within=bounds
            )
            return change.made(made)

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
            bounds = await bounds_for_others(change.tx, caller)
            key = await change_key(change, user, key, wanted, seen, within=bounds)
            return await listed(change.tx, key)

    async def rotate(
        self,
        caller: TenantCaller,
        key_id: str,
        wanted: WantedRotation,
        seen: Versions = None,
        once: Once[MadeKey] | None = None,
    ) -> MadeKey:
        """A new secret for a service user's key, which is no wider than the caller's own.

        Raises Refusal `not_found`, `insufficient_scope`, and as `rotate_key`.
        """
        async with self._changes.begin(caller.actor, caller.tenant_id, once) as change:
            key = await _at_home(change.tx, caller, key_id)
            if key.user_id == caller.user_id:
                raise _own("Keys of your own are rotated at /users/me/api-keys.")
            await _manageable(change.tx, caller, key)
            need_within(key, await bounds_for_others(change.tx, caller))
            last = self._changes.last_token_ends(change.now)
            made = await rotate_key(change, self._format, key, wanted, seen, last)
            return change.made(MadeKey(*made))

    async def revoke(self, caller: TenantCaller, key_id: str) -> ListedKey:
        """Ends a key and all that was issued for it.

        Raises Refusal `not_found`, and `insufficient_scope` for the key of somebody with more
        than the caller could give.
        """
        async with self._changes.begin(caller.actor, caller.tenant_id) as change:
            key = await _at_home(change.tx, caller, key_id)
            if key.user_id != caller.user_id:
                await need_standing(change.tx, caller, key.user_id)
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
        await need_command(tx, caller, user.id)
    return user


def _own(public: str) -> Refusal:
    return Refusal(Code.INSUFFICIENT_SCOPE, public)
