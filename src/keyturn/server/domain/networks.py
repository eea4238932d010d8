"""The networks that a key may be used from, in CIDR notation (RFC 4632, RFC 4291), and those that
are counted as one caller.
"""

import functools
import ipaddress
from collections.abc import Sequence

from .errors import invalid_request

#: Networks that one key may name.
MAX_NETWORKS = 50
#: One subscriber has at least that much of IPv6, and counts as one.
_ONE_SUBSCRIBER = 64
#: Longest text that is kept of what is no address: as long as an IPv6 one that embeds IPv4.
_LONGEST = 45
#: Addresses whose names are remembered.
_MOST_KNOWN = 4_096


def check_networks(networks: Sequence[str]) -> tuple[str, ...]:
    """The networks in canonical form, each once.

    Raises Refusal `invalid_request` for what is no network to the letter (host bits set, too),
    for an empty list, and for more than `MAX_NETWORKS`.
    """
    if not networks:
        raise invalid_request("Name at least one network, or null for all.", field="networks")
    if len(networks) > MAX_NETWORKS:
        raise invalid_request("There are too many networks.", field="networks")
    found: dict[str, None] = {}
    for index, text in enumerate(networks):
        try:
            if "%" in text:  # a scope id belongs to one machine
                raise ValueError
            found[str(ipaddress.ip_network(text))] = None
        except ValueError:
            raise invalid_request(
                "A network is an address and a prefix length, as in 192.0.2.0/24.",
                field=f"networks.{index}",
            ) from None
    return tuple(found)


def admits(networks: Sequence[str] | None, address: str | None) -> bool:
    """Whether a key with these networks may be used from `address`; unknown ones may not.

    An IPv4 address that came in as IPv6 (`::ffff:192.0.2.1`) is the IPv4 address.
    """
    if networks is None:
        return True
    try:
        caller = ipaddress.ip_address(address or "")
    except ValueError:
        return False
    if isinstance(caller, ipaddress.IPv6Address) and caller.ipv4_mapped is not None:
        caller = caller.ipv4_mapped
    return any(caller in ipaddress.ip_network(network) for network in networks)


def within(inner: Sequence[str], outer: Sequence[str]) -> bool:
    """Whether every address that `inner` admits is admitted by `outer`, too."""
    wide = [ipaddress.ip_network(network) for network in outer]
    return all(
        any(_inside(ipaddress.ip_network(network), one) for one in wide) for network in inner
    )


@functools.lru_cache(_MOST_KNOWN)
def counted_as(address: str) -> str:
    """The name under which an address is counted: IPv6 by the subscriber's network."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address[:_LONGEST]
    if parsed.version == 4:
        return str(parsed)
    return str(ipaddress.IPv6Network((parsed, _ONE_SUBSCRIBER), strict=False))


def _inside(
    network: ipaddress.IPv4Network | ipaddress.IPv6Network,
    other: ipaddress.IPv4Network | ipaddress.IPv6Network,
) -> bool:
    if isinstance(network, ipaddress.IPv4Network):
        return isinstance(other, ipaddress.IPv4Network) and network.subnet_of(other)
    return isinstance(other, ipaddress.IPv6Network) and network.subnet_of(other)
