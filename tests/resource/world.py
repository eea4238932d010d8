"""A service that the tests play: keys, metadata, feed, policies; and clocks that they set."""

import base64
import hashlib
import json
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

import httpx
import respx
from joserfc.jwk import ECKey, Key, OKPKey, RSAKey

from keyturn.client import Network
from keyturn.resource import TokenVerifier
from tests.resource.attacks import alg_of, token

ISSUER = "https://iam.example"
AUDIENCE = "https://assets.example/api"
BASE = f"{ISSUER}/iam/auth"
WELL_KNOWN = "/.well-known/oauth-authorization-server"
#: Unix seconds at which the tests take place.
NOW = 1_800_000_000


def tenant(number: int) -> str:
    return str(uuid.UUID(int=number))


A, B, C = tenant(0xA), tenant(0xB), tenant(0xC)


def kid_of(key: Key) -> str:
    return key.kid or ""


def made(kind: str = "EC") -> Key:
    key: Key
    if kind == "EC":
        key = ECKey.generate_key("P-256")
    elif kind == "RSA":
        key = RSAKey.generate_key(2048)
    else:
        key = OKPKey.generate_key("Ed25519")
    key.ensure_kid()
    return key


KEYS = {kind: made(kind) for kind in ("EC", "RSA", "OKP")}
KEY, OTHER_KEY = KEYS["EC"], made()


def public(key: Key, **changes: object) -> dict[str, Any]:
    members = {**key.as_dict(private=False), "use": "sig", "alg": alg_of(key), **changes}
    return {name: value for name, value in members.items() if value is not None}


def subject(kind: str, name: str) -> str:
    digest = hashlib.sha256(f"{kind}:{name}".encode()).digest()[:16]
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def entry(kind: str, name: str, epoch: int | None = None, ends: int = NOW + 400) -> dict[str, Any]:
    return {"kind": kind, "subject": subject(kind, name), "epoch": epoch, "expires_at": ends}


def claims(**changes: object) -> dict[str, Any]:
    """Those of a token for tenant A; None leaves a claim out."""
    members = {
        "iss": ISSUER,
        "sub": "user-1",
        "aud": AUDIENCE,
        "client_id": "key-1",
        "iat": NOW - 10,
        "exp": NOW + 290,
        "jti": "jti-1",
        "sid": "sid-1",
        "epoch": 5,
        "scope": "assets:read",
        "tenant_id": A,
        "roles": ["reader"],
        **changes,
    }
    return {name: value for name, value in members.items() if value is not None}


def listing(tenants: dict[str, list[str]], **changes: object) -> dict[str, Any]:
    return claims(**{"tenant_id": None, "roles": None, "tenants": tenants, **changes})


def unlisted(**changes: object) -> dict[str, Any]:
    elsewhere = {"_claim_names": {"tenants": "me"}, "_claim_sources": {"me": {"endpoint": "x"}}}
    return claims(**{"tenant_id": None, "roles": None, "scope": "", **elsewhere, **changes})


def signed(**changes: object) -> str:
    return token(KEY, claims(**changes))


