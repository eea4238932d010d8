"""What an access token says (RFC 9068), and the type that exists only once it was verified."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NewType

#: Who acted before whom, at most so many times.
MAX_ACTORS = 16
# Above this a JSON number is not exact everywhere (RFC 8259, 6).
_MAX_NUMBER = 2**53


class Malformed(ValueError):
    """Claims that no token of Keyturn has. The text is fit for the log."""


@dataclass(frozen=True, slots=True)
class Acting:
    """Who acts for a token's user (RFC 8693, 4.1), by which key; who did `before`.

    `session_id` is empty for who showed the key itself.
    """

    user_id: str
    key_id: str
    session_id: str
    epoch: int
    before: "Acting | None" = None


@dataclass(frozen=True, slots=True)
class AccessToken:
    """The claims of an access token. Times are Unix seconds.

    `roles` maps tenant ids to role names: one entry when a tenant was chosen (`tenant_id`), None
    when there are too many tenants to list. A permission in `scope` holds in each of them.

    `parents` are the ids of the tokens that it came from; it ends with them. `endpoints` are the
    only ones of the catalogue that it opens, None when there is no such list;
    `endpoints_elsewhere`: there is one that only the service knows. `signed_by` is the signing
    key's id.
    """

    jti: str
    user_id: str
    key_id: str
    session_id: str
    epoch: int
    issuer: str
    audiences: tuple[str, ...]
    issued_at: int
    expires_at: int
    scope: frozenset[str]
    tenant_id: str | None
    roles: Mapping[str, tuple[str, ...]] | None
    parents: tuple[str, ...] = ()
    actor: Acting | None = None
    endpoints: frozenset[str] | None = None
    endpoints_elsewhere: bool = False
    not_before: int = 0
    signed_by: str = ""

    @property
    def narrowed(self) -> bool:
        """Whether it opens some endpoints of the catalogue only."""
        return self.endpoints is not None or self.endpoints_elsewhere

    @property
    def actors(self) -> Iterator[Acting]:
        """Who acts for its user, the latest first."""
        actor = self.actor
        while actor is not None:
            yield actor
            actor = actor.before


#: Signature, issuer, audience, type, times and revocation were checked.
VerifiedToken = NewType("VerifiedToken", AccessToken)


def read_claims(claims: Mapping[str, object], signed_by: str) -> AccessToken:
    """The claims of a payload whose signature is right. Raises Malformed.

    `sid` and `epoch` are no claims of RFC 9068, but without them nobody could revoke.
    """
    elsewhere = _members(claims.get("_claim_names", {}), "_claim_names")
    tenant_id, roles = _tenants(claims, elsewhere)
    audience = claims.get("aud")
    scope = claims.get("scope", "")
    if not isinstance(scope, str):
        raise Malformed("scope")
    listed = claims.get("endpoints")
    return AccessToken(
        jti=_text(claims, "jti"),
        user_id=_text(claims, "sub"),
        key_id=_text(claims, "client_id"),
        session_id=_text(claims, "sid"),
        epoch=_number(claims, "epoch"),
        issuer=_text(claims, "iss"),
        audiences=(audience,) if isinstance(audience, str) else _texts(audience, "aud"),
        issued_at=_number(claims, "iat"),
        expires_at=_number(claims, "exp"),
        scope=frozenset(scope.split()),
        tenant_id=tenant_id,
        roles=roles,
        parents=_texts(claims.get("parents", []), "parents"),
        actor=_actor(claims.get("act"), MAX_ACTORS) if "act" in claims else None,
        endpoints=frozenset(_texts(listed, "endpoints")) if "endpoints" in claims else None,
        endpoints_elsewhere="endpoints" in elsewhere,
        not_before=_number(claims, "nbf") if "nbf" in claims else 0,
        signed_by=signed_by,
    )


def _tenants(
    claims: Mapping[str, object], elsewhere: Mapping[str, object]
) -> tuple[str | None, Mapping[str, tuple[str, ...]] | None]:
    """The chosen tenant, and the roles by tenant; no tenant at all where none is named."""
    forms = ("tenant_id" in claims, "tenants" in claims, "tenants" in elsewhere)
    if sum(forms) > 1:
        raise Malformed("tenants named in two ways")
    if "tenant_id" in claims:
        tenant_id = _text(claims, "tenant_id")
        return tenant_id, {tenant_id: _texts(claims.get("roles", []), "roles")}
    if "tenants" in elsewhere:
        return None, None
    listed = _members(claims.get("tenants", {}), "tenants")
    return None, {tenant: _texts(names, "tenants") for tenant, names in listed.items()}


def _actor(claim: object, depth: int) -> Acting:
    if depth == 0:
        raise Malformed("act too deep")
    members = _members(claim, "act")
    before = _actor(members["act"], depth - 1) if "act" in members else None
    session_id = _text(members, "sid") if "sid" in members else ""
    return Acting(
        _text(members, "sub"),
        _text(members, "client_id"),
        session_id,
        _number(members, "epoch"),
        before,
    )


def _text(claims: Mapping[str, object], name: str) -> str:
    value = claims.get(name)
    if not isinstance(value, str) or not value:
        raise Malformed(name)
    return value


def _number(claims: Mapping[str, object], name: str) -> int:
    value = claims.get(name)
    # A bool is an int in Python, and in no JSON.
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < _MAX_NUMBER:
        raise Malformed(name)
    return value


def _texts(value: object, name: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise Malformed(name)
    return tuple(value)


def _members(value: object, name: str) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise Malformed(name)
    return value
