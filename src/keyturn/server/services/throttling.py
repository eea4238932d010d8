"""Limits on how often: failures, exchanges, management. Who passes one is told to wait (429).

Failures per address are asked about before a credential is judged, so that nobody learns by
guessing on; failures per username only turn a refusal into a 429, so that nobody who guesses keys
locks out somebody else. Tries of passwords are asked about before they are judged, as well. Each
limit's first refusal of a subject in a window is an event of the audit trail.
"""

import hashlib
import logging
import math

from ..domain.addresses import folded_address
from ..domain.errors import Code, Ended, Guessed, Refusal, Throttled
from ..domain.model import KeyRecord
from ..domain.networks import counted_as
from ..domain.records import transient
from ..domain.tokens import LiveToken
from .ports import Counter, Counters
from .usage import Note, Usage

log = logging.getLogger(__name__)

#: What is a failure: credentials were shown, and were not good. Tokens that were good once are none
#: (`Ended`): who holds one could lock out the resource server that asks about it.
FAILURES = frozenset({Code.INVALID_CLIENT, Code.INVALID_GRANT, Code.INVALID_TOKEN})


@transient
class Source:
    """Where a call comes from, for counting: a name for its address, and for the proxy's that
    nobody has declared, or empty. `address` is what the audit trail tells.
    """

    name: str
    proxy: str
    address: str | None


@transient
class Who:
    """Who was throttled, for the audit trail."""

    user_id: str | None = None
    key_id: str | None = None
    tenant_id: str | None = None


NOBODY = Who()

#: What tells counts of passwords from those of usernames, which callers choose freely.
_PASSWORD = b"password"


class Throttling:
    """Asks the counters. What it raises is `Throttled`."""

    def __init__(self, counters: Counters, usage: Usage) -> None:
        self._counters = counters
        self._usage = usage

    def admit(self, source: Source) -> None:
        """Before a credential of a call is judged: raises when too many from there failed."""
        counters = self._counters
        counter = counters.failures_per_address
        if counter is not None and source.name and (wait := counter.full(source.name)):
            raise self._over("failures-per-address", counter, source.name, wait, source.address)
        counter = counters.failures_per_proxy
        if counter is not None and source.proxy and (wait := counter.full(source.proxy)):
            raise self._over("failures-per-address", counter, source.proxy, wait, source.address)

    def refused(self, refusal: Refusal, source: Source, username: str | None) -> None:
        """After a call ended in `refusal`: counts it if it is a failure, and raises when that was
        one too many.
        """
        if isinstance(refusal, Ended):
            return
        if refusal.code in FAILURES or isinstance(refusal, Guessed):
            self.failed(source, username)

    def failed(self, source: Source, username: str | None) -> None:
        """Counts a failure, and raises when it was one too many."""
        counters = self._counters
        for limit, counter, name in (
            ("failures-per-address", counters.failures_per_address, source.name),
            ("failures-per-address", counters.failures_per_proxy, source.proxy),
            ("failures-per-username", counters.failures_per_username, _hashed(username)),
        ):
            if counter is not None and name and (wait := counter.hit(name)):
                raise self._over(limit, counter, name, wait, source.address) from None

    def password(self, whose: str, address: str | None, who: Who = NOBODY) -> None:
        """Counts a try of a human's password, before it is judged: raises when there were too many.

        It is no secret of 256 bits, so the right one is refused, too. `whose` names the human, and
        the place where it is tried: what is used up there is there elsewhere. Addresses do not
        count, so it is for places that ask for something else first (a token, an invitation's
        code, a password that was right): whoever gets that far keeps the human out of there.
        """
        counter, name = self._counters.failures_per_username, _hashed(whose, _PASSWORD)
        if counter is not None and (wait := counter.hit(name)):
            raise self._over("failures-per-username", counter, name, wait, address, who)

    def sign_in(self, whose: str, address: str | None, who: Who = NOBODY) -> None:
        """Counts a try of a password where anybody may try, before it is judged: raises when
        there were too many.

        Each caller's network has a count of its own, so that what others try is not the human's.
        All together may try ten times as often: enough networks keep the human out, and cannot
        guess faster. What is refused counts in neither.
        """
        counters = self._counters
        caller = counted_as(address or "")
        tries = [
            (counter, _hashed(name, _PASSWORD))
            for counter, name in (
                (counters.failures_per_username, f"{caller} {whose}"),
                (counters.failures_per_username_anywhere, whose),
            )
            if counter is not None
        ]
        for counter, name in tries:
            if wait := counter.full(name):
                raise self._over("failures-per-username", counter, name, wait, address, who)
        for counter, name in tries:
            counter.hit(name)

    def exchange(self, record: KeyRecord, address: str | None) -> None:
        """Counts one token request that named a valid key. Raises before anything is spent."""
        counters = self._counters
        counter = counters.exchanges_per_key
        if counter is not None and (wait := counter.hit(record.key_id)):
            raise self._over_of(record, "exchanges-per-key", counter, record.key_id, wait, address)
        counter, tenant_id = counters.exchanges_per_tenant, record.home_tenant_id
        if counter is not None and (wait := counter.hit(tenant_id)):
            raise self._over_of(record, "exchanges-per-tenant", counter, tenant_id, wait, address)

    def management(self, token: LiveToken, address: str | None) -> str | None:
        """Counts one call of management. Gives what is left, as the header `RateLimit` has it."""
        counter, limit = self._counters.management_per_token, "management-per-token"
        if counter is None:
            return None
        if wait := counter.hit(token.jti):
            who = Who(token.user_id, token.key_id, token.tenant_id)
            raise self._over(limit, counter, token.jti, wait, address, who)
        return f'"{limit}";r={counter.left(token.jti)};t={counter.rate.window}'

    def _over_of(
        self,
        record: KeyRecord,
        limit: str,
        counter: Counter,
        name: str,
        wait: float,
        address: str | None,
    ) -> Throttled:
        who = Who(record.user_id, record.key_id, record.home_tenant_id)
        return self._over(limit, counter, name, wait, address, who)

    def _over(
        self,
        limit: str,
        counter: Counter,
        name: str,
        wait: float,
        address: str | None,
        who: Who = NOBODY,
    ) -> Throttled:
        if not counter.told(name):
            named = {
                "address": address,
                "user_id": who.user_id,
                "key_id": who.key_id,
                "tenant_id": who.tenant_id,
            }
            fields = {field: value for field, value in named.items() if value is not None}
            log.warning("throttled: %s", limit, extra={"fields": fields})
            self._usage.note(
                Note(
                    "request.throttled",
                    "throttled",
                    "",
                    user_id=who.user_id,
                    key_id=who.key_id,
                    tenant_id=who.tenant_id,
                    address=address,
                    why=limit,
                )
            )
        rate = counter.rate
        return Throttled(limit, quota=rate.amount, window=rate.window, retry_after=math.ceil(wait))


def _hashed(username: str | None, kind: bytes = b"") -> str:
    """A name of bounded length for any username, another one for each `kind`; empty for none."""
    if not username:
        return ""
    folded = folded_address(username).encode()
    return hashlib.blake2b(folded, digest_size=16, person=kind).hexdigest()
