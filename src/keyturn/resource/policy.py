"""What a tenant's roles permit and which endpoints its catalogue has, kept at hand.

A policy is fetched when a tenant is first seen, and again when the revocation feed says that it,
or one that it depends on, has changed; also `max_age` after the feed was last complete, or after
the fetch where no feed is followed. One that cannot be fetched again serves for `max_age` more.
"""

import hashlib
import json
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from weakref import WeakValueDictionary

from ..paths import MAX_PATH, MAX_SEGMENTS, Opening, answering, best_match, segments
from .errors import Unavailable, WrongTenant
from .flights import Complaint, SingleFlight
from .revocation import Entry
from .service import Fault, Reply, Service

#: Tenants whose policy is kept.
MAX_TENANTS = 1_000
#: The longest policy that is read, in bytes.
MAX_POLICY = 8_388_608
#: Calls of one catalogue whose endpoint is remembered.
MAX_HITS = 2_048
#: The longest path of a request that hits anything, in characters.
MAX_REQUEST_PATH = 8_192
#: How often one question has a policy fetched that is outdated when it comes.
MAX_FETCHES = 2
#: How long a failed fetch is not tried again, in seconds.
PAUSE = 1.0
# News that came while a policy was under way is remembered for longer than that can take.
_REMEMBERED, _MAX_REMEMBERED = 120.0, 10_000


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A method and path of this resource server, as a tenant's catalogue has it."""

    id: str
    service: str
    method: str
    shape: str
    opened_by: Opening
    tenant_id: str


class Endpoints:
    """A catalogue, arranged for finding. Tenants with the same one share it."""

    def __init__(self, listed: Iterable[Endpoint]) -> None:
        self._by_place: dict[tuple[str, int], list[Endpoint]] = {}
        for endpoint in listed:
            place = (endpoint.method, segments(endpoint.shape))
            self._by_place.setdefault(place, []).append(endpoint)
        self._remembered = lru_cache(maxsize=MAX_HITS)(self._hit_by)

    def hit_by(self, method: str, path: str) -> tuple[Endpoint, ...]:
        """What a request for a raw path hits: of each tenant above the most specific endpoint."""
        if len(path) > MAX_REQUEST_PATH or segments(path) > MAX_SEGMENTS:
            return ()
        # Callers choose what is remembered, so it is short.
        short = len(method) + len(path) <= MAX_PATH
        return self._remembered(method, path) if short else self._hit_by(method, path)

    def _hit_by(self, method: str, path: str) -> tuple[Endpoint, ...]:
        places = ((name, segments(path)) for name in answering(method))
        candidates = (e for place in places for e in self._by_place.get(place, ()))
        return best_match(candidates, method, path)


@dataclass(frozen=True, slots=True)
class Policy:
    """What a tenant's role names permit, and its catalogue."""

    roles: Mapping[str, frozenset[str]]
    endpoints: Endpoints


@dataclass(slots=True)
class _Kept:
    policy: Policy
    etag: str
    depends_on: frozenset[bytes]
    asked_at: float
    outdated_at: float = float("inf")