class Time:
    """A wall clock and a monotonic one; seconds."""

    def __init__(self, now: float = NOW) -> None:
        self.now = float(now)
        self.ticks = 1_000.0

    def clock(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.ticks

    def advance(self, seconds: float) -> None:
        self.now += seconds
        self.ticks += seconds


def endpoint(
    identifier: str, method: str, path: str, *opened_by: list[str], tenant_id: str = A
) -> dict[str, Any]:
    place = {"id": identifier, "service": "assets", "method": method, "path": path}
    return {**place, "opened_by": list(opened_by), "tenant_id": tenant_id}


CATALOGUE = [
    endpoint("e-list", "GET", "/assets", ["assets:read"], ["assets:write"]),
    endpoint("e-one", "GET", "/assets/{}", ["assets:read"]),
    endpoint("e-new", "POST", "/assets", ["assets:write"]),
    endpoint("e-all", "GET", "/news", []),
    endpoint("e-none", "GET", "/secret"),
]
ROLES = {"reader": ["assets:read"], "writer": ["assets:read", "assets:write"]}


def news(*entries: dict[str, Any], cursor: object = "c", **changes: object) -> dict[str, Any]:
    answer = {"entries": list(entries), "cursor": cursor, "more": False, "reset": False, "age": 0}
    return {**answer, "longest_life": 86_400, **changes}


Answering = Callable[[httpx.Request], httpx.Response | dict[str, Any]]


@dataclass
class FakeService:
    """Answers like the service; `down`: not at all. `seen` are the requests it got."""

    keys: list[dict[str, Any]] = field(default_factory=lambda: [public(KEY), public(OTHER_KEY)])
    metadata: dict[str, Any] = field(
        default_factory=lambda: {
            "issuer": ISSUER,
            "jwks_uri": f"{ISSUER}/.well-known/jwks.json",
            "token_endpoint": f"{BASE}/token",
            "introspection_endpoint": f"{BASE}/introspect",
        }
    )
    seen: list[httpx.Request] = field(default_factory=list)
    down: bool = False
    cache_control: str = "public, max-age=300"
    #: What the feed tells next; then nothing new.
    feed: list[dict[str, Any]] = field(default_factory=lambda: [news(reset=True)])
    answers: dict[str, Answering] = field(default_factory=dict)

    def network(self) -> Network:
        router = respx.Router(assert_all_called=False)
        router.route().mock(side_effect=self.answer)
        return Network(transport=httpx.MockTransport(router.async_handler))

    def count(self, path: str) -> int:
        return sum(request.url.path.endswith(path) for request in self.seen)

    def last(self, path: str) -> httpx.Request:
        return [request for request in self.seen if request.url.path.endswith(path)][-1]

    async def answer(self, request: httpx.Request) -> httpx.Response:
        self.seen.append(request)
        if self.down:
            raise httpx.ConnectError("down")
        path = request.url.path
        for name, answering in self.answers.items():
            if path.endswith(name):
                given = answering(request)
                return (
                    given if isinstance(given, httpx.Response) else httpx.Response(200, json=given)
                )
        if path.startswith(WELL_KNOWN):
            return httpx.Response(200, json=self.metadata)
        if path.endswith("jwks.json"):
            headers = {"cache-control": self.cache_control}
            return httpx.Response(200, json={"keys": self.keys}, headers=headers)
        if path.endswith("/auth/revocations"):
            return httpx.Response(200, json=self.feed.pop(0) if self.feed else news())
        if path.endswith("/auth/policy"):
            return self._policy(request)
        raise AssertionError(f"nobody expects a call to {path}")

    def _policy(self, request: httpx.Request) -> httpx.Response:
        tenant_id = request.headers["x-tenant-id"]
        body = {
            "tenant_id": tenant_id,
            "depends_on": [subject("policy", tenant_id)],
            "roles": ROLES,
            "endpoints": CATALOGUE,
        }
        tag = hashlib.sha256(json.dumps(body).encode()).hexdigest()
        if request.headers.get("if-none-match") == f'"{tag}"':
            return httpx.Response(304, headers={"etag": f'"{tag}"'})
        return httpx.Response(200, json=body, headers={"etag": f'"{tag}"'})


def form_of(request: httpx.Request) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(request.content.decode()).items()}


class OwnToken(httpx.Auth):
    """Stands for the client library's."""

    def auth_flow(self, request: httpx.Request) -> Any:
        request.headers["authorization"] = "Bearer own"
        yield request


def verifier_of(fake: FakeService, time: Time, /, **changes: Any) -> TokenVerifier:
    """By signatures alone, unless said otherwise; with credentials when it needs some."""
    settings: dict[str, Any] = {"revocation": None, **changes}
    needs_key = "introspect" in (settings["revocation"], settings.get("when_stale"))
    if needs_key:
        settings = {"username": "svc+rs@acme", "api_key": "kt_x+y", **settings}
    return TokenVerifier(
        ISSUER,
        AUDIENCE,
        **{"auth": OwnToken(), "tenant": A, **settings},
        network=fake.network(),
        clock=time.clock,
        monotonic=time.monotonic,
    )


@asynccontextmanager
async def verifying(
    fake: FakeService, time: Time, /, **changes: Any
) -> AsyncIterator[TokenVerifier]:
    async with verifier_of(fake, time, **changes) as verifier:
        yield verifier
