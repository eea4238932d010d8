"""Ending what was given out, by those who hold it: tokens, and sessions (RFC 7009).

The truth and its audit event are written in one transaction, and then the fast copy is told.
"""

from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import UTC, datetime

from ..domain.errors import Refusal, bad_client
from ..domain.key_text import PREFIX as KEY_PREFIX
from ..domain.model import KeyRecord, Revocation, RevocationKind, Session
from ..domain.sessions import Lifetimes, RefreshState
from ..domain.tokens import VerifiedToken
from ..domain.trail import Actor, AuditEvent, Json
from .credentials import ClientCredentials, Credentials, names
from .management.leaked_keys import Finding, LeakedKeys
from .ports import AccessTokens, KeyLookup, RefreshTokens, RevocationList, Store, Transaction

#: Who did not say who they are.
_NOBODY = ClientCredentials("none")


class Revoking:
    """Revokes."""

    def __init__(
        self,
        *,
        store: Store,
        lookup: KeyLookup,
        credentials: Credentials,
        access: AccessTokens,
        refresh: RefreshTokens,
        revocations: RevocationList,
        lifetimes: Lifetimes,
        keys: LeakedKeys,
    ) -> None:
        self._store = store
        self._lookup = lookup
        self._credentials = credentials
        self._access = access
        self._refresh = refresh
        self._revocations = revocations
        self._lifetimes = lifetimes
        self._keys = keys

    async def presented(self, text: str, client: ClientCredentials, actor: Actor) -> bool:
        """Revokes the token in `text`; a refresh token takes its session with it, an API key all
        that it gave.

        To hold one is reason enough to end it. A client that names itself must be the one
        the token was issued to. Anything that is not a live token of ours is no error.
        False for an API key that never was one: it counts as a failure, which nobody is told.
        Raises Refusal `invalid_client`.
        """
        if client.secret:
            await self._credentials.client(client, actor.address, tenants=())
        if text.startswith(KEY_PREFIX):
            return await self._keys.presented(text, client, actor)
        await self._end(text, client, actor, {})
        return True

    async def found(self, text: str, actor: Actor, finding: Finding) -> bool:
        """Revokes a token that was found. Whether it is one of ours."""
        return await self._end(text, _NOBODY, actor, {"reason": "leaked", **asdict(finding)})

    async def _end(
        self, text: str, client: ClientCredentials, actor: Actor, told: Mapping[str, Json]
    ) -> bool:
        state = self._refresh.open(text)
        if state is not None:
            record = await self._owner(state.key_id, client)
            if record is not None:
                await self._end_session(state, record, actor, told)
            return True
        try:
            token = self._access.verify(text, for_anyone=True)
        except Refusal:
            return False
        record = await self._owner(token.key_id, client)
        if record is not None:
            await self._end_token(token, record, actor, told)
        return True

    async def _owner(self, key_id: str, client: ClientCredentials) -> KeyRecord | None:
        """The key a token was issued to, if the client is that key's (or did not say)."""
        record = await self._lookup.find(key_id, tenants=())
        if client.client_id is None or record is None or names(record, client.client_id):
            return record
        raise bad_client("the token was issued to another client")

    async def _end_token(
        self, token: VerifiedToken, record: KeyRecord, actor: Actor, told: Mapping[str, Json]
    ) -> None:
        end = datetime.fromtimestamp(token.expires_at, UTC) + self._lifetimes.leeway
        entry = Revocation(RevocationKind.TOKEN, token.jti, end)
        who = replace(actor, user_id=token.user_id, key_id=token.key_id)
        who = replace(who, session_id=token.session_id)
        tenant_id = token.tenant_id or record.home_tenant_id
        async with self._store.transaction() as tx:
            await _write(tx, entry, _event("token.revoked", who, token.jti, tenant_id, told))
        await self._revocations.publish([entry])

    async def _end_session(
        self, state: RefreshState, record: KeyRecord, actor: Actor, told: Mapping[str, Json]
    ) -> None:
        """Ends a session: its refresh tokens and its access tokens."""
        end = datetime.fromtimestamp(state.session_ends_at, UTC)
        unwritten = Session(
            id=state.session_id,
            key_id=state.key_id,
            user_id=record.user_id,
            generation=state.generation,
            rotated_at=end,
            expires_at=end,
        )
        who = replace(actor, user_id=record.user_id, key_id=record.key_id)
        tenant_id = state.ceiling.tenant_id or record.home_tenant_id
        async with self._store.transaction() as tx:
            if not await tx.sessions.end(unwritten, "revoked"):
                return
            last = await tx.now() + self._lifetimes.longest_access
            entry = Revocation(RevocationKind.SESSION, state.session_id, last)
            event = _event("session.revoked", who, state.session_id, tenant_id, told)
            await _write(tx, entry, event)
        await self._revocations.publish([entry])


async def _write(tx: Transaction, entry: Revocation, event: AuditEvent) -> None:
    await tx.revocations.add([entry])
    await tx.audit.add([event])


def _event(
    action: str, actor: Actor, target: str, tenant_id: str, told: Mapping[str, Json]
) -> AuditEvent:
    return AuditEvent(action, "done", actor=actor, target=target, tenant_id=tenant_id, data=told)
