"""What a token is worth now (RFC 7662), told only about tenants where the asker may ask."""

from collections.abc import Sequence
from dataclasses import dataclass

from ..domain import revocations as rules
from ..domain.authority import whole_roles
from ..domain.errors import Code, Refusal
from ..domain.model import KeyRecord
from ..domain.permissions import TOKENS_INTROSPECT
from ..domain.sessions import RefreshState, is_current, outdated
from ..domain.tokens import VerifiedToken
from .credentials import ClientCredentials, Credentials, Evidence
from .ports import AccessTokens, Clock, KeyLookup, RefreshTokens, RevocationList, Store
from .recent_keys import RecentKeys

Roles = dict[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class LiveAccess:
    """A live access token, and of its tenants those that the asker may know of.

    `endpoints` are the only ones that it opens; None: no such list.
    """

    token: VerifiedToken
    roles: Roles
    endpoints: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class LiveRefresh:
    """A live refresh token."""

    state: RefreshState
    user_id: str


class Introspection:
    """Answers resource servers."""

    def __init__(
        self,
        *,
        store: Store,
        lookup: KeyLookup,
        keys: RecentKeys,
        credentials: Credentials,
        access: AccessTokens,
        refresh: RefreshTokens,
        revocations: RevocationList,
        clock: Clock,
    ) -> None:
        self._store = store
        self._lookup = lookup
        self._keys = keys
        self._credentials = credentials
        self._access = access
        self._refresh = refresh
        self._revocations = revocations
        self._clock = clock

    async def of(
        self,
        text: str,
        client: ClientCredentials,
        address: str | None,
        tenant_id: str | None,
    ) -> LiveAccess | LiveRefresh | None:
        """What `text` is worth now; None when it is not valid, or not the asker's business.

        The asker needs `tokens:introspect` in a tenant that the token names, and learns of
        no other tenant; `tenant_id` asks about one tenant only. Raises Refusal
        `invalid_client`, or `insufficient_scope` when the asker may ask nowhere.
        """
        token = self._verified(text)
        state = self._refresh.open(text) if token is None else None
        named = _tenants_named(token, state)
        wanted = [tenant_id] if tenant_id is not None else named
        proof: Evidence | None = None

        async def told(keys: KeyLookup) -> LiveAccess | LiveRefresh | None:
            nonlocal proof
            proof = await self._credentials.prove(client, address, wanted, keys)
            visible = _may_ask(proof.key)
            if not visible:
                await self._must_ask_somewhere(proof.key)
            elif token is not None:
                return await self._access_token(keys, token, visible)
            elif state is not None:
                return await self._refresh_token(state, visible)
            return None

        try:
            return await self._keys.look(told)
        finally:
            if proof is not None:
                self._credentials.used(proof, address)

    def _verified(self, text: str) -> VerifiedToken | None:
        try:
            return self._access.verify(text, for_anyone=True)
        except Refusal:
            return None

    async def _must_ask_somewhere(self, asker: KeyRecord) -> None:
        anywhere = await self._lookup.find(asker.key_id)
        if anywhere is None or not _may_ask(anywhere):
            raise Refusal(
                Code.INSUFFICIENT_SCOPE,
                "Introspection needs the permission tokens:introspect.",
            )

    async def _access_token(
        self, keys: KeyLookup, token: VerifiedToken, visible: Sequence[str]
    ) -> LiveAccess | None:
        found = await self._revocations.find(rules.subjects(token))
        if rules.kills(found, token):
            return None
        # The row must agree, as it must for a call to the service itself.
        record = await keys.find(token.key_id, tenants=visible)
        if record is None or not record.live(self._clock()) or record.epoch > token.epoch:
            return None
        if token.roles is None:
            roles = _roles_now(record)
        else:
            gone = rules.suspended(found)
            roles = {
                tenant: names
                for tenant, names in token.roles.items()
                if tenant in visible and tenant not in gone
            }
        listed = record.endpoint_ids if token.endpoints is None else token.endpoints
        return LiveAccess(token, roles, listed) if roles else None

    async def _refresh_token(
        self, state: RefreshState, visible: Sequence[str]
    ) -> LiveRefresh | None:
        now = self._clock()
        if state.expires_at <= now.timestamp():
            return None
        if state.ceiling.tenants is not None:
            visible = [tenant_id for tenant_id in visible if tenant_id in state.ceiling.tenants]
        record = await self._lookup.find(state.key_id, tenants=visible)
        if record is None or not record.live(now) or not record.roles:
            return None
        if outdated(state, record):
            return None
        async with self._store.transaction() as tx:
            session = await tx.sessions.get(state.session_id)
        return LiveRefresh(state, record.user_id) if is_current(session, state.generation) else None


def _tenants_named(token: VerifiedToken | None, state: RefreshState | None) -> list[str] | None:
    """The tenants a token names; None when it names none or is not ours."""
    if token is not None and token.roles is not None:
        return list(token.roles)
    if state is not None and state.ceiling.tenants is not None:
        return list(state.ceiling.tenants)
    return None


def _roles_now(record: KeyRecord) -> Roles:
    roles: Roles = {}
    for item in whole_roles(record):
        roles[item.tenant_id] = (*roles.get(item.tenant_id, ()), item.role.name)
    return roles


def _may_ask(asker: KeyRecord) -> list[str]:
    if asker.opened is not None and TOKENS_INTROSPECT not in asker.opened:
        return []
    return sorted({i.tenant_id for i in asker.roles if TOKENS_INTROSPECT in i.role.permissions})
