"""`ApiKeyAuth` in one thread or task: exchange, refresh, 401."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
import respx

from keyturn.client import (
    ApiKeyAuth,
    Credentials,
    InvalidGrant,
    Network,
    Throttled,
    Unavailable,
    UnexpectedAnswer,
)
from tests.client.conftest import (
    API_KEY,
    ASSETS,
    TENANT,
    TOKEN_URL,
    URL,
    USERNAME,
    FakeService,
    Get,
    SetClock,
    invalid_token,
    oauth_error,
)


class TestExchange:
    def test_the_first_request_exchanges_and_the_next_ones_use_it(
        self, service: FakeService, get: Get
    ) -> None:
        auth = service.auth()
        assert {get(auth).json()["token"] for _ in range(3)} == {service.issued[0]}
        (form,) = service.forms
        assert form == {"grant_type": ["password"], "username": [USERNAME], "password": [API_KEY]}
        assert str(service.calls[0].url) == TOKEN_URL
        assert service.calls[0].method == "POST"

    def test_scope_resource_and_tenant_are_asked_for(self, service: FakeService, get: Get) -> None:
        auth = service.auth(
            tenant=TENANT, scope=["a:read", "b:read"], resource=["https://a", "https://b"]
        )
        get(auth)
        assert service.forms[0]["scope"] == ["a:read b:read"]
        assert service.forms[0]["resource"] == ["https://a", "https://b"]
        assert service.calls[0].headers["x-tenant-id"] == TENANT

    def test_client_credentials_exchanges_each_time(
        self, service: FakeService, get: Get, clock: SetClock
    ) -> None:
        tokens = {**service.tokens()}
        del tokens["refresh_token"], tokens["refresh_expires_in"]
        service.replies = [httpx.Response(200, json=tokens)]
        auth = service.auth(grant="client_credentials", clock=clock)
        get(auth)
        clock.tick(299)
        get(auth)
        assert service.grants == ["client_credentials"] * 2
        assert service.forms[0]["client_secret"] == [API_KEY]

    def test_the_tenant_is_sent_unless_the_request_names_one(
        self, service: FakeService, get: Get
    ) -> None:
        auth = service.auth(tenant=TENANT)
        get(auth)
        get(auth, headers={"x-tenant-id": "other"})
        assert [r.headers["x-tenant-id"] for r in service.assets] == [TENANT, "other"]

    def test_without_a_tenant_none_is_sent(self, service: FakeService, get: Get) -> None:
        get(service.auth())
        assert "x-tenant-id" not in service.assets[0].headers
        assert "x-tenant-id" not in service.calls[0].headers

    def test_a_refused_key_raises(self, service: FakeService, get: Get) -> None:
        service.replies = [oauth_error("invalid_grant", text="Wrong.")]
        with pytest.raises(InvalidGrant) as raised:
            get(service.auth())
        assert (raised.value.code, raised.value.description) == ("invalid_grant", "Wrong.")
        assert raised.value.status == 400
        assert service.assets == []

    def test_three_lines_do(self) -> None:
        with respx.mock:
            tokens = FakeService().tokens()
            asked = respx.post(TOKEN_URL).respond(json=tokens)
            called = respx.get(ASSETS).respond(json={})
            auth = ApiKeyAuth(URL, USERNAME, API_KEY, tenant=TENANT)
            client = httpx.Client(auth=auth)
            client.get(ASSETS)
            client.close()
        assert asked.call_count == 1
        sent = called.calls.last.request.headers["authorization"]
        assert sent == f"Bearer {tokens['access_token']}"

    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    def test_a_redirect_is_not_followed(self, service: FakeService, get: Get, status: int) -> None:
        service.replies = [httpx.Response(status, headers={"location": "https://evil.example/"})]
        with pytest.raises(UnexpectedAnswer, match="leads elsewhere"):
            get(service.auth())
        assert len(service.calls) == 1

    def test_a_transport_for_the_other_kind_is_refused(self, service: FakeService) -> None:
        auth = service.auth(network=Network(transport=httpx.AsyncHTTPTransport()))
        with service.client(auth) as client, pytest.raises(TypeError):
            client.get(ASSETS)


class TestRefresh:
    def test_before_the_token_expires(
        self, service: FakeService, get: Get, clock: SetClock
    ) -> None:
        auth = service.auth(clock=clock)
        get(auth)
        clock.tick(0.74 * 300)
        get(auth)
        assert service.grants == ["password"]
        clock.tick(0.17 * 300)
        get(auth)
        assert service.grants == ["password", "refresh_token"]
        assert [r.headers["authorization"][7:] for r in service.assets] == [
            service.issued[0],
            service.issued[0],
            service.issued[1],
        ]

    def test_clients_spread(self, service: FakeService, clock: SetClock) -> None:
        auths = [service.auth(clock=clock) for _ in range(60)]
        for auth in auths:
            service.client(auth).get(ASSETS)
        clock.tick(0.82 * 300)
        for auth in auths:
            service.client(auth).get(ASSETS)
        assert 5 < service.grants.count("refresh_token") < 55

    def test_a_dead_session_is_a_new_exchange(
        self, service: FakeService, get: Get, clock: SetClock
    ) -> None:
        auth = service.auth(clock=clock)
        get(auth)
        service.refresh_tokens.clear()
        clock.tick(299)
        assert get(auth).status_code == 200
        assert service.grants == ["password", "refresh_token", "password"]

    def test_an_expired_refresh_token_is_not_sent(
        self, service: FakeService, get: Get, clock: SetClock
    ) -> None:
        auth = service.auth(clock=clock)
        get(auth)
        clock.tick(1801)
        get(auth)
        assert service.grants == ["password", "password"]

    @pytest.mark.parametrize("status", [503, 429, 500])
    def test_early_and_failed_keeps_the_good_token_until_retry_after(
        self, service: FakeService, get: Get, clock: SetClock, status: int
    ) -> None:
        auth = service.auth(clock=clock)
        get(auth)
        clock.tick(0.9 * 300)
        service.replies = [httpx.Response(status, headers={"retry-after": "20"})]
        assert get(auth).json()["token"] == service.issued[0]
        clock.tick(12)  # another good three seconds
        assert get(auth).json()["token"] == service.issued[0]
        assert len(service.forms) == 2
        clock.tick(9)
        assert get(auth).json()["token"] == service.issued[1]
        assert len(service.forms) == 3

    def test_early_and_failed_is_tried_again_without_retry_after(
        self, service: FakeService, get: Get, clock: SetClock, pauses: list[float]
    ) -> None:
        auth = service.auth(clock=clock)
        get(auth)
        clock.tick(0.9 * 300)
        service.replies = [httpx.Response(500)]
        assert get(auth).json()["token"] == service.issued[0]
        clock.tick(12.1)
        assert get(auth).json()["token"] == service.issued[1]
        # Whether the first one was spent nobody knows: sent late again it would look like theft.
        assert service.grants == ["password", "refresh_token", "password"]

    def test_early_and_refused_keeps_the_good_token(
        self, service: FakeService, get: Get, clock: SetClock
    ) -> None:
        auth = service.auth(clock=clock)
        get(auth)
        clock.tick(0.91 * 300)
        service.replies = [oauth_error("invalid_grant"), oauth_error("invalid_grant")]
        assert get(auth).json()["token"] == service.issued[0]

    def test_expired_and_failed_raises(
        self, service: FakeService, get: Get, clock: SetClock
    ) -> None:
        auth = service.auth(clock=clock)
        get(auth)
        clock.tick(299)
        service.replies = [httpx.Response(503, headers={"retry-after": "60"})]
        with pytest.raises(Unavailable) as raised:
            get(auth)
        assert raised.value.retry_after == 60

    def test_a_short_retry_after_is_waited_for(
        self, service: FakeService, get: Get, pauses: list[float]
    ) -> None:
        service.replies = [httpx.Response(429, headers={"retry-after": "3"})]
        assert get(service.auth()).status_code == 200
        assert pauses == [3]

    def test_a_long_retry_after_is_told(
        self, service: FakeService, get: Get, pauses: list[float]
    ) -> None:
        service.replies = [httpx.Response(429, headers={"retry-after": "30"})]
        with pytest.raises(Throttled) as raised:
            get(service.auth())
        assert (raised.value.retry_after, pauses) == (30, [])


class TestClockSteps:
    def test_back_by_an_hour_the_token_still_ends(
        self, service: FakeService, get: Get, clock: SetClock
    ) -> None:
        auth = service.auth(clock=clock)
        get(auth)
        clock.step_wall(-3600)
        get(auth)
        assert len(service.forms) == 1
        clock.tick(290)
        get(auth)
        assert len(service.forms) == 2

    def test_forward_by_an_hour_costs_one_exchange(
        self, service: FakeService, get: Get, clock: SetClock
    ) -> None:
        auth = service.auth(clock=clock)
        get(auth)
        clock.step_wall(3600)
        for _ in range(3):
            assert get(auth).status_code == 200
        assert len(service.forms) == 2


class TestDeadToken:
    def test_is_replaced_and_the_request_sent_again(self, service: FakeService, get: Get) -> None:
        auth = service.auth()
        get(auth)
        service.dead.add(service.issued[0])
        answer = get(auth, "POST", json={"a": 1})
        assert answer.status_code == 200
        assert service.grants == ["password", "refresh_token"]
        assert [r.content for r in service.assets[1:]] == [b'{"a":1}'] * 2

    def test_with_its_session_dead_is_exchanged_anew(self, service: FakeService, get: Get) -> None:
        auth = service.auth()
        get(auth)
        service.dead.add(service.issued[0])
        service.refresh_tokens.clear()
        assert get(auth).status_code == 200
        assert service.grants == ["password", "refresh_token", "password"]

    def test_is_sent_again_once_at_most(
        self, service: FakeService, get: Get, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seen: list[httpx.Request] = []

        def refuse(request: httpx.Request) -> httpx.Response:
            seen.append(request)
            return invalid_token()

        monkeypatch.setattr(service, "resource", refuse)
        assert get(service.auth()).status_code == 401
        assert len(seen) == 2
        assert len(service.forms) == 2

    def test_a_stream_is_not_sent_again_but_the_token_is_dropped(
        self, service: FakeService, get: Get, request: pytest.FixtureRequest
    ) -> None:
        auth = service.auth()
        get(auth)
        service.dead.add(service.issued[0])
        is_async = "async" in request.node.callspec.id
        answer = get(auth, "POST", content=async_parts() if is_async else parts())
        assert answer.status_code == 401
        assert len(service.assets) == 2
        assert len(service.forms) == 1
        assert get(auth).json()["token"] == service.issued[1]

    def test_files_are_not_sent_again(self, service: FakeService, get: Get) -> None:
        auth = service.auth()
        get(auth)
        service.dead.add(service.issued[0])
        assert get(auth, "POST", files={"file": b"a"}).status_code == 401
        assert len(service.assets) == 2

    @pytest.mark.parametrize(
        ("status", "challenge"),
        [
            (401, 'Basic realm="x"'),
            (401, 'Bearer realm="x"'),
            (401, 'Bearer error="insufficient_scope"'),
            (401, None),
            (403, 'Bearer error="invalid_token"'),
        ],
    )
    def test_other_refusals_are_left_alone(
        self,
        service: FakeService,
        get: Get,
        monkeypatch: pytest.MonkeyPatch,
        status: int,
        challenge: str | None,
    ) -> None:
        headers = {"www-authenticate": challenge} if challenge else {}
        seen: list[httpx.Request] = []

        def refuse(request: httpx.Request) -> httpx.Response:
            seen.append(request)
            return httpx.Response(status, headers=headers)

        monkeypatch.setattr(service, "resource", refuse)
        auth = service.auth()
        assert get(auth).status_code == status
        get(auth)
        assert (len(seen), len(service.forms)) == (2, 1)

    @pytest.mark.parametrize(
        "challenge",
        [
            "bearer error=invalid_token",
            'Basic realm="x", Bearer realm="a, b", error="invalid_token", error_description="x"',
        ],
    )
    def test_any_spelling_of_the_challenge_is_understood(
        self, service: FakeService, get: Get, monkeypatch: pytest.MonkeyPatch, challenge: str
    ) -> None:
        answers = [httpx.Response(401, headers={"www-authenticate": challenge})]
        monkeypatch.setattr(
            service, "resource", lambda _: answers.pop() if answers else httpx.Response(200)
        )
        assert get(service.auth()).status_code == 200

    def test_a_redirects_target_cannot_drop_the_token(
        self, service: FakeService, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def away(request: httpx.Request) -> httpx.Response:
            if request.url.host == "assets.example":
                return httpx.Response(302, headers={"location": "https://evil.example/"})
            assert "authorization" not in request.headers
            return invalid_token()

        monkeypatch.setattr(service, "resource", away)
        with service.client(service.auth()) as client:
            assert client.get(ASSETS, follow_redirects=True).status_code == 401
        assert len(service.forms) == 1

    def test_no_new_token_raises(self, service: FakeService, get: Get) -> None:
        auth = service.auth()
        get(auth)
        service.dead.add(service.issued[0])
        service.replies = [oauth_error("invalid_grant"), oauth_error("invalid_grant")]
        with pytest.raises(InvalidGrant):
            get(auth)


class TestConstruction:
    @pytest.mark.parametrize(
        ("url", "token_url"),
        [
            ("https://iam.example", "https://iam.example/iam/auth/token"),
            ("https://iam.example/", "https://iam.example/iam/auth/token"),
            ("https://iam.example/iam", "https://iam.example/iam/auth/token"),
            ("https://iam.example/base/", "https://iam.example/base/auth/token"),
            ("https://iam.example/x/auth/token", "https://iam.example/x/auth/token"),
            ("https://iam.example/auth/token", "https://iam.example/auth/token"),
            ("https://iam.example/.", "https://iam.example/auth/token"),
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080/iam/auth/token"),
            ("http://[::1]:8080", "http://[::1]:8080/iam/auth/token"),
            ("http://localhost", "http://localhost/iam/auth/token"),
            ("http://iam.localhost", "http://iam.localhost/iam/auth/token"),
        ],
    )
    def test_the_url_is_the_service_or_its_token_endpoint(
        self, service: FakeService, url: str, token_url: str
    ) -> None:
        auth = ApiKeyAuth(url, USERNAME, API_KEY, network=service.network)
        service.client(auth).get(ASSETS)
        assert str(service.calls[0].url) == token_url

    @pytest.mark.parametrize(
        "url",
        [
            "http://iam.example",
            "http://localhost.evil.example",
            "http://evillocalhost",
            "http://10.0.0.1",
            "ftp://iam.example",
            "iam.example",
            "https://",
            "https://user:word@iam.example",
            "https://iam.example?a=b",
            "https://iam.example#a",
            "https://iam.example:port",
            "https://iam.example/a b",
            "",
        ],
    )
    def test_other_urls_are_refused(self, url: str) -> None:
        with pytest.raises(ValueError) as raised:
            ApiKeyAuth(url, USERNAME, API_KEY)
        assert "word" not in str(raised.value)

    def test_a_transport_has_its_own_proxy(self, service: FakeService) -> None:
        with pytest.raises(ValueError):
            Network(transport=service.network.transport, proxy="http://proxy.example")

    def test_plain_http_can_be_allowed(self, service: FakeService) -> None:
        auth = ApiKeyAuth(
            "http://iam.example", USERNAME, API_KEY, network=service.network, allow_http=True
        )
        assert service.client(auth).get(ASSETS).status_code == 200

    @pytest.mark.parametrize(
        ("username", "api_key", "tenant"),
        [
            ("", API_KEY, None),
            ("a\nb", API_KEY, None),
            (USERNAME, "", None),
            (USERNAME, f"{API_KEY}\n", None),
            (USERNAME, f"{API_KEY}\udcff", None),
            (USERNAME, API_KEY, "a\r\nx: y"),
        ],
        ids=["no user", "two lines", "no key", "key and line", "no text", "header in tenant"],
    )
    def test_what_cannot_be_sent_is_refused(
        self, username: str, api_key: str, tenant: str | None
    ) -> None:
        with pytest.raises(ValueError) as raised:
            ApiKeyAuth(URL, username, api_key, tenant)
        assert API_KEY not in f"{raised.value!r} {raised.value.__context__!r}"

    def test_from_credentials(self, service: FakeService) -> None:
        given = Credentials(URL, USERNAME, API_KEY, TENANT)
        auth = ApiKeyAuth.from_credentials(given, scope="a:read", network=service.network)
        service.client(auth).get(ASSETS)
        assert service.forms[0]["scope"] == ["a:read"]
        assert service.calls[0].headers["x-tenant-id"] == TENANT

    def test_find(self, service: FakeService, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("KEYTURN_URL", URL)
        monkeypatch.setenv("KEYTURN_USERNAME", USERNAME)
        monkeypatch.setenv("KEYTURN_API_KEY", API_KEY)
        auth = ApiKeyAuth.find(network=service.network)
        assert service.client(auth).get(ASSETS).status_code == 200

    def test_the_environments_proxies_do_not_see_plain_http(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HTTP_PROXY", "http://proxy.example")
        monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example")
        with Network().client("http://127.0.0.1") as here, Network().client(URL) as there:
            assert [bool(client._mounts) for client in (here, there)] == [False, True]


def parts() -> Iterator[bytes]:
    yield b"a"


async def async_parts() -> AsyncIterator[bytes]:
    yield b"a"
