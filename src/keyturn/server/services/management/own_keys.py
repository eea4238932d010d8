"""A caller's own API keys. Who has a key makes keys, none of them wider than that one."""

from dataclasses import replace

from ...domain.errors import Code, Refusal, invalid_request, not_a_member, not_found
from ...domain.model import ApiKey, User
from ..callers import OwnCaller
from ..ports import ApiKeyFormat, KeyLookup, Page, Slice, Store, Transaction
from .changes import Changes, Once, Versions
from .delegation import bounds_of, need_within
from .key_making import KeyChange, MadeKey, WantedKey, change_key, make_key
from .key_states import ListedKey, listed, listed_page
from .rotation import WantedRotation, revoke_key, rotate_key


class OwnKeys:
    """The keys of whoever calls (N3, W6)."""

    def __init__(
        self, store: Store, changes: Changes, key_format: ApiKeyFormat, lookup: KeyLookup
    ) -> None:
        self._store = store
        self._changes = changes
        self._format = key_format
        self._lookup = lookup

    async def list(self, caller: OwnCaller, part: Slice) -> Page[ListedKey]:
        """All of them, dead ones too."""
        async with self._store.transaction() as tx:
            page = await tx.api_keys.of_user(caller.record.user_id, part)
            return await listed_page(tx, caller.record.home_tenant_id, page)

    async def get(self, caller: OwnCaller, key_id: str) -> ListedKey:
        """Raises Refusal `not_found`."""
        async with self._store.transaction() as tx:
            return await listed(tx, await _own(tx, caller, key_id))

    async def make(
        self,
        caller: OwnCaller,
        wanted: WantedKey,
        tenant_id: str | None = None,
        once: Once[MadeKey] | None = None,
    ) -> MadeKey:
        """A further key, as narrow as the present one or narrower; it works in `tenant_id` alone.

        Raises Refusal `insufficient_scope` for what is wider, and for a token that is narrowed
        by scope; `access_denied` for another tenant than the token's, and for a user who has
        no role left anywhere; and as `make_key`.
        """
        if tenant_id is not None and wanted.tenant_id not in (None, tenant_id):
            raise invalid_request("x-tenant-id says otherwise.", field="tenant_id")
        # Before an earlier answer is repeated, which may hold a secret.
        async with self._store.transaction() as tx:
            bounds = await bounds_of(tx, self._lookup, caller)
        if tenant_id is not None and bounds.tenant_id not in (None, tenant_id):
            raise not_a_member("the token is for another tenant")
        wanted = replace(wanted, tenant_id=tenant_id or wanted.tenant_id)
        async with self._changes.begin(caller.actor, bounds.home_tenant_id, once) as change:
            user = await _user(change.tx, caller)
            if not await change.tx.memberships.of_user(user.id):
                raise Refusal(Code.ACCESS_DENIED, "You have no role in any tenant.")
            made = await make_key(
                change, self._format, user, wanted, made_by=user.id, within=bounds
            )
            return change.made(made)

    async def change(
        self, caller: OwnCaller, key_id: str, wanted: KeyChange, seen: Versions
    ) -> ListedKey:
        """Renames a key. Raises Refusal `insufficient_scope` for all else (F3), `not_found`,
        and as `change_key`.
        """
        async with self._changes.begin(caller.actor, caller.record.home_tenant_id) as change:
            key = await _own(change.tx, caller, key_id)
            if wanted.narrows:
                raise Refusal(
                    Code.INSUFFICIENT_SCOPE, "Of a key of your own, you change the name alone."
                )
            user = await _user(change.tx, caller)
            return await listed(change.tx, await change_key(change, user, key, wanted, seen))

    async def rotate(
        self,
        caller: OwnCaller,
        key_id: str,
        wanted: WantedRotation,
        seen: Versions = None,
        once: Once[MadeKey] | None = None,
    ) -> MadeKey:
        """A new secret for a key that is no wider than what the caller came with.

        Raises Refusal `not_found`, `insufficient_scope`, and as `rotate_key`.
        """
        # Before an earlier answer is repeated, which holds a secret.
        async with self._store.transaction() as tx:
            await self._within(tx, caller, key_id)
        home = caller.record.home_tenant_id
        async with self._changes.begin(caller.actor, home, once) as change:
            key = await self._within(change.tx, caller, key_id)
            last = self._changes.last_token_ends(change.now)
            made = await rotate_key(change, self._format, key, wanted, seen, last)
            return change.made(MadeKey(*made))

    async def revoke(self, caller: OwnCaller, key_id: str) -> ListedKey:
        """Ends a key with all that was issued for it: the present one, or one that is no wider
        than what the caller came with.

        Raises Refusal `not_found`, `insufficient_scope`.
        """
        async with self._changes.begin(caller.actor, caller.record.home_tenant_id) as change:
            key = await _own(change.tx, caller, key_id)
            bounds = await bounds_of(change.tx, self._lookup, caller)
            if key.id != caller.token.key_id:
                need_within(key, bounds)
            last = self._changes.last_token_ends(change.now)
            return await listed(change.tx, await revoke_key(change, key, last))

    async def _within(self, tx: Transaction, caller: OwnCaller, key_id: str) -> ApiKey:
        key = await _own(tx, caller, key_id)
        need_within(key, await bounds_of(tx, self._lookup, caller))
        return key


async def _own(tx: Transaction, caller: OwnCaller, key_id: str) -> ApiKey:
    key = await tx.api_keys.get(key_id)
    if key is None or key.user_id != caller.record.user_id:
        raise not_found("no such key of the caller's")
    return key


async def _user(tx: Transaction, caller: OwnCaller) -> User:
    user = await tx.users.get(caller.record.user_id)
    if user is None:
        raise not_found("the user is gone")
    return user
