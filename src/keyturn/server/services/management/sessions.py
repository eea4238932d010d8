"""Sessions: those of whoever calls, and those of the users of a tenant.

A session has a row from its first refresh on, and is listed from then on. What ends all of a
user's ends the others, too.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from ...domain.errors import invalid_request, not_found
from ...domain.model import ApiKey, Session, User
from ...domain.sessions import Lifetimes
from ..callers import OwnCaller, TenantCaller
from ..ports import KeyLookup, Page, Slice, Store, Transaction
from .changes import Changes
from .delegation import bounds_of
from .ending import ENDED, end_session, end_sessions_of_users
from .key_states import KeyState, ListedKey, listed_page
from .standing import need_standing


@dataclass(frozen=True, slots=True)
class ListedSession:
    """A session as it is listed: whether it can still be refreshed.

    Else why not, and since when, if that is known. `current`: it is the one that the caller's
    token belongs to.
    """

    session: Session
    started_at: datetime
    live: bool = True
    ended_at: datetime | None = None
    end_reason: str | None = None
    current: bool = False


class OwnSessions:
    """The sessions of whoever calls."""

    def __init__(
        self, store: Store, changes: Changes, lifetimes: Lifetimes, lookup: KeyLookup
    ) -> None:
        self._store = store
        self._changes = changes
        self._lifetimes = lifetimes
        self._lookup = lookup

    async def list(
        self, caller: OwnCaller, part: Slice, *, live: bool = False
    ) -> Page[ListedSession]:
        """Those of all of the caller's keys, the latest begun first; with `live`, no ended ones."""
        async with self._store.transaction() as tx:
            user = await _user(tx, caller)
            since = await _since(tx, self._lifetimes) if live else None
            page = await tx.sessions.of_user(user.id, part, refreshed_since=since)
            return await _listed(
                tx, user, page, self._lifetimes, live=live, current=caller.token.session_id
            )

    async def end(self, caller: OwnCaller, session_id: str) -> None:
        """Ends one with its tokens, whichever key began it; to do it again changes nothing.

        The caller's present one can be ended also before its first refresh. Raises Refusal
        `not_found`.
        """
        async with self._changes.begin(caller.actor, caller.record.home_tenant_id) as change:
            session = await change.tx.sessions.get(session_id)
            own = session_id == caller.token.session_id and not caller.record.for_console
            if session is None and own:
                session = self._unwritten(caller, change.now)
            if session is None or session.user_id != caller.record.user_id:
                raise not_found("no such session of the caller's")
            last = self._changes.last_token_ends(change.now)
            if await end_session(change, session, last, ENDED):
                change.note("session.ended", session.id)

    async def end_all(self, caller: OwnCaller) -> None:
        """Ends all sessions and tokens of the caller, those by which it calls among them.

        Raises Refusal `insufficient_scope` for a token that carries less than its key gives.
        """
        async with self._changes.begin(caller.actor, caller.record.home_tenant_id) as change:
            await bounds_of(change.tx, self._lookup, caller)
            user_id = caller.record.user_id
            last = self._changes.last_token_ends(change.now)
            await end_sessions_of_users(change, [user_id], last)
            change.note("session.all_ended", user_id)

    def _unwritten(self, caller: OwnCaller, now: datetime) -> Session:
        # Its refresh token is not here to say when it ends: not later than one that begins now.
        end = now + timedelta(seconds=self._lifetimes.session)
        token = caller.token
        return Session(
            token.session_id, token.key_id, token.user_id, 0, now, end, epoch=token.epoch
        )


#: Live sessions of a key are counted up to here.
MAX_COUNTED = 100


@dataclass(frozen=True, slots=True)
class LiveSessions:
    """How many sessions end with a key. `more`: at least so many."""

    count: int
    more: bool


class SessionManagement:
    """The sessions of users at home in the caller's tenant or below; no others exist for it."""

    def __init__(self, store: Store, changes: Changes, lifetimes: Lifetimes) -> None:
        self._store = store
        self._changes = changes
        self._lifetimes = lifetimes

    async def list(
        self,
        caller: TenantCaller,
        part: Slice,
        *,
        user_id: str | None = None,
        key_id: str | None = None,
        live: bool = False,
    ) -> Page[ListedSession]:
        """Those of one user or of one key, as in `OwnSessions.list`.

        Raises Refusal `not_found`, and `invalid_request` unless one of the two is said.
        """
        if (user_id is None) == (key_id is None):
            raise invalid_request("Say user_id or api_key_id: one of them.", field="user_id")
        async with self._store.transaction() as tx:
            since = await _since(tx, self._lifetimes) if live else None
            if key_id is not None:
                key = await key_here(tx, caller, key_id)
                user = await user_here(tx, caller, key.user_id)
                page = await tx.sessions.of_key(key.id, part, refreshed_since=since)
            else:
                user = await user_here(tx, caller, user_id or "")
                page = await tx.sessions.of_user(user.id, part, refreshed_since=since)
            return await _listed(
                tx, user, page, self._lifetimes, live=live, current=caller.token.session_id
            )

    async def live_of_key(self, caller: TenantCaller, key_id: str) -> LiveSessions:
        """How many of the key's can still be refreshed, and were. Raises Refusal `not_found`."""
        page = await self.list(caller, Slice(MAX_COUNTED), key_id=key_id, live=True)
        # What ends all of a key's sessions leaves none on any page.
        return LiveSessions(len(page.items), bool(page.items) and page.next is not None)

    async def end(self, caller: TenantCaller, session_id: str) -> None:
        """Ends one with its tokens; to do it again changes nothing.

        Raises Refusal `not_found`, and `insufficient_scope` for somebody's with more than the
        caller could give.
        """
        async with self._changes.begin(caller.actor, caller.tenant_id) as change:
            session, user = await session_here(change.tx, caller, session_id)
            await need_standing_on(change.tx, caller, user)
            if await end_session(change, session, self._changes.last_token_ends(change.now)):
                for trail in {caller.tenant_id, user.home_tenant_id}:
                    change.note("session.revoked", session.id, tenant_id=trail, user_id=user.id)


