"""A compact JWS (RFC 7515) taken apart, as strictly as RFC 8725 asks.

Nothing of the payload is looked at before the signature is right, and no outgoing request is
ever made because of what a header says: `jku` and `x5u` are members that no token here has.
"""

import base64
import binascii
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from .errors import InvalidToken

#: Longest token that is looked at, in characters. Headers of 16 KiB and more fail elsewhere, too.
MAX_TEXT = 16_384
#: Longest header, in characters of base64url, and longest key id.
MAX_HEADER = 1_024
MAX_KID = 256
# `typ` of an access token (RFC 9068, 2.1), in lower case.
_TYPES = frozenset({"at+jwt", "application/at+jwt"})
# All that a header of Keyturn's has. What RFC 8725 warns of (`crit`, `jwk`, `jku`, `x5u`, `x5c`,
# `zip`, `b64`) is a member that is not among them.
_MEMBERS = frozenset({"alg", "kid", "typ"})


@dataclass(frozen=True, slots=True)
class Jws:
    """A token in parts: header read, payload still as it came."""

    kid: str
    algorithm: str
    signed: bytes
    payload: str
    signature: bytes


def take_apart(text: str, algorithms: Collection[str]) -> Jws:
    """The parts of `text`. Raises InvalidToken for anything but a JWS access token."""
    if len(text) > MAX_TEXT:
        raise InvalidToken("oversize")
    parts = text.split(".")
    if len(parts) != 3 or not text.isascii():
        raise InvalidToken("not a compact JWS")
    if len(parts[0]) > MAX_HEADER:
        raise InvalidToken("oversize header")
    header = _object(_decoded(parts[0]))
    algorithm, kid, kind = header.get("alg"), header.get("kid"), header.get("typ")
    if not isinstance(algorithm, str) or algorithm not in algorithms:
        raise InvalidToken("algorithm not allowed")
    if not isinstance(kind, str) or kind.lower() not in _TYPES:
        raise InvalidToken("not an access token by its typ")
    if not _MEMBERS.issuperset(header):
        raise InvalidToken("a header member that no token here has")
    if not isinstance(kid, str) or not 0 < len(kid) <= MAX_KID:
        raise InvalidToken("no key id")
    signed = text[: len(parts[0]) + 1 + len(parts[1])].encode()
    return Jws(kid, algorithm, signed, parts[1], _decoded(parts[2]))


def claims_of(jws: Jws) -> Mapping[str, object]:
    """The payload, once the signature was checked. Raises InvalidToken for no JSON object."""
    return _object(_decoded(jws.payload))


def _decoded(segment: str) -> bytes:
    """Strict base64url without padding: one spelling only (RFC 7515, 2)."""
    try:
        data = base64.b64decode(segment + "=" * (-len(segment) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise InvalidToken("not base64url") from None
    if base64.urlsafe_b64encode(data).rstrip(b"=") != segment.encode():
        raise InvalidToken("not base64url")
    return data


def _object(data: bytes) -> Mapping[str, object]:
    try:
        value = json.loads(data.decode(), object_pairs_hook=_each_once, parse_constant=_no_constant)
        if b"\\u" in data:
            # A lone surrogate is a text that has no bytes: no digest, no log, no header.
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        raise InvalidToken("not strict JSON") from None
    if not isinstance(value, dict):
        raise InvalidToken("not a JSON object")
    return value


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """RFC 8725, 2.4 (JSON readers differ in which of two they take)."""
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member is repeated")
    return members


def _no_constant(name: str) -> None:
    raise ValueError("NaN and Infinity are no JSON")
