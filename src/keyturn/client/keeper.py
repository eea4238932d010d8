"""Keeps one access token fresh for everybody who asks: any number of threads and event loops.

One of them leads and gets the token; the others go on with the one that still is good, or wait for
the leader. Nobody holds the lock while anything is waited for.
"""

import copy
import logging
import os
import random
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import nullcontext
from dataclasses import dataclass, field, replace

from .cache import TokenCache
from .calls import Call
from .errors import KeyturnError, Refused, Unavailable
from .pauses import LastFailure, Refusers
from .steps import Clock, Fault, Moment, Patience, Pause, Steps, Wait, answered
from .tokens import Tokens, tokens_of

log = logging.getLogger(__name__)

#: An early refresh gives up sooner: the token at hand is good. In seconds.
_EARLY_DEADLINE = 4.0
#: When a token is refreshed: between these parts of its life, so that clients spread.
_EARLIEST, _LATEST = 0.75, 0.9
#: What is left of a token's life when it is not sent any more: this part, or these seconds.
_MARGIN, _LONGEST_MARGIN = 0.05, 10.0
#: How long a failed early refresh is left alone, as parts of the token's life.
_NEXT_TRY = 0.02, 0.04
_LOCK_POLL = 0.05


@dataclass(frozen=True, slots=True)
class Held:
    """An access token, when it was asked for, and how old (in seconds) it gets."""

    access_token: str = field(repr=False)
    born: Moment
    refreshed_at: float
    sent_until: float

    def is_good(self, now: Moment) -> bool:
        """Whether it can still be sent."""
        return self.born.age(now) < self.sent_until

    def is_old(self, now: Moment) -> bool:
        """Whether it is time for the next one."""
        return self.born.age(now) >= self.refreshed_at


#: What comes of it: a token, an error for all who wait, or None: somebody else must lead.
_Flight = Future[Held | KeyturnError | None]


