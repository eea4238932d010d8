"""The routes. Each reads its request, calls one service, and writes the answer."""

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ..domain.errors import Refusal, Unavailable, invalid_request
from ..domain.ids import parse_id
from ..domain.permissions import TENANTS_READ
from ..oauth.calls import OAuthCall, clean, read_client
from ..services.callers import PAGE, Callers
from .body import read_params
from .caller import Addresses, bearer, chosen_tenant, header, tenant_choice
from .errors import NO_STORE, json_response

Endpoint = Callable[[Request], Awaitable[Response]]


class TokenEndpoint(Protocol):
    """Gives out tokens."""

    async def token(self, call: OAuthCall) -> dict[str, Any]: ...


class RevocationEndpoint(Protocol):
    """Ends tokens."""

    async def revoke(self, call: OAuthCall) -> None: ...


class IntrospectionEndpoint(Protocol):
    """Says what a token is worth."""

    async def introspect(self, call: OAuthCall) -> dict[str, Any]: ...


#: Asks one thing the service depends on: `ok`, `degraded`, or raises Unavailable.
Check = Callable[[], Awaitable[str]]


@dataclass(frozen=True, slots=True)
class Surface:
    """What the routes call, and the few settings that they need."""

    tokens: TokenEndpoint
    revocations: RevocationEndpoint
    introspection: IntrospectionEndpoint
    callers: Callers
    metadata: Mapping[str, Any]
    jwks: Callable[[], Mapping[str, object]]
    checks: Mapping[str, Check]
    addresses: Addresses
    base_path: str
    issuer_path: str
    max_body: int
    jwks_max_age: int


def oauth_paths(base_path: str) -> frozenset[str]:
    """Where errors are RFC 6749's."""
    return frozenset(f"{base_path}/auth/{name}" for name in ("token", "revoke", "introspect"))


def routes(surface: Surface) -> list[Route]:
    """All routes of the service."""
    base, path = surface.base_path, surface.issuer_path
    handlers = _Handlers(surface)
    found: list[tuple[str, str, Endpoint]] = [
        ("POST", f"{base}/auth/token", handlers.token),
        ("POST", f"{base}/auth/revoke", handlers.revoke),
        ("POST", f"{base}/auth/introspect", handlers.introspect),
        ("GET", f"{base}/users/me", handlers.me),
        ("GET", f"{base}/tenants/current", handlers.current_tenant),
        ("GET", "/.well-known/jwks.json", handlers.jwks),
        ("GET", "/.well-known/oauth-authorization-server", handlers.metadata),
        ("GET", "/.well-known/openid-configuration", handlers.metadata),
        ("GET", "/health/live", handlers.live),
        ("GET", "/health/ready", handlers.ready),
    ]
    if path:
        # RFC 8414, 3.1 puts the issuer's path behind the well-known name, OpenID before it.
        found += [
            ("GET", f"/.well-known/oauth-authorization-server{path}", handlers.metadata),
            ("GET", f"{path}/.well-known/openid-configuration", handlers.metadata),
        ]
    return [Route(where, endpoint, methods=[method]) for method, where, endpoint in found]


class _Handlers:
    def __init__(self, surface: Surface) -> None:
        self._surface = surface
        self._metadata = orjson.dumps(dict(surface.metadata))

    # --- OAuth ----------------------------------------------------------------------------

    async def token(self, request: Request) -> Response:
        call = await self._call(request, default_grant="password")
        return json_response(await self._surface.tokens.token(call), headers=NO_STORE)

    async def revoke(self, request: Request) -> Response:
        await self._surface.revocations.revoke(await self._call(request))
        return Response(status_code=200, headers=NO_STORE)

    async def introspect(self, request: Request) -> Response:
        body = await self._surface.introspection.introspect(await self._call(request))
        return json_response(body, headers=NO_STORE)

    async def _call(self, request: Request, default_grant: str | None = None) -> OAuthCall:
        if request.scope["query_string"]:
            raise invalid_request("Parameters belong into the body, not into the URL.")
        params, is_json = await read_params(request, self._surface.max_body)
        params = clean(params)
        if is_json and default_grant and "grant_type" not in params:
            params["grant_type"] = default_grant
        return OAuthCall(
            params,
            read_client(header(request, b"authorization"), params),
            tenant_choice(request),
            self._surface.addresses.of(request),
        )

    # --- the caller -----------------------------------------------------------------------

    async def me(self, request: Request) -> Response:
        after, limit = _page(request)
        callers = self._surface.callers
        me = await callers.me(await callers.of(bearer(request)), after=after, limit=limit)
        body: dict[str, Any] = {
            "sub": me.user_id,
            "username": me.username,
            "kind": me.kind,
            "api_key_id": me.key_id,
            "roles": [
                {
                    "tenant_id": item.tenant_id,
                    "tenant_name": item.tenant_name,
                    "role_id": item.role.id,
                    "role_name": item.role.name,
                }
                for item in me.roles
            ],
        }
        if me.next_after is not None:
            body["next_after"] = me.next_after
        return json_response(body, headers=NO_STORE)

    async def current_tenant(self, request: Request) -> Response:
        callers = self._surface.callers
        token = await callers.of(bearer(request))
        caller = await callers.in_tenant(token, chosen_tenant(request))
        caller.need(TENANTS_READ)
        body = {
            "tenant_id": caller.tenant_id,
            "tenant_name": caller.tenant_name,
            "roles": caller.roles,
            "permissions": sorted(caller.permissions),
        }
        return json_response(body, headers=NO_STORE)

    # --- published documents --------------------------------------------------------------

    async def jwks(self, request: Request) -> Response:
        return self._cacheable(request, orjson.dumps(self._surface.jwks()))

    async def metadata(self, request: Request) -> Response:
        return self._cacheable(request, self._metadata)

    def _cacheable(self, request: Request, body: bytes) -> Response:
        tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
        max_age = self._surface.jwks_max_age
        headers = {"ETag": tag, "Cache-Control": f"public, max-age={max_age}"}
        seen = {part.strip() for part in request.headers.get("if-none-match", "").split(",")}
        if seen & {tag, f"W/{tag}", "*"}:
            return Response(status_code=304, headers=headers)
        return Response(body, headers=headers, media_type="application/json")

    # --- health ---------------------------------------------------------------------------

    async def live(self, request: Request) -> Response:
        return json_response({"status": "ok"}, headers=NO_STORE)

    async def ready(self, request: Request) -> Response:
        states: dict[str, str] = {}
        for name, check in self._surface.checks.items():
            try:
                states[name] = await check()
            except Unavailable:
                states[name] = "unavailable"
        down = "unavailable" in states.values()
        degraded = any(state != "ok" for state in states.values())
        status = "unavailable" if down else "degraded" if degraded else "ok"
        body = {"status": status, "checks": states}
        return json_response(body, 503 if down else 200, dict(NO_STORE))


def _page(request: Request) -> tuple[str, int]:
    """`after` (a tenant id) and `limit` (1 to PAGE) of a listing. Raises Refusal."""
    query = request.query_params
    after, limit = query.getlist("after"), query.getlist("limit")
    if len(after) > 1 or len(limit) > 1:
        raise invalid_request("A parameter is repeated.")
    start = parse_id(after[0]) if after else ""
    if start is None:
        raise _bad_page()
    if not limit:
        return start, PAGE
    text = limit[0]
    if not (text.isascii() and text.isdecimal() and len(text) <= 4 and 1 <= int(text) <= PAGE):
        raise _bad_page()
    return start, int(text)


def _bad_page() -> Refusal:
    return invalid_request(f"after must be a tenant id, and limit a number from 1 to {PAGE}.")
