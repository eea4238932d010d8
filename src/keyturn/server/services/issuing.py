"""From a key to tokens.

An exchange writes nothing: its refresh token carries the session, sealed (see `refreshing`).
"""

from collections.abc import Callable

from ..domain.authority import Authority, granted
from ..domain.ids import new_id
from ..domain.model import KeyRecord
from ..domain.records import transient
from ..domain.sessions import Lifetimes, RefreshState
from ..domain.tokens import AccessToken
from .audiences import OWN, Target
from .memo import Memo
from .ports import (
    AccessTokens,
    Clock,
    KeyLookup,
    RefreshTokens,
    RevocationList,
    Store,
)
from .single_token import SingleToken

#: Endpoints that a token lists (each takes 40 bytes); with more it says where to ask.
MAX_LISTED_ENDPOINTS = 50


@transient
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
        self._granted: Memo[Authority] = Memo()
        self._single = SingleToken(store, lookup, revocations, lifetimes)

    def authorise(
        self, record: KeyRecord, tenant_id: str | None, scope: frozenset[str] | None
    ) -> Authority:
        """What an exchange of this key may carry. Raises Refusal (see domain.authority)."""
        if record.endpoint_ids is not None:  # too large to be held on to
            return granted(record, tenant_id=tenant_id, scope=scope)
        return self._granted.of(
            (record,), (tenant_id, scope), lambda: granted(record, tenant_id=tenant_id, scope=scope)
        )

    async def take_over(
        self,
        record: KeyRecord,
        decide: Callable[[KeyRecord], Authority],
        *,
        tenants: list[str] | None,
        end_sessions: bool,
    ) -> tuple[KeyRecord, Authority]:
        """Ends what the user held, where only one token may live (see single_token)."""
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

    def refreshed(
        self, record: KeyRecord, authority: Authority, state: RefreshState, target: Target
    ) -> TokenAnswer:
        """The tokens of a spent generation: `state` is what `spend` gave. Raises Unavailable."""
        now = int(self._clock().timestamp())
        return self._answer(record, authority, state.session_id, now, state, target)

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


def listed_endpoints(record: KeyRecord) -> tuple[str, ...] | None:
    """The key's allow-list as a token carries it; None: it has none, or one too long."""
    ids = record.endpoint_ids
    return tuple(sorted(ids)) if ids is not None and len(ids) <= MAX_LISTED_ENDPOINTS else None


def _not_after(record: KeyRecord, moment: int) -> int:
    """`moment`, or the key's own end if that comes first: nothing outlives its key."""
    if record.expires_at is None:
        return moment
    return min(moment, int(record.expires_at.timestamp()))