class Keeper:
    """Keeps the access token that the call `exchange` gets.

    `refresh` makes the call for a refresh token; `fingerprint` is the token's name in `cache`.
    """

    def __init__(
        self,
        exchange: Call,
        refresh: Callable[[str], Call],
        fingerprint: str,
        *,
        cache: TokenCache | None,
        deadline: float,
        clock: Clock,
    ) -> None:
        self._exchange, self._refresh = exchange, refresh
        self._cache, self._fingerprint = cache, fingerprint
        self._deadline, self._clock = deadline, clock
        self._lock = threading.Lock()
        self._held: Held | None = None
        # A refresh token works once, so whoever leads takes it away. If the answer is lost the
        # next one exchanges the key: the service takes a late retry for theft.
        self._unspent: Tokens | None = None
        self._flight: _Flight | None = None
        self._leader = 0
        self._not_before = float("-inf")
        self._failure, self._refusers = LastFailure(), Refusers()
        _keepers.add(self)

    def at_hand(self) -> str | None:
        """The access token, if there is nothing to do for it."""
        with self._lock:
            return self._at_hand()

    def drop(self, token: str, origin: str) -> bool:
        """Gives up a token that `origin` refused.

        False when it is kept: that origin had a new one lately, and has taken none since.
        """
        with self._lock:
            held, now = self._held, self._clock()
            if held is None or held.access_token != token or not held.is_good(now):
                return True  # it is given up already
            if not self._refusers.may_cost(origin, now):
                return False
            # It stays known, so that it is not taken from the cache again.
            self._held = replace(held, refreshed_at=0, sent_until=0)
            return True

    def worked(self, origin: str) -> None:
        """A token was taken there: the next that is refused is replaced at once."""
        with self._lock:
            self._refusers.clear(origin)

    def token(self) -> Steps[str]:
        """The access token: at hand, or got by the caller, or by whoever is at it already.

        Raises KeyturnError: when there is none, the same for all who waited, and for who comes
        before it makes sense to try again.
        """
        # The leader has one deadline; what is more is lost with its thread or event loop.
        ends = self._clock().monotonic + 2 * self._deadline
        while True:
            with self._lock:
                if (token := self._at_hand()) is not None:
                    return token
                held, flight, leads = self._held, self._flight, False
                if flight is None:
                    if (error := self._failure.again(self._clock())) is not None:
                        raise error
                    flight, leads = _Flight(), True
                    # From now on nobody who waits can cancel it.
                    flight.set_running_or_notify_cancel()
                    self._flight, self._leader = flight, threading.get_ident()
                leader = self._leader
            if leads:
                return (yield from self._lead(flight, held))
            landed = yield Wait(flight, ends - self._clock().monotonic, leader)
            if isinstance(landed, Held):
                return landed.access_token
            if isinstance(landed, KeyturnError):
                raise copy.copy(landed)  # a traceback of its own for everybody
            # Somebody else leads: the leader was cancelled, or failed and has a good token, or
            # cannot go on before this one does, or is lost.
            is_late = self._clock().monotonic >= ends
            if is_late or isinstance(landed, Fault):
                self._unseat(flight)
            if is_late:
                raise Unavailable("nobody got a token in time")

    def forked(self) -> None:
        """In a child process: nobody here is at work, and the refresh token is the parent's."""
        self._lock = threading.Lock()
        self._flight, self._unspent = None, None

    def _unseat(self, flight: _Flight) -> None:
        with self._lock:
            if self._flight is flight:
                self._flight = None

    def _at_hand(self) -> str | None:
        held, now = self._held, self._clock()
        if held is None or not held.is_good(now):
            return None
        if self._flight is None and held.is_old(now) and now.monotonic >= self._not_before:
            return None
        return held.access_token

    def _lead(self, flight: _Flight, held: Held | None) -> Steps[str]:
        early = held is not None and held.is_good(self._clock())
        landed: Held | KeyturnError | None = None
        try:
            seconds = min(_EARLY_DEADLINE, self._deadline) if early else self._deadline
            fresh = yield from self._got(held, Patience(self._clock, seconds))
            landed = fresh
            return fresh.access_token
        except KeyturnError as error:
            if held is None or not early:
                landed = error
                raise
            log.warning("the token was not refreshed early: %s", error)
            self._leave_alone(held, error)
            return held.access_token
        finally:
            with self._lock:
                if isinstance(landed, Held):
                    self._held = landed
                    self._failure.clear()
                elif landed is not None and self._flight is flight:
                    self._failure.note(landed, self._clock())
            self._unseat(flight)
            flight.set_result(landed)

    def _leave_alone(self, held: Held, error: KeyturnError) -> None:
        life = held.sent_until
        wanted = (error.retry_after if isinstance(error, Unavailable) else None) or 0
        pause = max(wanted, life * random.uniform(*_NEXT_TRY))  # noqa: S311
        with self._lock:
            now = self._clock()
            self._not_before = now.monotonic + pause
            if wanted:  # to be kept to even when the token is dead sooner
                self._failure.note(error, now)

    def _got(self, held: Held | None, patience: Patience) -> Steps[Held]:
        """A new token: from the cache, or of the service, kept in the cache."""
        cache = self._cache
        if cache is None:
            return (yield from self._asked(patience))
        if found := self._cached(cache, held):
            return found
        waits_until = patience.left / 2
        while (lock := cache.try_lock()) is None and patience.left > waits_until:
            yield Pause(_LOCK_POLL)
        with lock or nullcontext():
            if found := self._cached(cache, held):  # by whom the lock was waited for
                return found
            return (yield from self._asked(patience))

    def _cached(self, cache: TokenCache, held: Held | None) -> Held | None:
        now = self._clock()
        tokens = cache.get(self._fingerprint, now)
        if tokens is None or (held is not None and held.access_token == tokens.access_token):
            return None
        age = now.wall - tokens.obtained_at
        found = _held(tokens, Moment(tokens.obtained_at, now.monotonic - age))
        return None if found.is_old(now) else found

    def _asked(self, patience: Patience) -> Steps[Held]:
        """A new token of the service: by the refresh token, and by the key if that is dead."""
        with self._lock:
            unspent, self._unspent = self._unspent, None
        if unspent is not None and unspent.refresh_token is not None:
            ends = unspent.refresh_expires_at
            if ends is None or self._clock().wall < ends:
                try:
                    return (yield from self._sent(self._refresh(unspent.refresh_token), patience))
                except Refused as error:
                    log.debug("the session has ended: %s", error)
        return (yield from self._sent(self._exchange, patience))

    def _sent(self, call: Call, patience: Patience) -> Steps[Held]:
        body, asked = yield from answered(call, patience)
        tokens = tokens_of(body, asked.wall)
        with self._lock:
            self._unspent = tokens
        if self._cache is not None:
            self._cache.put(self._fingerprint, tokens, self._clock())
        return _held(tokens, asked)


def _held(tokens: Tokens, born: Moment) -> Held:
    life = tokens.expires_at - tokens.obtained_at
    return Held(
        tokens.access_token,
        born,
        refreshed_at=life * random.uniform(_EARLIEST, _LATEST),  # noqa: S311
        sent_until=life - min(life * _MARGIN, _LONGEST_MARGIN),
    )


_keepers: "weakref.WeakSet[Keeper]" = weakref.WeakSet()


def _forked() -> None:
    for keeper in _keepers:
        keeper.forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
