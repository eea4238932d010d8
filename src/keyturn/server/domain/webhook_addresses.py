"""Where webhooks may be: addresses that somebody else chose, called from within this network."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from urllib.parse import urlsplit

from .errors import Refusal, invalid_request

#: Of an address, in characters.
MAX_URL = 2_048

Network = IPv4Network | IPv6Network

# RFC 3986 to the letter, and no more: what two parsers may read in two ways is refused.
_URL = re.compile(
    r"https?://(?:\[[0-9a-f:.]+\]|[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?)(?::[0-9]{1,5})?"
    r"(?:[/?](?:[a-z0-9._~:/?\[\]@!$&'()*+,;=-]|%[0-9a-f]{2})*)?",
    re.IGNORECASE | re.ASCII,
)
# Global by name, and another network's or a translator's in truth: relays of 6to4, protocol
# assignments, a cloud's (Azure's) service to its guests. In IPv6 only what was given out
# (2000::/3), without 6to4 and documentation: NAT64 and mapped addresses stand outside.
_NOT_GLOBAL_4 = (
    IPv4Network("192.88.99.0/24"),
    IPv4Network("192.0.0.0/24"),
    IPv4Network("168.63.129.16/32"),
)
_GIVEN_OUT_6 = IPv6Network("2000::/3")
_NOT_GLOBAL_6 = (IPv6Network("2002::/16"), IPv6Network("3fff::/20"))


@dataclass(frozen=True, slots=True)
class Target:
    """Where an address leads. `authority` is host and port as they stand in it."""

    secure: bool
    host: str
    port: int
    authority: str


def target_of(url: str) -> Target:
    """Where it leads. Raises Refusal `invalid_request` for what is no plain http(s) address."""
    try:
        if len(url) > MAX_URL or not _URL.fullmatch(url):
            raise ValueError
        parts = urlsplit(url)
        secure = parts.scheme == "https"
        port = parts.port if parts.port is not None else 443 if secure else 80
        if not parts.hostname or port == 0:
            raise ValueError
        return Target(secure, parts.hostname, port, parts.netloc)
    except ValueError:
        raise invalid_request(
            "Must be https://host[:port]/path?query, without user, password and fragment"
            f" (at most {MAX_URL:,} characters).",
            field="url",
        ) from None


def need_reachable(target: Target, addresses: Sequence[str], networks: Sequence[Network]) -> None:
    """Raises Refusal `invalid_request` unless each of the host's addresses may be called.

    Those of the public Internet may, by https; others only within `networks`, and by http only
    this machine's own (loopback).
    """
    if not addresses:
        raise _not_allowed("The host has no address." if target.secure else _ONLY_HTTPS)
    for text in addresses:
        address = _plain(text)
        listed = address is not None and any(address in network for network in networks)
        if address is None or not (listed or _is_global(address)):
            raise _not_allowed(
                "A webhook must be on the public Internet, or in a network that the operator"
                " allows (KEYTURN_WEBHOOK_NETWORKS)."
            )
        if not target.secure and not (listed and address.is_loopback):
            raise _not_allowed(_ONLY_HTTPS)


_ONLY_HTTPS = (
    "A webhook's address must begin with https://; http:// is for this machine alone, where"
    " KEYTURN_WEBHOOK_NETWORKS has it."
)


def _not_allowed(public: str) -> Refusal:
    return invalid_request(public, field="url")


def _plain(text: str) -> IPv4Address | IPv6Address | None:
    """The address; an IPv4 address written as IPv6 is the IPv4 address."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address):
        if address.scope_id is not None:
            return None
        return address.ipv4_mapped or address
    return address


def _is_global(address: IPv4Address | IPv6Address) -> bool:
    if not address.is_global or address.is_multicast or address.is_reserved:
        return False
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _NOT_GLOBAL_4)
    return address in _GIVEN_OUT_6 and not any(address in network for network in _NOT_GLOBAL_6)