class Policies:
    """The policies of the tenants that this resource server sees.

    `told_until` is up to when news is complete (monotonic); `accept_old`: an old policy serves
    until a new one is there, however long that takes. `max_age` in seconds.
    """

    def __init__(
        self,
        service: Service,
        *,
        service_name: str | None,
        max_age: float,
        accept_old: bool,
        told_until: Callable[[], float],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._service = service
        self._params = {} if service_name is None else {"service": service_name}
        self._max_age = max_age
        self._accept_old = accept_old
        self._told_until = told_until
        self._monotonic = monotonic
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        # Until when a fetch that failed is not tried again, and whether it was refused.
        self._failed: OrderedDict[str, tuple[float, bool]] = OrderedDict()
        # Subject → when it was last named, and as the how manieth of all; what is forgotten counts
        # as named at the floor.
        self._news: OrderedDict[bytes, tuple[float, int]] = OrderedDict()
        self._floor = (-float("inf"), 0)
        self._heard = 0
        self._fetching: SingleFlight[str, _Kept] = SingleFlight()
        self._catalogues: WeakValueDictionary[bytes, Endpoints] = WeakValueDictionary()
        self._complaint = Complaint("a policy cannot be read")

    def changed(self, subject: bytes) -> None:
        """Whatever depends on that subject is outdated, what is under way included."""
        now = self._monotonic()
        self._heard += 1
        self._news[subject] = (now, self._heard)
        self._news.move_to_end(subject)
        while self._news:
            oldest, named = next(iter(self._news.items()))
            if now - named[0] <= _REMEMBERED and len(self._news) <= _MAX_REMEMBERED:
                break
            del self._news[oldest]
            self._floor = named
        for kept in self._kept.values():
            if subject in kept.depends_on:
                kept.outdated_at = min(kept.outdated_at, now)

    def all_changed(self) -> None:
        """Everything is outdated: news may have been missed."""
        now = self._monotonic()
        self._heard += 1
        self._floor = (now, self._heard)
        for kept in self._kept.values():
            kept.outdated_at = min(kept.outdated_at, now)

    async def of(self, tenant_id: str) -> Policy:
        """The tenant's policy; at once while nothing says that it is outdated.

        Raises Unavailable when it is too old and cannot be fetched, and WrongTenant for a tenant
        where this resource server's own user may not ask.
        """
        kept = self._kept.get(tenant_id)
        now = self._monotonic()
        if kept is not None:
            self._kept.move_to_end(tenant_id)
            if self._outdated_at(kept) > now:
                return kept.policy
        until, refused = self._failed.get(tenant_id, (now, False))
        if tenant_id in self._fetching or now >= until:
            refused = False
            try:
                # One that began before the latest news may be without it: the next one is not.
                for _ in range(MAX_FETCHES):
                    kept = await self._fetching.run(tenant_id, lambda: self._fetch(tenant_id))
                    if self._outdated_at(kept) > self._monotonic():
                        return kept.policy
            except Fault as fault:
                self._complaint.about(fault)
                until = self._monotonic() + max(PAUSE, fault.retry_after or 0)
                refused = fault.status == 403
                self._failed[tenant_id] = (until, refused)
                if len(self._failed) > MAX_TENANTS:
                    self._failed.popitem(last=False)
        if refused:
            # Its own user may not ask there: that tenant is none of those served here.
            raise WrongTenant("this resource server has no tokens:introspect in that tenant")
        if kept is not None and (
            self._accept_old or self._monotonic() <= self._outdated_at(kept) + self._max_age
        ):
            return kept.policy
        raise Unavailable("the tenant's policy cannot be read")

    def _outdated_at(self, kept: _Kept) -> float:
        good_until = max(kept.asked_at, self._told_until()) + self._max_age
        return min(kept.outdated_at, good_until)

    async def _fetch(self, tenant_id: str) -> _Kept:
        began, heard = self._monotonic(), self._heard
        known = self._kept.get(tenant_id)
        headers = {"if-none-match": known.etag} if known is not None and known.etag else {}
        reply = await self._service.ask(
            "policy",
            tenant_id=tenant_id,
            params=self._params,
            headers=headers,
            limit=MAX_POLICY,
        )
        if reply.status == 304 and known is not None:
            kept = _Kept(known.policy, known.etag, known.depends_on, began)
        else:
            kept = self._read(reply, tenant_id, began)
        # What came in the meantime may not be in it.
        news = (self._floor, *(self._news[s] for s in kept.depends_on if s in self._news))
        late = (at for at, number in news if number > heard)
        kept.outdated_at = min(late, default=float("inf"))
        self._kept[tenant_id] = kept
        self._kept.move_to_end(tenant_id)
        if len(self._kept) > MAX_TENANTS:
            self._kept.popitem(last=False)
        self._failed.pop(tenant_id, None)
        self._complaint.settled()
        return kept

    def _read(self, reply: Reply, tenant_id: str, began: float) -> _Kept:
        document = reply.document()
        if document.get("tenant_id") != tenant_id:
            raise Fault("a policy of another tenant")
        try:
            roles = {name: _names(given) for name, given in document["roles"].items()}
            policy = Policy(roles, self._catalogue(document["endpoints"]))
            depends_on = frozenset(map(_subject, document["depends_on"]))
        except (KeyError, TypeError, ValueError, AttributeError):
            raise Fault("a policy is malformed") from None
        return _Kept(policy, reply.headers.get("etag", ""), depends_on, began)

    def _catalogue(self, listed: Sequence[Mapping[str, Any]]) -> Endpoints:
        key = hashlib.sha256(json.dumps(listed).encode()).digest()
        shared = self._catalogues.get(key)
        if shared is None:
            shared = self._catalogues[key] = Endpoints(map(_endpoint, listed))
        return shared


def _endpoint(members: Mapping[str, Any]) -> Endpoint:
    return Endpoint(
        _name(members["id"]),
        _name(members["service"]),
        _name(members["method"]),
        _name(members["path"]),
        tuple(map(_names, members["opened_by"])),
        _name(members["tenant_id"]),
    )


def _name(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("a name is a text")
    return value


def _names(value: object) -> frozenset[str]:
    if not isinstance(value, list):
        raise TypeError("names stand in a list")
    return frozenset(map(_name, value))


def _subject(text: str) -> bytes:
    return Entry.read({"kind": "policy", "subject": text, "expires_at": 0}).subject
