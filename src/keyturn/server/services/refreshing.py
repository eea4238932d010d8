"""From a session to its next generation.

A refresh spends one generation with one conditional statement, and only then is anything signed.
"""

from dataclasses import replace
from datetime import datetime
from typing import NoReturn

from ..domain.authority import Authority, regranted
from ..domain.errors import bad_credentials
from ..domain.model import KeyRecord, Revocation, RevocationKind, Session
from ..domain.records import transient
from ..domain.sessions import Lifetimes, RefreshState, is_retry, outdated, successor
from ..domain.trail import Actor, AuditEvent
from .counts import Counts
from .credentials import Evidence, why_not
from .memo import Memo
from .ports import (
    Clock,
    KeyLookup,
    RefreshTokens,
    RevocationList,
    SessionSteps,
    Store,
    Transaction,
)


@transient
class Opened:
    """A refresh token that was sealed here, and the key it lives by, as it is now."""

    state: RefreshState
    record: KeyRecord


class Refreshing:
    """Opens refresh tokens, and spends them."""

    def __init__(
        self,
        *,
        store: Store,
        steps: SessionSteps,
        refresh: RefreshTokens,
        revocations: RevocationList,
        lifetimes: Lifetimes,
        clock: Clock,
        counts: Counts | None = None,
    ) -> None:
        self._counts = counts or Counts()
        self._store = store
        self._steps = steps
        self._refresh = refresh
        self._revocations = revocations
        self._lifetimes = lifetimes
        self._clock = clock
        self._regranted: Memo[Authority] = Memo()

    async def open(
        self,
        text: str,
        address: str | None,
        tenant_id: str | None,
        lookup: KeyLookup,
    ) -> Opened | Evidence:
        """The session that `text` belongs to and its key, or what speaks against it.

        `lookup` reads the key. Whether its generation is still live only `spend` can
        tell. Raises Unavailable.
        """
        state = self._refresh.open(text)
        now = self._clock()
        if state is None or state.expires_at <= now.timestamp():
            return Evidence(None, None, False, "not a refresh token, or expired")
        tenants = tenants_of(state, tenant_id)
        record = await lookup.find(state.key_id, tenants=tenants)
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
        if record.endpoint_ids is not None:  # too large to be held on to
            return regranted(record, state.ceiling, tenant_id=tenant_id, scope=scope)
        return self._regranted.of(
            (record, state.ceiling),
            (tenant_id, scope),
            lambda: regranted(record, state.ceiling, tenant_id=tenant_id, scope=scope),
        )

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
        at = await self._steps.advance(state, record.user_id, actor.address)
        if at is not None:
            self._counts.refreshes["step"] += 1
            return successor(state, at, self._lifetimes)
        async with self._store.transaction() as tx:
            session = await tx.sessions.get(state.session_id)
            now = await tx.now()
            if session is not None and is_retry(
                session, state.generation, now, self._lifetimes.refresh_grace
            ):
                self._counts.refreshes["grace"] += 1
                return successor(state, session.rotated_at, self._lifetimes)
            ended = await self._end_reused(tx, session, opened, actor, now)
        return await self._refuse_reused(ended)

    async def _refuse_reused(self, ended: Revocation | None) -> NoReturn:
        if ended is not None:
            self._counts.refreshes["reuse"] += 1
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


def tenants_of(state: RefreshState, chosen: str | None) -> list[str] | None:
    """Those whose roles matter: the session's, or in an unlisted one the one chosen now.

    Without any they are not read, unless (None) for whom the tokens are depends on them.
    """
    if state.ceiling.tenants is not None:
        return list(state.ceiling.tenants)
    if chosen is not None:
        return [chosen]
    return None if state.audiences else []