async def user_here(tx: Transaction, caller: TenantCaller, user_id: str) -> User:
    """The user, at home in the caller's tenant or below. Raises Refusal `not_found`."""
    user = await tx.users.get(user_id)
    if user is None or not await tx.tenants.reaches(caller.tenant_id, user.home_tenant_id):
        raise not_found("no such user at home in the tenant or below")
    return user


async def key_here(tx: Transaction, caller: TenantCaller, key_id: str) -> ApiKey:
    """The key of a user at home in the caller's tenant or below. Raises Refusal `not_found`."""
    key = await tx.api_keys.get(key_id)
    if key is None or not await tx.tenants.reaches(caller.tenant_id, key.home_tenant_id):
        raise not_found("no such key at home in the tenant or below")
    return key


async def session_here(
    tx: Transaction, caller: TenantCaller, session_id: str
) -> tuple[Session, User]:
    """A session with its user, as `user_here`. Raises Refusal `not_found`."""
    session = await tx.sessions.get(session_id)
    if session is None:
        raise not_found("no session of that id has a row")
    return session, await user_here(tx, caller, session.user_id)


async def need_standing_on(tx: Transaction, caller: TenantCaller, user: User) -> None:
    """Raises Refusal `insufficient_scope` for another user with more than the caller could give."""
    if user.id != caller.user_id:
        await need_standing(tx, caller, user.id)


async def _user(tx: Transaction, caller: OwnCaller) -> User:
    user = await tx.users.get(caller.record.user_id)
    if user is None:
        raise not_found("the user is gone")
    return user


async def _since(tx: Transaction, lifetimes: Lifetimes) -> datetime:
    """What was last refreshed before has a refresh token no more."""
    return await tx.now() - timedelta(seconds=lifetimes.refresh_token)


async def _listed(
    tx: Transaction,
    user: User,
    page: Page[Session],
    lifetimes: Lifetimes,
    *,
    live: bool,
    current: str,
) -> Page[ListedSession]:
    """One user's sessions with what became of them; with `live`, without the ended ones."""
    now = await tx.now()
    keys = await tx.api_keys.many({session.key_id for session in page.items})
    states = {item.key.id: item for item in await _states(tx, user, keys)}
    items = []
    for session in page.items:
        ends = _ends(session, states[session.key_id], user, lifetimes)
        ended_at, reason = min(ends, key=lambda end: end[0] or now)
        over = ended_at is None or ended_at <= now
        begun = datetime.fromtimestamp(int(session.id.replace("-", "")[:12], 16) / 1000, UTC)
        is_current = session.id == current
        if over:
            items.append(ListedSession(session, begun, False, ended_at, reason, is_current))
        else:
            items.append(ListedSession(session, begun, current=is_current))
    # What the database cannot tell by itself (a key went unused for too long) is few.
    kept = (item for item in items if item.live or not live)
    return Page(tuple(kept), page.next)


async def _states(tx: Transaction, user: User, keys: tuple[ApiKey, ...]) -> tuple[ListedKey, ...]:
    return (await listed_page(tx, user.home_tenant_id, Page(keys))).items


def _ends(
    session: Session, key: ListedKey, user: User, lifetimes: Lifetimes
) -> list[tuple[datetime | None, str]]:
    """All that ends the session, sooner or later: when, if that is known, and why."""
    if session.ended_at is not None:
        return [(session.ended_at, session.end_reason or ENDED)]
    unused = session.rotated_at + timedelta(seconds=lifetimes.refresh_token)
    ends: list[tuple[datetime | None, str]] = [(min(unused, session.expires_at), "expired")]
    if key.key.revoked_at is not None:
        ends.append((key.key.revoked_at, "key_revoked"))
    if user.disabled_at is not None:
        ends.append((user.disabled_at, "user_disabled"))
    if session.superseded:
        ends.append((None, "superseded"))
    if key.state is KeyState.IDLE:
        ends.append((None, "key_idle"))
    return ends
