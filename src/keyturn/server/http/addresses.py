"""Where a call comes from, by its connection and by `X-Forwarded-For` of trusted proxies.

`Forwarded` (RFC 7239) is not read: a proxy that sets the one passes the other on as the client
sent it, and two headers would be two answers.
"""

import functools
import ipaddress
import logging
import re
from collections.abc import Sequence

from starlette.requests import Request
from starlette.types import Scope

from ..domain.networks import counted_as
from ..services.throttling import Source
from .caller import headers_once

log = logging.getLogger(__name__)

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_HEADER = b"x-forwarded-for"
#: Longest hop: an IPv6 address that embeds an IPv4 one, in brackets, with a port.
_LONGEST = 53
#: Hops that are looked at, from the last one on.
_MOST_HOPS = 20
#: Peers that are remembered.
_MOST_KNOWN = 4_096
#: Requests after which it is said that a proxy seems to be undeclared.
ENOUGH = 20

# Some proxies write the port that they saw beside the address.
_WITH_PORT = re.compile(r"(?:\[([^\]]+)\]|(\d+\.\d+\.\d+\.\d+))(?::\d{1,5})?")


class Addresses:
    """Tells callers' addresses, believing only trusted proxies."""

    def __init__(self, trusted_proxies: Sequence[Network]) -> None:
        self._trusted = tuple(trusted_proxies)
        self._seen = self._undeclared = 0
        self._warned = False
        # Most requests come from where one came from before.
        self._direct: dict[str, Source] = {}
        self._is_trusted = functools.lru_cache(_MOST_KNOWN)(self._look_up)

    def source(self, request: Request) -> Source:
        """The caller's address, and how its failures are counted.

        It is the peer's, or behind trusted proxies the last one that they saw: the rightmost hop
        that is not trusted. A peer that forwards and is not trusted may be a proxy that nobody
        has declared, or somebody who pretends: the hop it names counts by itself, and all of the
        peer's together ten times as much. Without a peer (a Unix socket) there is no address.
        """
        scope = request.scope
        client = scope.get("client")
        peer = client[0] if client else None
        by_name = headers_once(scope)
        hops = [] if by_name is not None and _HEADER not in by_name else _hops(scope)
        if not hops:
            known = self._direct.get(peer or "")
            if known is not None:
                self._seen += 1
                return known
        if not peer:
            return Source("", "", None)
        address = _plain(peer)
        if self._trusted and self._is_trusted(address):
            address = self._behind(address, hops)
            return Source(counted_as(address), "", address)
        self._seen += 1
        if not hops:
            if len(self._direct) >= _MOST_KNOWN:
                self._direct.clear()
            known = self._direct[peer] = Source(counted_as(address), "", address)
            return known
        self._undeclared += 1
        if not self._warned and 2 * self._undeclared > self._seen >= ENOUGH:
            self._warned = True
            log.warning(
                "most requests come with X-Forwarded-For from peers such as %s, which are not in"
                " KEYTURN_TRUSTED_PROXIES: if they are your proxies, name them there; else all"
                " clients seem to have their address",
                address,
            )
        proxy = counted_as(address)
        hop = _address(hops[-1])
        return Source(proxy if hop is None else f"{proxy} {counted_as(hop)}", proxy, address)

    def from_proxy(self, scope: Scope) -> bool:
        """Whether the request comes from a trusted proxy's connection."""
        client = scope.get("client")
        return bool(self._trusted and client and self._is_trusted(_plain(client[0])))

    def of(self, request: Request) -> str | None:
        """The caller's address alone."""
        return self.source(request).address

    def _behind(self, address: str, hops: Sequence[str]) -> str:
        for hop in reversed(hops[-_MOST_HOPS:]):
            found = _address(hop)
            if found is None:  # nobody knows who was before that
                break
            address = found
            if not self._is_trusted(found):
                break
        return address

    def _look_up(self, address: str) -> bool:
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(parsed in network for network in self._trusted)


def _hops(scope: Scope) -> list[str]:
    """All of `X-Forwarded-For`; it may be repeated, which means the same as one after the other."""
    values = [value for name, value in scope["headers"] if name == _HEADER]
    parts = b",".join(values).decode("latin-1").split(",")
    return [part.strip() for part in parts if part.strip()]


def _address(hop: str) -> str | None:
    """The address in a hop, without a port; None for what is none."""
    if len(hop) > _LONGEST or "%" in hop:  # a scope id may hold anything
        return None
    with_port = _WITH_PORT.fullmatch(hop)
    text = (with_port[1] or with_port[2]) if with_port else hop
    try:
        return _plain(str(ipaddress.ip_address(text)))
    except ValueError:
        return None


def _plain(address: str) -> str:
    """An IPv4 address that came in as IPv6 (`::ffff:192.0.2.1`) is the IPv4 address."""
    if ":" not in address:
        return address
    return _unmapped(address)


@functools.lru_cache(_MOST_KNOWN)
def _unmapped(address: str) -> str:
    try:
        parsed = ipaddress.IPv6Address(address)
    except ValueError:
        return address
    return str(parsed.ipv4_mapped) if parsed.ipv4_mapped is not None else address
