"""What browsers are told: which pages may call (CORS), and what they may make of answers."""

from collections.abc import Awaitable, Callable

import httpx
import pytest

from keyturn.server.settings import Settings
from tests.http.conftest import Running

Start = Callable[..., Awaitable[Running]]

APP = "https://app.example"
PREFLIGHT = {
    "Origin": APP,
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization,x-tenant-id",
}


def cors_of(answer: httpx.Response) -> dict[str, str]:
    return {k: v for k, v in answer.headers.items() if k.startswith("access-control-")}


@pytest.fixture
async def open_to_pages(start: Start) -> Running:
    return await start(cors_origins=f"{APP}, http://localhost:3000")


class TestPreflight:
    @pytest.mark.parametrize("path", ["/iam/auth/token", "/iam/roles", "/iam/api-keys/x/revoke"])
    async def test_204_before_anybody_is_authenticated(
        self, open_to_pages: Running, path: str
    ) -> None:
        answer = await open_to_pages.client.options(path, headers=PREFLIGHT)
        assert answer.status_code == 204
        found = cors_of(answer)
        assert found["access-control-allow-origin"] == APP
        assert "PATCH" in found["access-control-allow-methods"]
        asked = found["access-control-allow-headers"].lower()
        assert {"authorization", "x-tenant-id", "if-match"} <= set(asked.split(", "))
        assert found["access-control-max-age"] == "600"
        assert "access-control-allow-credentials" not in found
        assert answer.headers["vary"] == "Origin"

    @pytest.mark.parametrize(
        "origin",
        [
            *("https://evil.example", "https://app.example.evil", "https://app.example:444"),
            *("null", "*", "http://app.example", "https://APP.example", "https://app.example/"),
        ],
    )
    async def test_405_for_any_other_origin(self, open_to_pages: Running, origin: str) -> None:
        headers = {**PREFLIGHT, "Origin": origin}
        answer = await open_to_pages.client.options("/iam/auth/token", headers=headers)
        assert answer.status_code == 405
        assert cors_of(answer) == {}
        assert answer.headers["vary"] == "Origin"

    async def test_405_for_two_origins(self, open_to_pages: Running) -> None:
        headers = [*PREFLIGHT.items(), ("Origin", APP)]
        answer = await open_to_pages.client.options("/iam/auth/token", headers=headers)
        assert answer.status_code == 405
        assert cors_of(answer) == {}

    @pytest.mark.parametrize("path", ["/.well-known/jwks.json", "/health/live"])
    async def test_405_outside_the_api(self, open_to_pages: Running, path: str) -> None:
        answer = await open_to_pages.client.options(path, headers=PREFLIGHT)
        assert answer.status_code == 405
        assert cors_of(answer) == {}

    async def test_405_when_off(self, service: Running) -> None:
        answer = await service.client.options("/iam/auth/token", headers=PREFLIGHT)
        assert answer.status_code == 405
        assert cors_of(answer) == {}
        assert "vary" not in answer.headers


class TestCalls:
    async def test_200_can_be_read_by_the_page(self, open_to_pages: Running) -> None:
        answer = await open_to_pages.token(
            headers={"Origin": APP},
            grant_type="password",
            username=open_to_pages.username,
            password=open_to_pages.api_key,
        )
        assert answer.status_code == 200
        assert cors_of(answer)["access-control-allow-origin"] == APP
        exposed = set(cors_of(answer)["access-control-expose-headers"].split(", "))
        assert {"ETag", "Retry-After", "RateLimit", "X-Request-ID", "WWW-Authenticate"} <= exposed
        assert "access-control-allow-credentials" not in cors_of(answer)

    async def test_401_and_404_too(self, open_to_pages: Running) -> None:
        for path, status in (("/iam/users/me", 401), ("/iam/nothing", 404)):
            answer = await open_to_pages.client.get(path, headers={"Origin": APP})
            assert answer.status_code == status
            assert cors_of(answer)["access-control-allow-origin"] == APP

    async def test_200_cannot_be_read_by_others_and_caches_know(
        self, open_to_pages: Running
    ) -> None:
        for headers in ({"Origin": "https://evil.example"}, {}):
            answer = await open_to_pages.client.get("/iam/users/me", headers=headers)
            assert cors_of(answer) == {}
            assert answer.headers["vary"] == "Origin"


class TestSetting:
    def settings(self, origins: str) -> Settings:
        return Settings.model_validate({"cors_origins": origins})

    @pytest.mark.parametrize(
        "origins",
        [
            *("*", "null", "https://*.example", "app.example", "https://app.example/"),
            *("https://App.example", "https://app.example:443", "http://app.example:80"),
            *("https://app.example/x", "https://user@app.example", "ftp://app.example"),
        ],
    )
    def test_refuses_what_no_browser_sends(self, origins: str) -> None:
        with pytest.raises(ValueError, match="origin"):
            self.settings(origins)

    @pytest.mark.parametrize("origins", ["", APP, f"{APP},https://[2001:db8::1]:8443"])
    def test_takes_exact_origins(self, origins: str) -> None:
        assert ",".join(self.settings(origins).cors_origins) == origins


class TestProtection:
    """tests.http.contract looks for these on every answer of every test here."""

    def expect(self, answer: httpx.Response) -> None:
        headers = answer.headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
        assert "server" not in headers

    async def test_on_answers_of_each_kind(self, service: Running) -> None:
        token = (await service.exchange())["access_token"]
        for path in ("/iam/users/me", "/.well-known/jwks.json", "/health/live", "/nothing"):
            self.expect(await service.get(path, token))
        self.expect(await service.client.get("/iam/users/me"))
        self.expect(await service.client.put("/iam/auth/token"))
        tag = (await service.client.get("/.well-known/jwks.json")).headers["etag"]
        again = await service.client.get("/.well-known/jwks.json", headers={"If-None-Match": tag})
        assert again.status_code == 304
        self.expect(again)

    async def test_https_alone_only_where_it_is_served(
        self, start: Start, service: Running
    ) -> None:
        answer = await service.client.get("/health/live")
        assert "strict-transport-security" not in answer.headers
        secure = await start(public_url="https://iam.example")
        answer = await secure.client.get("/health/live")
        assert answer.headers["strict-transport-security"] == "max-age=31536000"
