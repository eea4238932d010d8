"""A token service that respx plays, and a clock that is set by hand."""

from __future__ import annotations

import asyncio
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import parse_qs

import httpx
import pytest
import respx

from keyturn.client import ApiKeyAuth, Network
from keyturn.client.steps import Moment, system_clock

URL = "https://iam.example"
TOKEN_URL = f"{URL}/iam/auth/token"
USERNAME = "svc@acme"
#: Made up, but of the form that the session's search for secrets knows.
API_KEY = f"kt_{secrets.token_hex(11)}_{secrets.token_hex(22)[:43]}_{secrets.token_hex(3)}"
TENANT = "01890000-0000-7000-8000-000000000001"

ASSETS = "https://assets.example/assets"

Reply = httpx.Response | Exception
Get = Callable[..., httpx.Response]


def oauth_error(code: str, status: int = 400, text: str = "No.") -> httpx.Response:
    return httpx.Response(status, json={"error": code, "error_description": text})


def invalid_token() -> httpx.Response:
    challenge = 'Bearer realm="keyturn", error="invalid_token"'
    return httpx.Response(401, headers={"WWW-Authenticate": challenge})


@dataclass(repr=False)
class FakeService:
    """Gives tokens, counts, and takes them at `/assets`. `replies` come first, one a call."""

    life: int = 300
    replies: list[Reply] = field(default_factory=list)
    forms: list[dict[str, list[str]]] = field(default_factory=list)
    calls: list[httpx.Request] = field(default_factory=list)
    assets: list[httpx.Request] = field(default_factory=list)
    refresh_tokens: set[str] = field(default_factory=set)
    dead: set[str] = field(default_factory=set)
    issued: list[str] = field(default_factory=list)
    last_refresh_token: str = ""
    before: Callable[[], None] = lambda: None
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def grants(self) -> list[str]:
        return [form["grant_type"][0] for form in self.forms]

    @property
    def network(self) -> Network:
        router = respx.Router(assert_all_called=False)
        router.post(path__regex=r"/auth/token$").mock(side_effect=self.token)
        return Network(transport=httpx.MockTransport(router.handler))

    def auth(self, **options: object) -> ApiKeyAuth:
        given = {"network": self.network, **options}
        return ApiKeyAuth(URL, USERNAME, API_KEY, **given)  # type: ignore[arg-type]

    def client(self, auth: ApiKeyAuth) -> httpx.Client:
        return httpx.Client(auth=auth, transport=httpx.MockTransport(self.resource))

    def async_client(self, auth: ApiKeyAuth) -> httpx.AsyncClient:
        return httpx.AsyncClient(auth=auth, transport=httpx.MockTransport(self.resource))

    def token(self, request: httpx.Request) -> httpx.Response:
        with self.lock:
            self.calls.append(request)
            form = parse_qs(request.content.decode())
            self.forms.append(form)
        self.before()
        with self.lock:
            if self.replies:
                reply = self.replies.pop(0)
                if isinstance(reply, Exception):
                    raise reply
                return reply
            if form["grant_type"] == ["refresh_token"]:
                (given,) = form["refresh_token"]
                if given not in self.refresh_tokens:
                    return oauth_error("invalid_grant")
                self.refresh_tokens.discard(given)
            return httpx.Response(200, json=self.tokens())

    def tokens(self) -> dict[str, object]:
        access = f"eyJ{secrets.token_hex(8)}.eyJ{secrets.token_hex(8)}.{secrets.token_hex(16)}"
        refresh = f"ktr_{secrets.token_hex(16)}"
        self.issued.append(access)
        self.refresh_tokens.add(refresh)
        self.last_refresh_token = refresh
        return {
            "access_token": access,
            "refresh_token": refresh,
            "token_type": "bearer",
            "expires_in": self.life,
            "refresh_expires_in": 1800,
            "scope": "assets:read",
        }

    def resource(self, request: httpx.Request) -> httpx.Response:
        with self.lock:
            self.assets.append(request)
            token = request.headers["authorization"].removeprefix("Bearer ")
            if token in self.dead or token not in self.issued:
                return invalid_token()
            return httpx.Response(200, json={"token": token})


class SetClock:
    """A clock that goes on when told."""

    def __init__(self) -> None:
        self.now = system_clock()

    def __call__(self) -> Moment:
        return self.now

    def tick(self, seconds: float) -> None:
        self.now = Moment(self.now.wall + seconds, self.now.monotonic + seconds)

    def step_wall(self, seconds: float) -> None:
        self.now = Moment(self.now.wall + seconds, self.now.monotonic)


@pytest.fixture
def service() -> FakeService:
    return FakeService()


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture(params=["sync", "async"])
def get(request: pytest.FixtureRequest, service: FakeService) -> Get:
    """One request, by httpx.Client or by httpx.AsyncClient in an event loop of its own."""

    def sync_get(
        auth: ApiKeyAuth, method: str = "GET", url: str = ASSETS, **given: object
    ) -> httpx.Response:
        with service.client(auth) as client:
            return client.request(method, url, **given)  # type: ignore[arg-type]

    def async_get(
        auth: ApiKeyAuth, method: str = "GET", url: str = ASSETS, **given: object
    ) -> httpx.Response:
        async def run() -> httpx.Response:
            async with service.async_client(auth) as client:
                return await client.request(method, url, **given)  # type: ignore[arg-type]

        return asyncio.run(run())

    return sync_get if request.param == "sync" else async_get


@pytest.fixture(autouse=True)
def _no_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    for name in ("URL", "USERNAME", "API_KEY", "TENANT", "PROFILE"):
        monkeypatch.delenv(f"KEYTURN_{name}", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("config")))


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long the library slept; it does not."""
    slept: list[float] = []
    monkeypatch.setattr("keyturn.client.running.time.sleep", slept.append)

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr("keyturn.client.running._sleep", sleep)
    return slept
