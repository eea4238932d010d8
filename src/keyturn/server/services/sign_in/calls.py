"""Calls by browsers in which somebody is signed in; and how sign-ins are seen and ended."""

import hmac
from dataclasses import dataclass
from datetime import datetime, timedelta

from ...domain.errors import Refusal, bad_token, ended_token, not_found
from ...domain.model import KeyRecord
from ...domain.tokens import AccessToken, VerifiedToken
from ...domain.trail import Actor
from ..callers import Arrival, Callers, OwnCaller
from ..management.changes import Change, Changes
from ..management.ending import end_sign_ins
from ..ports import Clock, ConsoleCookies, KeyLookup, PresentedCookie, Store
from ..recent_keys import RecentKeys
from ..usage import Note, Usage

#: How long the token of one call is good, which is made for that call.
CALL = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class ListedSignIn:
    """A sign-in as its person sees it. `current`: the one that they see it by."""

    id: str
    created_at: datetime
    last_used_at: datetime | None
    address: str | None
    agent: str
    current: bool


class SignIns:
    """Those that have begun, by their cookies."""

    def __init__(
        self,
        *,
        store: Store,
        changes: Changes,
        callers: Callers,
        keys: RecentKeys,
        cookies: ConsoleCookies,
        usage: Usage,
        clock: Clock,
    ) -> None:
        self._store = store
        self._changes = changes
        self._callers = callers
        self._keys = keys
        self._cookies = cookies
        self._usage = usage
        self._clock = clock

    async def arrive(
        self, cookie: str, address: str | None, endpoint: tuple[str, str], *, used: bool = True
    ) -> Arrival:
        """A call by a browser that is signed in, as `Callers.arrive` has it of a bearer token.

        `used`: somebody is at the browser; else the call does not put off the end of a sign-in
        that goes unused. Raises Refusal `invalid_token` for a cookie of no live sign-in,
        Unavailable.
        """
        presented = self._parsed(cookie)
        arrival = await self._keys.look(
            lambda keys: self._admitted(keys, presented, address, endpoint)
        )
        if used:
            user_id = arrival.token.user_id
            note = Note(None, "granted", "", user_id, presented.key_id, address=address)
            self._usage.note(note)
        return arrival

    def csrf(self, cookie: str) -> str:
        """What the forms of that sign-in carry. Raises Refusal `invalid_token` for no cookie."""
        return self._cookies.csrf(self._parsed(cookie))

    def is_csrf(self, cookie: str, token: str) -> bool:
        """Whether a form was made for that sign-in; in constant time."""
        presented = self._cookies.parse(cookie)
        if presented is None:
            return False
        expected = self._cookies.csrf(presented).encode()
        return hmac.compare_digest(expected, token.encode("utf-8", "surrogatepass"))

    async def sign_out(self, cookie: str, address: str | None = None) -> None:
        """Ends the sign-in. One that is over is no error. Raises Unavailable."""
        presented = self._cookies.parse(cookie)
        if presented is None:
            return
        try:
            record = await self._keys.look(lambda keys: self._live(keys, presented))
        except Refusal:
            return
        actor = Actor(record.user_id, record.key_id, record.key_id, address)
        async with self._changes.begin(actor, record.home_tenant_id) as change:
            await self._end(change, record.user_id, only=record.key_id)

    async def mine(self, caller: OwnCaller) -> tuple[ListedSignIn, ...]:
        """The caller's that are good still, the newest first."""
        async with self._store.transaction() as tx:
            live = await tx.sign_ins.live_of(caller.record.user_id, await tx.now())
        return tuple(
            ListedSignIn(
                one.id,
                one.created_at,
                one.last_used_at,
                one.address,
                one.agent,
                one.id == caller.token.key_id,
            )
            for one in live
        )

    async def end(self, caller: OwnCaller, sign_in_id: str) -> None:
        """Ends one of the caller's. Raises Refusal `not_found`."""
        async with self._changes.begin(caller.actor, caller.record.home_tenant_id) as change:
            if not await self._end(change, caller.record.user_id, only=sign_in_id):
                raise not_found("no such sign-in of the caller's")

    async def end_all(self, caller: OwnCaller, but_current: bool) -> int:
        """Ends all of the caller's, maybe but the one that it calls by; how many."""
        but = caller.token.key_id if but_current else None
        async with self._changes.begin(caller.actor, caller.record.home_tenant_id) as change:
            return await self._end(change, caller.record.user_id, but=but)

    async def _end(
        self, change: Change, user_id: str, *, only: str | None = None, but: str | None = None
    ) -> int:
        last = self._changes.last_token_ends(change.now)
        ended = await end_sign_ins(change, user_id, last, only=only, but=but)
        if ended:
            change.note("user.signed_out", user_id, sign_ins=ended)
        return ended

    def _parsed(self, cookie: str) -> PresentedCookie:
        presented = self._cookies.parse(cookie)
        if presented is None:
            raise bad_token("no cookie of ours")
        return presented

    async def _live(self, keys: KeyLookup, cookie: PresentedCookie) -> KeyRecord:
        record = await keys.find(cookie.key_id, tenants=())
        stored = record.hash if record is not None and record.for_console else None
        if not self._cookies.matches(cookie, stored) or record is None:
            raise bad_token("no sign-in, or another secret")
        if not record.live(self._clock()) or cookie.epoch < record.sessions_epoch:
            raise ended_token("the sign-in is over")
        return record

    async def _admitted(
        self,
        keys: KeyLookup,
        cookie: PresentedCookie,
        address: str | None,
        endpoint: tuple[str, str],
    ) -> Arrival:
        record = await self._live(keys, cookie)
        now = self._clock()
        token = AccessToken(
            jti=record.key_id,
            user_id=record.user_id,
            key_id=record.key_id,
            session_id=record.key_id,
            epoch=record.epoch,
            issued_at=int(now.timestamp()),
            expires_at=int((now + CALL).timestamp()),
            scope=(),
            tenant_id=None,
            roles=None,
        )
        return await self._callers.admit(VerifiedToken(token), address, endpoint)
