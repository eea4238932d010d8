"""The claims of an access token, read strictly.

A right signature says who signed, not what: the key may have been imported, and sign elsewhere,
too. What is not to the letter as Keyturn writes it is no token of ours (RFC 8725, 3.11).
"""

from collections.abc import Callable
from typing import Any, TypeVar

import orjson

from ..domain.errors import Refusal, bad_token
from ..domain.tokens import AccessToken, Acting

T = TypeVar("T")

#: As many may act one behind the other (services.token_exchange).
_MOST_ACTING = 8
Claims = dict[str, Any]


def read(payload: bytes, signed_by: str) -> tuple[str, tuple[str, ...], AccessToken]:
    """Issuer, audiences and token. Its own audiences are empty. Raises Refusal `invalid_token`."""
    try:
        claims = orjson.loads(payload)
    except orjson.JSONDecodeError:
        raise _not_ours("payload") from None
    # What we wrote reads and writes back the same: no member twice, nothing between them.
    if not isinstance(claims, dict) or orjson.dumps(claims) != payload:
        raise _not_ours("payload")
    if "nbf" in claims:  # never written, and not to be overlooked
        raise _not_ours("nbf")
    tenant_id = _of(claims, "tenant_id", _text) if "tenant_id" in claims else None
    elsewhere = _of(claims, "_claim_names", _names) if "_claim_names" in claims else {}
    token = AccessToken(
        jti=_of(claims, "jti", _text),
        user_id=_of(claims, "sub", _text),
        key_id=_of(claims, "client_id", _text),
        session_id=_of(claims, "sid", _text),
        epoch=_of(claims, "epoch", _number),
        issued_at=_of(claims, "iat", _number),
        expires_at=_of(claims, "exp", _number),
        scope=tuple(_of(claims, "scope", _any_text).split()),
        tenant_id=tenant_id,
        roles=_roles(claims, tenant_id, elsewhere),
        parents=_of(claims, "parents", _texts) if "parents" in claims else (),
        actor=_acting(claims["act"]) if "act" in claims else None,
        endpoints=_of(claims, "endpoints", _texts) if "endpoints" in claims else None,
        unlisted_endpoints="endpoints" in elsewhere,
        signed_by=signed_by,
    )
    return _of(claims, "iss", _text), _of(claims, "aud", _audience), token


def _roles(
    claims: Claims, tenant_id: str | None, elsewhere: dict[str, str]
) -> dict[str, tuple[str, ...]] | None:
    """By tenant; None when they stand elsewhere. One of three it must be."""
    if (tenant_id is not None) + ("tenants" in claims) + ("tenants" in elsewhere) != 1:
        raise _not_ours("tenants")
    if tenant_id is not None:
        return {tenant_id: _of(claims, "roles", _texts)}
    return _of(claims, "tenants", _listed) if "tenants" in claims else None


def _acting(claim: object) -> Acting | None:
    """RFC 8693, 4.1, from the inside to the outside."""
    chain: list[Claims] = []
    while claim is not None:
        if not isinstance(claim, dict) or len(chain) == _MOST_ACTING:
            raise _not_ours("act")
        chain.append(claim)
        claim = claim.get("act")
    actor: Acting | None = None
    for each in reversed(chain):
        session_id = _of(each, "sid", _text) if "sid" in each else ""
        actor = Acting(
            _of(each, "sub", _text),
            _of(each, "client_id", _text),
            session_id,
            _of(each, "epoch", _number),
            actor,
        )
    return actor


def _of(claims: Claims, name: str, kind: Callable[[object], T | None]) -> T:
    value = kind(claims.get(name))
    if value is None:
        raise _not_ours(name)
    return value


def _not_ours(what: str) -> Refusal:
    return bad_token(f"not claims of ours: {what}")


def _any_text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _number(value: object) -> int | None:
    return value if type(value) is int and value >= 0 else None


def _texts(value: object) -> tuple[str, ...] | None:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        return None
    return tuple(value)


def _audience(value: object) -> tuple[str, ...] | None:
    return (value,) if isinstance(value, str) and value else _texts(value) or None


def _listed(value: object) -> dict[str, tuple[str, ...]] | None:
    if not isinstance(value, dict):
        return None
    read = {tenant: _texts(names) for tenant, names in value.items()}
    found = {tenant: names for tenant, names in read.items() if names is not None}
    return found if len(found) == len(read) else None


def _names(value: object) -> dict[str, str] | None:
    if not isinstance(value, dict) or not all(isinstance(name, str) for name in value.values()):
        return None
    return value
