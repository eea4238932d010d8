"""Ending what was given out: tokens, sessions, keys, users' older tokens, suspended tenants.

Each writes the truth and its audit event in one transaction, and then tells the fast copy.
"""

from dataclasses import replace
from datetime import UTC, datetime

from ..domain import revocations as rules
from ..domain.errors import Code, Refusal, bad_client
from ..domain.model import Actor, AuditEvent, KeyRecord, Revocation, RevocationKind, Session
from ..domain.sessions import Lifetimes, RefreshState
from ..domain.tokens import VerifiedToken
from .credentials import ClientCredentials, Credentials, names
from .ports import AccessTokens, KeyLookup, RefreshTokens, RevocationList, Store

FOREVER = datetime(rules.FOREVER_YEAR, 1, 1, tzinfo=UTC)


def _missing() -> Refusal:
    return Refusal(Code.NOT_FOUND, "There is no such thing here.")


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
    ) -> None:
        self._store = store
        self._lookup = lookup
        self._credentials = credentials
        self._access = access
        self._refresh = refresh
        self._revocations = revocations
        self._lifetimes = lifetimes

    # --- by those who hold the token (RFC 7009) --------------------------------------------

    async def presented(self, text: str, client: ClientCredentials, actor: Actor) -> None:
        """Revokes the token in `text`; a refresh token takes its session with it.

        To hold a token is reason enough to end it. A client that names itself must be the one
        the token was issued to. Anything that is not a live token of ours is no error.
        Raises Refusal `invalid_client`.
        """
        if client.secret:
            await self._credentials.client(client, tenants=())
        state = self._refresh.open(text)
        if state is not None:
            record = await self._owner(state.key_id, client)
            if record is not None:
                who = replace(actor, user_id=record.user_id, key_id=record.key_id)
                await self._end_sealed(state, record, who)
            return
        try:
            token = self._access.verify(text)
        except Refusal:
            return
        if await self._owner(token.key_id, client) is not None:
            who = replace(actor, user_id=token.user_id, key_id=token.key_id)
            await self.token(token, replace(who, session_id=token.session_id))

    async def token(self, token: VerifiedToken, actor: Actor) -> None:
        """Ends one access token."""
        end = datetime.fromtimestamp(token.expires_at, UTC) + self._lifetimes.leeway
        entry = Revocation(RevocationKind.TOKEN, token.jti, end)
        await self._write([entry], "token.revoked", actor, token.jti, token.tenant_id)

    # --- by those who administer -----------------------------------------------------------

    async def session(self, session: Session, actor: Actor) -> None:
        """Ends a session: its refresh tokens and its access tokens."""
        async with self._store.transaction() as tx:
            ended = await tx.sessions.end(session, "revoked")
            entry = Revocation(
                RevocationKind.SESSION, session.id, await tx.now() + self._lifetimes.longest_access
            )
            if ended:
                await tx.revocations.add([entry])
                await tx.audit.add([_event("session.revoked", actor, session.id, None)])
        if ended:
            await self._revocations.publish([entry])

    async def key(self, key_id: str, actor: Actor) -> None:
        """Ends an API key and all that was issued for it. Raises Refusal `not_found`."""
        async with self._store.transaction() as tx:
            now = await tx.now()
            key = await tx.api_keys.get(key_id)
            if key is None:
                raise _missing()
            await tx.api_keys.revoke(key_id, now)
            entry = Revocation(RevocationKind.KEY, key_id, now + self._lifetimes.longest_access)
            await tx.revocations.add([entry])
            await tx.audit.add([_event("key.revoked", actor, key_id, key.tenant_id)])
        await self._revocations.publish([entry])

    async def user(self, user_id: str, actor: Actor) -> int:
        """Ends every access token a user has, by raising the epoch. Gives the new epoch.

        Sessions go on: a refresh reads anew what the user may do. Raises Refusal `not_found`.
        """
        async with self._store.transaction() as tx:
            epoch = await tx.users.raise_epoch(user_id)
            if epoch is None:
                raise _missing()
            end = await tx.now() + self._lifetimes.longest_access
            entry = Revocation(RevocationKind.USER, user_id, end, epoch)
            await tx.revocations.add([entry])
            await tx.audit.add([_event("user.epoch_raised", actor, user_id, None)])
        await self._revocations.publish([entry])
        return epoch

    async def suspend_tenant(self, tenant_id: str, actor: Actor) -> None:
        """Suspends a tenant and all below it. Raises Refusal `not_found`."""
        async with self._store.transaction() as tx:
            if not await tx.tenants.set_suspended(tenant_id, await tx.now()):
                raise _missing()
            entries = [
                Revocation(RevocationKind.TENANT, below, FOREVER)
                for below in await tx.tenants.below(tenant_id)
            ]
            await tx.revocations.add(entries)
            await tx.audit.add([_event("tenant.suspended", actor, tenant_id, tenant_id)])
        await self._revocations.publish(entries)

    # --- both ------------------------------------------------------------------------------

    async def _owner(self, key_id: str, client: ClientCredentials) -> KeyRecord | None:
        """The key a token was issued to, if the client is that key's (or did not say)."""
        record = await self._lookup.find(key_id, tenants=())
        if client.client_id is None or record is None or names(record, client.client_id):
            return record
        raise bad_client("the token was issued to another client")

    async def _end_sealed(self, state: RefreshState, record: KeyRecord, actor: Actor) -> None:
        end = datetime.fromtimestamp(state.session_ends_at, UTC)
        unwritten = Session(
            id=state.session_id,
            key_id=state.key_id,
            user_id=record.user_id,
            generation=state.generation,
            rotated_at=end,
            expires_at=end,
        )
        await self.session(unwritten, actor)

    async def _write(
        self,
        entries: list[Revocation],
        action: str,
        actor: Actor,
        target: str,
        tenant_id: str | None,
    ) -> None:
        async with self._store.transaction() as tx:
            await tx.revocations.add(entries)
            await tx.audit.add([_event(action, actor, target, tenant_id)])
        await self._revocations.publish(entries)


def _event(action: str, actor: Actor, target: str, tenant_id: str | None) -> AuditEvent:
    return AuditEvent(action, "done", actor=actor, target=target, tenant_id=tenant_id)
