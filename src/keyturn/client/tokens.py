"""What the service gives, and how it is read. Times are Unix seconds."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from .credentials import sendable
from .errors import UnexpectedAnswer

_LONGEST_LIFE, _NEVER = 10**9, 2**53


@dataclass(frozen=True, slots=True)
class Tokens:
    """An access token, and the refresh token of its session if there is one.

    `expires_at` is counted from before the request was sent, so it is never late; `obtained_at` is
    that moment. `scope` has the permissions held in every tenant that the token names.
    """

    access_token: str = field(repr=False)
    obtained_at: float
    expires_at: float
    scope: str
    refresh_token: str | None = field(default=None, repr=False)
    refresh_expires_at: float | None = None


@dataclass(frozen=True, slots=True)
class TenantRole:
    """One role in one tenant."""

    tenant_id: str
    tenant_name: str
    role_id: str
    role_name: str


@dataclass(frozen=True, slots=True)
class Me:
    """Who the caller is, by which API key, and all its roles. `kind` is `human` or `service`."""

    sub: str
    username: str
    kind: str
    api_key_id: str
    roles: tuple[TenantRole, ...]


@dataclass(frozen=True, slots=True)
class Introspection:
    """What a token is worth now (RFC 7662, 2.2). Of a dead one, `active` is all there is.

    `token_type` is `bearer` or `refresh_token`; `client_id` the API key's id; `tenants` the role
    names by tenant id; `endpoints` the only ones that it opens (None: not narrowed to any);
    `actors` who acts for the user, the present one first, by user id (RFC 8693, 4.1).
    """

    active: bool
    token_type: str | None = None
    sub: str | None = None
    client_id: str | None = None
    scope: str = ""
    audience: tuple[str, ...] = ()
    issued_at: int | None = None
    expires_at: int | None = None
    token_id: str | None = None
    session_id: str | None = None
    tenant_id: str | None = None
    roles: tuple[str, ...] = ()
    tenants: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    endpoints: tuple[str, ...] | None = None
    actors: tuple[str, ...] = ()


def object_of(body: bytes) -> Mapping[str, object]:
    """The JSON object of a body. Raises UnexpectedAnswer."""
    try:
        read: object = json.loads(body)
    except (ValueError, RecursionError):
        read = None
    if not isinstance(read, dict):
        raise UnexpectedAnswer("the answer is no JSON object: look at the URL")
    return read


def tokens_of(body: bytes, asked_at: float) -> Tokens:
    """The tokens of a body (RFC 6749, 5.1) that was asked for then. Raises UnexpectedAnswer."""
    given = object_of(body)
    if _text(given, "token_type").lower() != "bearer":
        raise UnexpectedAnswer("the token is no bearer token")
    refresh = _text(given, "refresh_token") if "refresh_token" in given else None
    refresh_life = _seconds(given, "refresh_expires_in") if "refresh_expires_in" in given else None
    return Tokens(
        access_token=_token(_text(given, "access_token")),
        obtained_at=asked_at,
        expires_at=asked_at + _seconds(given, "expires_in"),
        scope=_text(given, "scope") if "scope" in given else "",
        refresh_token=None if refresh is None else _token(refresh),
        refresh_expires_at=None if refresh_life is None else asked_at + refresh_life,
    )


def me_of(body: bytes) -> tuple[Me, str | None]:
    """One page of `/users/me`, and where the next begins. Raises UnexpectedAnswer."""
    given = object_of(body)
    roles = given.get("roles")
    if not isinstance(roles, list):
        raise _wrong("roles")
    me = Me(
        sub=_text(given, "sub"),
        username=_text(given, "username"),
        kind=_text(given, "kind"),
        api_key_id=_text(given, "api_key_id"),
        roles=tuple(_role(role) for role in roles),
    )
    return me, _text(given, "next_after") if given.get("next_after") is not None else None


def introspection_of(body: bytes) -> Introspection:
    """What a token is worth. Raises UnexpectedAnswer: what is not understood is not active."""
    given = object_of(body)
    active = given.get("active")
    if not isinstance(active, bool):
        raise _wrong("active")
    if not active:
        return Introspection(active=False)
    audience = given.get("aud", [])
    tenants = given.get("tenants", {})
    if not isinstance(tenants, dict):
        raise _wrong("tenants")
    return Introspection(
        active=True,
        token_type=_optional(given, "token_type"),
        sub=_optional(given, "sub"),
        client_id=_optional(given, "client_id"),
        scope=_optional(given, "scope") or "",
        audience=(audience,) if isinstance(audience, str) else _texts(audience, "aud"),
        issued_at=_seconds(given, "iat", _NEVER) if "iat" in given else None,
        expires_at=_seconds(given, "exp", _NEVER) if "exp" in given else None,
        token_id=_optional(given, "jti"),
        session_id=_optional(given, "sid"),
        tenant_id=_optional(given, "tenant_id"),
        roles=_texts(given.get("roles", []), "roles"),
        tenants={tenant: _texts(roles, "tenants") for tenant, roles in tenants.items()},
        endpoints=_texts(given["endpoints"], "endpoints") if "endpoints" in given else None,
        actors=tuple(_actors(given.get("act"))),
    )


def _wrong(name: str) -> UnexpectedAnswer:
    return UnexpectedAnswer(f"the answer's {name} is missing or wrong: look at the URL")


def _text(given: Mapping[str, object], name: str) -> str:
    value = given.get(name)
    if not isinstance(value, str):
        raise _wrong(name)
    return value


def _optional(given: Mapping[str, object], name: str) -> str | None:
    return _text(given, name) if name in given else None


def _texts(values: object, name: str) -> tuple[str, ...]:
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise _wrong(name)
    return tuple(values)


def _seconds(given: Mapping[str, object], name: str, most: int = _LONGEST_LIFE) -> int:
    value = given.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
        raise _wrong(name)
    return value


def _token(text: str) -> str:
    try:
        return sendable(text, "a token")
    except ValueError:
        pass
    raise UnexpectedAnswer("the answer's token is none")


def _role(role: object) -> TenantRole:
    if not isinstance(role, dict):
        raise _wrong("roles")
    names = ("tenant_id", "tenant_name", "role_id", "role_name")
    return TenantRole(*(_text(role, name) for name in names))


def _actors(act: object) -> Iterator[str]:
    while act is not None:
        if not isinstance(act, dict):
            raise _wrong("act")
        yield _text(act, "sub")
        act = act.get("act")
