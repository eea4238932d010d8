"""Exchange and refresh: from a key, or a session, to tokens.

An exchange writes nothing: its refresh token carries the session, sealed. A refresh spends one
generation with one conditional statement, and only then signs.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import NoReturn

from ..domain.authority import Authority, granted, regranted
from ..domain.errors import bad_credentials
from ..domain.ids import new_id
from ..domain.model import KeyRecord, Revocation, RevocationKind, Session
from ..domain.sessions import Lifetimes, RefreshState, is_retry, outdated, successor
from ..domain.tokens import AccessToken
from ..domain.trail import Actor, AuditEvent
from .audiences import OWN, Target
from .credentials import Evidence, why_not
from .ports import (
    AccessTokens,
    Clock,
    KeyLookup,
    RefreshTokens,
    RevocationList,
    Store,
    Transaction,
)
from .single_token import SingleToken

#: Endpoints that a token lists (each takes 40 bytes); with more it says where to ask.
MAX_LISTED_ENDPOINTS = 50


@dataclass(frozen=True, slots=True)
class TokenAnswer:
    """Tokens as they are given out. Times in seconds from now."""

    access_token: str
    expires_in: int
    scope: tuple[str, ...]
    session_id: str
    refresh_token: str | None = None
    refresh_expires_in: int | None = None

    def __repr__(self) -> str:
        return f"TokenAnswer(session_id={self.session_id!r})"


@dataclass(frozen=True, slots=True)
class Opened:
    """A refresh token that was sealed here, and the key it lives by, as it is now."""

    state: RefreshState
    record: KeyRecord


class Issuing:
    """Gives out tokens."""

    def __init__(
        self,
        *,
        store: Store,
        lookup: KeyLookup,
        access: AccessTokens,
        refresh: RefreshTokens,
        revocations: RevocationList,
        lifetimes: Lifetimes,
        clock: Clock,
    ) -> None:
        self._store = store
        self._lookup = lookup
        self._access = access
        self._refresh = refresh
        self._revocations = revocations
        self._lifetimes = lifetimes
        self._clock = clock
        self._single = SingleToken(store, lookup, revocations, lifetimes)

    # --- exchange -------------------------------------------------------------------------

    def authorise(
        self, record: KeyRecord, tenant_id: str | None, scope: frozenset[str] | None
    ) -> Authority:
        """What an exchange of this key may carry. Raises Refusal (see domain.authority)."""
        return granted(record, tenant_id=tenant_id, scope=scope)

    async def take_over(
        self,
        record: KeyRecord,
        decide: Callable[[KeyRecord], Authority],
        *,
        tenants: list[str] | None,
        end_sessions: bool,
    ) -> tuple[KeyRecord, Authority]:
        """Ends what the user held, if only one token may live (see single_token)."""
        if not record.single_token:
            return record, decide(record)
        return await self._single.take_over(
            record, decide, tenants=tenants, end_sessions=end_sessions
        )

    def exchange(
        self,
        record: KeyRecord,
        authority: Authority,
        *,
        with_refresh: bool,
        target: Target = OWN,
    ) -> TokenAnswer:
        """New tokens of a new session. Signs; reads and writes nothing. Raises Unavailable."""
        now = int(self._clock().timestamp())
        session_id = new_id()
        # An unlisted session is good for one epoch, and with a single token the next is another.
        if not with_refresh or (record.single_token and authority.tenants is None):
            return self._answer(record, authority, session_id, now, None, target)
        end = _not_after(record, now + self._lifetimes.session)
        state = RefreshState(
            session_id=session_id,
            generation=0,
            key_id=record.key_id,
            expires_at=min(now + self._lifetimes.refresh_token, end),
            session_ends_at=end,
            ceiling=authority,
            epoch=record.epoch,
            audiences=target.audiences,
        )
        return self._answer(record, authority, session_id, now, state, target)

    # --- refresh --------------------------------------------------------------------------

    async def open(
        self, text: str, address: str | None, tenant_id: str | None = None
    ) -> Opened | Evidence:
        """The session that `text` belongs to and its key, or what speaks against it; one read.

        Whether its generation is still live only `spend` can tell. Raises Unavailable.
        """
        state = self._refresh.open(text)
        now = self._clock()
        if state is None or state.expires_at <= now.timestamp():
            return Evidence(None, None, False, "not a refresh token, or expired")
        tenants = tenants_of(state, tenant_id)
        record = await self._lookup.find(state.key_id, tenants=tenants)
        if record is None:
            return Evidence(None, None, False, "no such key")
        why = self.why_over(state, record, address)
        return Evidence(None, record, False, why) if why else Opened(state, record)

    def why_over(self, state: RefreshState, record: KeyRecord, address: str | None) -> str:
        """Why the session's key gives no more tokens now; empty when it does."""
        return why_not(record, address, self._clock()) or outdated(state, record)

    def reauthorise(
        self,
        record: KeyRecord,
        state: RefreshState,
        tenant_id: str | None,
        scope: frozenset[str] | None,
    ) -> Authority:
        """What the refreshed token may carry. Raises Refusal (see domain.authority)."""
        return regranted(record, state.ceiling, tenant_id=tenant_id, scope=scope)

    async def refuse_if_reused(self, opened: Opened, actor: Actor) -> None:
        """For a refresh that is refused anyway: a spent token ends its session all the same.

        Raises Refusal `invalid_grant`, Unavailable.
        """
        async with self._store.transaction() as tx:
            session = await tx.sessions.get(opened.state.session_id)
            now = await tx.now()
            generation = opened.state.generation
            if session is None or (session.generation == generation and not session.ended_at):
                return
            if is_retry(session, generation, now, self._lifetimes.refresh_grace):
                return
            ended = await self._end_reused(tx, session, opened, actor, now)
        await self._refuse_reused(ended)

    async def spend(self, opened: Opened, actor: Actor) -> RefreshState:
        """Spends the presented generation and gives the next one's state.

        A retry within the grace gets the same state again. Anything else is reuse: the
        session ends, an audit event is written, and Refusal `invalid_grant` is raised.
        """
        state, record = opened.state, opened.record
        async with self._store.transaction() as tx:
            session = await tx.sessions.advance(state, record.user_id, actor.address)
            if session is not None:
                return successor(state, session.rotated_at, self._lifetimes)
            session = await tx.sessions.get(state.session_id)
            now = await tx.now()
            if session is not None and is_retry(
                session, state.generation, now, self._lifetimes.refresh_grace
            ):
                return successor(state, session.rotated_at, self._lifetimes)
            ended = await self._end_reused(tx, session, opened, actor, now)
        return await self._refuse_reused(ended)

    def refreshed(
        self, record: KeyRecord, authority: Authority, state: RefreshState, target: Target
    ) -> TokenAnswer:
        """The tokens of a spent generation: `state` is what `spend` gave. Raises Unavailable."""
        now = int(self._clock().timestamp())
        return self._answer(record, authority, state.session_id, now, state, target)

    # --- both -----------------------------------------------------------------------------

    async def _refuse_reused(self, ended: Revocation | None) -> NoReturn:
        if ended is not None:
            await self._revocations.publish([ended])
        raise bad_credentials("refresh token reused" if ended else "the session has ended")

    async def _end_reused(
        self,
        tx: Transaction,
        session: Session | None,
        opened: Opened,
        actor: Actor,
        now: datetime,
    ) -> Revocation | None:
        if session is None or not await tx.sessions.end(session, "reuse"):
            return None
        entry = Revocation(RevocationKind.SESSION, session.id, now + self._lifetimes.longest_access)
        await tx.revocations.add([entry])
        await tx.audit.add(
            [
                AuditEvent(
                    action="session.reuse_detected",
                    outcome="session_ended",
                    actor=replace(
                        actor,
                        user_id=opened.record.user_id,
                        key_id=opened.record.key_id,
                        session_id=session.id,
                    ),
                    tenant_id=opened.state.ceiling.tenant_id or opened.record.home_tenant_id,
                    target=session.id,
                    data={
                        "presented_generation": opened.state.generation,
                        "live_generation": session.generation,
                    },
                )
            ]
        )
        return entry

    def _answer(
        self,
        record: KeyRecord,
        authority: Authority,
        session_id: str,
        now: int,
        state: RefreshState | None,
        target: Target,
    ) -> TokenAnswer:
        expires_at = _not_after(record, now + self._lifetimes.access_token)
        if state is not None:
            expires_at = min(expires_at, state.session_ends_at)
        scope = authority.scope
        listed = listed_endpoints(record)
        token = AccessToken(
            jti=new_id(),
            user_id=record.user_id,
            key_id=record.key_id,
            session_id=session_id,
            epoch=record.epoch,
            issued_at=now,
            expires_at=expires_at,
            scope=scope,
            tenant_id=authority.tenant_id,
            roles=authority.role_names,
            audiences=target.audiences,
            endpoints=listed,
            unlisted_endpoints=listed is None and record.endpoint_ids is not None,
        )
        return TokenAnswer(
            access_token=self._access.sign(token, target.algorithm),
            expires_in=expires_at - now,
            scope=scope,
            session_id=session_id,
            refresh_token=self._refresh.seal(state) if state else None,
            refresh_expires_in=max(0, state.expires_at - now) if state else None,
        )


def tenants_of(state: RefreshState, chosen: str | None) -> list[str] | None:
    """Those whose roles matter: the session's, or in an unlisted one the one chosen now.

    Without any they are not read, unless (None) for whom the tokens are depends on them.
    """
    if state.ceiling.tenants is not None:
        return list(state.ceiling.tenants)
    if chosen is not None:
        return [chosen]
    return None if state.audiences else []


def listed_endpoints(record: KeyRecord) -> tuple[str, ...] | None:
    """The key's allow-list as a token carries it; None: it has none, or one too long."""
    ids = record.endpoint_ids
    return tuple(sorted(ids)) if ids is not None and len(ids) <= MAX_LISTED_ENDPOINTS else None


def _not_after(record: KeyRecord, moment: int) -> int:
    """`moment`, or the key's own end if that comes first: nothing outlives its key."""
    if record.expires_at is None:
        return moment
    return min(moment, int(record.expires_at.timestamp()))
