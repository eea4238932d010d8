"""`TokenClient` and `AsyncTokenClient`: what is sent, what is read, what is tried again."""

from __future__ import annotations

import asyncio
import base64
import gzip
import inspect
import json
import pickle
import time
from collections.abc import Callable, Iterator
from email.utils import formatdate
from typing import Any
from urllib.parse import parse_qs, unquote_plus

import httpx
import pytest

from keyturn import client as library
from keyturn.client import (
    AccessDenied,
    AsyncTokenClient,
    Credentials,
    InvalidToken,
    KeyturnError,
    Network,
    NoCredentials,
    Refused,
    TenantRole,
    Throttled,
    TokenClient,
    Unavailable,
    UnexpectedAnswer,
    UnsupportedGrantType,
)
from keyturn.client.errors import refusal
from tests.client.conftest import API_KEY, TENANT, URL, USERNAME, FakeService, oauth_error

Handler = Callable[[httpx.Request], httpx.Response]
Call = Callable[..., Any]

ROLE = {"tenant_id": "t1", "tenant_name": "acme", "role_id": "r1", "role_name": "viewer"}
ME = {"sub": "u", "username": USERNAME, "kind": "service", "api_key_id": "k", "roles": [ROLE]}


@pytest.fixture(params=["sync", "async"])
def call(request: pytest.FixtureRequest) -> Call:
    """`call(handler, "method", …)` on a client of either kind, with the answers of `handler`."""

    def sync_call(handler: Handler, method: str, *args: object, **given: object) -> object:
        network = Network(transport=httpx.MockTransport(handler))
        with TokenClient(URL, USERNAME, API_KEY, network=network) as client:
            return getattr(client, method)(*args, **given)

    def async_call(handler: Handler, method: str, *args: object, **given: object) -> object:
        async def run() -> object:
            network = Network(transport=httpx.MockTransport(handler))
            async with AsyncTokenClient(URL, USERNAME, API_KEY, network=network) as client:
                return await getattr(client, method)(*args, **given)

        return asyncio.run(run())

    return sync_call if request.param == "sync" else async_call


class Seen:
    """Answers all with one body, and keeps what was asked."""

    def __init__(self, *answers: httpx.Response | Exception | Callable[[], httpx.Response]) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, httpx.Response) else answer()

    @property
    def form(self) -> dict[str, list[str]]:
        return parse_qs(self.requests[-1].content.decode())


def given(**changes: object) -> httpx.Response:
    body = {**FakeService().tokens(), **changes}
    return httpx.Response(200, json={k: v for k, v in body.items() if v is not None})


def basic(request: httpx.Request) -> tuple[str, str]:
    encoded = request.headers["authorization"].removeprefix("Basic ")
    name, _, secret = base64.b64decode(encoded).decode().partition(":")
    return unquote_plus(name), unquote_plus(secret)


class TestCalls:
    def test_exchange(self, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("keyturn.client.steps.time.time", lambda: 1000.0)
        seen = Seen(given())
        tokens = call(seen, "exchange", tenant=TENANT, scope="a:b", resource="https://a")
        assert (tokens.obtained_at, tokens.expires_at) == (1000, 1300)
        assert tokens.refresh_expires_at == 2800
        assert tokens.scope == "assets:read"
        assert seen.form == {
            "grant_type": ["password"],
            "username": [USERNAME],
            "password": [API_KEY],
            "scope": ["a:b"],
            "resource": ["https://a"],
        }
        (request,) = seen.requests
        assert request.headers["x-tenant-id"] == TENANT
        assert request.headers["accept-encoding"] == "identity"

    def test_client_credentials(self, call: Call) -> None:
        seen = Seen(given(refresh_token=None, refresh_expires_in=None))
        tokens = call(seen, "exchange", grant="client_credentials")
        assert (tokens.refresh_token, tokens.refresh_expires_at) == (None, None)
        assert seen.form["client_id"] == [USERNAME]

    def test_times_are_counted_from_before_the_request_that_was_answered(
        self, call: Call, monkeypatch: pytest.MonkeyPatch, pauses: list[float]
    ) -> None:
        now = [1000.0]
        monkeypatch.setattr("keyturn.client.steps.time.time", lambda: now[0])

        def late() -> httpx.Response:
            now[0] += 7
            return given() if now[0] > 1010 else httpx.Response(503)

        tokens = call(Seen(late), "exchange")
        assert (tokens.obtained_at, tokens.expires_at) == (1007, 1307)

    def test_refresh(self, call: Call) -> None:
        seen = Seen(given())
        call(seen, "refresh", "ktr_x", scope=["a:b", "c:d"])
        assert seen.form == {
            "grant_type": ["refresh_token"],
            "refresh_token": ["ktr_x"],
            "scope": ["a:b c:d"],
        }

    def test_exchange_token(self, call: Call) -> None:
        seen = Seen(given(refresh_token=None))
        call(seen, "exchange_token", "a.b.c", tenant=TENANT, endpoints=["1", "2"], actor="d.e.f")
        kind = ["urn:ietf:params:oauth:token-type:access_token"]
        assert seen.form == {
            "grant_type": ["urn:ietf:params:oauth:grant-type:token-exchange"],
            "subject_token": ["a.b.c"],
            "subject_token_type": kind,
            "actor_token": ["d.e.f"],
            "actor_token_type": kind,
            "endpoints": ["1 2"],
        }
        assert seen.requests[0].headers["x-tenant-id"] == TENANT
        assert "authorization" not in seen.requests[0].headers

    def test_exchange_token_for_whoever_has_a_key(self, call: Call) -> None:
        seen = Seen(given())
        call(seen, "exchange_token", "a.b.c", actor=Credentials(URL, "a+b:c@x", API_KEY))
        assert basic(seen.requests[0]) == ("a+b:c@x", API_KEY)
        assert "actor_token" not in seen.form

    def test_switch_tenant(self, call: Call) -> None:
        seen = Seen(given())
        call(seen, "switch_tenant", "a.b.c", TENANT)
        assert seen.form["subject_token"] == ["a.b.c"]
        assert seen.requests[0].headers["x-tenant-id"] == TENANT

    def test_revoke(self, call: Call) -> None:
        seen = Seen(httpx.Response(200))
        assert call(seen, "revoke", "a.b.c") is None
        assert seen.form == {"token": ["a.b.c"]}
        assert seen.requests[0].url.path == "/iam/auth/revoke"

    def test_introspect(self, call: Call) -> None:
        body = {
            "active": True,
            "token_type": "bearer",
            "sub": "u",
            "client_id": "k",
            "scope": "a:b c:d",
            "aud": "https://a",
            "exp": 2000,
            "iat": 1700,
            "jti": "j",
            "sid": "s",
            "epoch": 3,
            "iss": URL,
            "tenants": {"t1": ["viewer"]},
            "act": {"sub": "v", "act": {"sub": "w"}},
            "something": "new",
        }
        seen = Seen(httpx.Response(200, json=body))
        found = call(seen, "introspect", "a.b.c", TENANT)
        assert found.active
        assert (found.audience, found.expires_at, found.issued_at) == (("https://a",), 2000, 1700)
        assert found.tenants == {"t1": ("viewer",)}
        assert found.actors == ("v", "w")
        assert found.endpoints is None
        assert (found.token_id, found.session_id, found.sub) == ("j", "s", "u")
        assert basic(seen.requests[0]) == (USERNAME, API_KEY)
        assert seen.requests[0].headers["x-tenant-id"] == TENANT

    @pytest.mark.parametrize("token", ["", "a b", "\udcff", "é\n"])
    def test_introspect_takes_any_text(self, call: Call, token: str) -> None:
        found = call(Seen(httpx.Response(200, json={"active": False})), "introspect", token)
        assert found == library.Introspection(active=False)

    @pytest.mark.parametrize(
        "body",
        [
            {},
            {"active": "true"},
            {"active": 1},
            {"active": True, "tenants": []},
            {"active": True, "exp": "soon"},
            {"active": True, "roles": "viewer"},
            {"active": True, "endpoints": None},
            {"active": True, "act": "v"},
        ],
    )
    def test_introspect_takes_nothing_half_understood(self, call: Call, body: object) -> None:
        with pytest.raises(UnexpectedAnswer):
            call(Seen(httpx.Response(200, json=body)), "introspect", "a.b.c")

    def test_me_reads_all_pages(self, call: Call) -> None:
        pages = [
            httpx.Response(200, json={**ME, "next_after": "t1"}),
            httpx.Response(200, json={**ME, "roles": [{**ROLE, "tenant_id": "t2"}]}),
        ]
        seen = Seen(*pages)
        me = call(seen, "me", "a.b.c")
        assert [role.tenant_id for role in me.roles] == ["t1", "t2"]
        assert me.roles[0] == TenantRole("t1", "acme", "r1", "viewer")
        assert (me.sub, me.username, me.kind, me.api_key_id) == ("u", USERNAME, "service", "k")
        assert [request.url.params.get("after") for request in seen.requests] == [None, "t1"]
        assert seen.requests[0].headers["authorization"] == "Bearer a.b.c"

    def test_me_ends_when_the_pages_do_not(
        self, call: Call, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("keyturn.client.clients._MOST_PAGES", 5)
        seen = Seen(httpx.Response(200, json={**ME, "next_after": "t1"}))
        with pytest.raises(UnexpectedAnswer):
            call(seen, "me", "a.b.c")
        assert len(seen.requests) == 6

    @pytest.mark.parametrize("token", ["a\r\nx: y", "a b", "", "é"])
    def test_me_sends_no_header_of_somebody_elses(self, call: Call, token: str) -> None:
        with pytest.raises(ValueError):
            call(Seen(httpx.Response(200, json=ME)), "me", token)

    def test_both_clients_have_the_same_methods(self) -> None:
        for name, method in inspect.getmembers(TokenClient, inspect.isfunction):
            if not name.startswith("_") and name != "close":
                other = getattr(AsyncTokenClient, name)
                assert inspect.signature(method) == inspect.signature(other), name

    def test_without_credentials_what_needs_none_works(self) -> None:
        network = Network(transport=httpx.MockTransport(Seen(httpx.Response(200))))
        with TokenClient(URL, network=network) as client:
            client.revoke("a.b.c")
            for ask in (client.exchange, lambda: client.introspect("a.b.c")):
                with pytest.raises(NoCredentials):
                    ask()
        with pytest.raises(ValueError):
            TokenClient(URL, USERNAME)

    def test_from_credentials(self) -> None:
        seen = Seen(given())
        network = Network(transport=httpx.MockTransport(seen))
        known = Credentials(URL, USERNAME, API_KEY, TENANT)
        with TokenClient.from_credentials(known, network=network) as client:
            client.exchange()
        assert seen.form["username"] == [USERNAME]
        assert "x-tenant-id" not in seen.requests[0].headers


class TestTriedAgain:
    @pytest.mark.parametrize("status", [429, 502, 503, 504])
    def test_what_passes(self, call: Call, status: int, pauses: list[float]) -> None:
        seen = Seen(httpx.Response(status), httpx.Response(status), given())
        assert call(seen, "refresh", "ktr_x").access_token
        assert len({request.content for request in seen.requests}) == 1
        assert 0.05 <= pauses[0] <= 0.1 <= pauses[1] <= 0.2

    @pytest.mark.parametrize(
        "fault",
        [
            httpx.ConnectError("refused"),
            httpx.ReadError("reset"),
            httpx.RemoteProtocolError("cut"),
            httpx.ReadTimeout("late"),
            httpx.ConnectTimeout("late"),
        ],
    )
    def test_connections(self, call: Call, fault: Exception, pauses: list[float]) -> None:
        seen = Seen(fault, given())
        assert call(seen, "exchange").access_token
        assert len(seen.requests) == 2

    @pytest.mark.parametrize("status", [400, 401, 403, 404, 408, 409, 413, 500, 501, 302, 200])
    def test_nothing_else(self, call: Call, status: int, pauses: list[float]) -> None:
        seen = Seen(httpx.Response(status, text="?"))
        with pytest.raises(KeyturnError):
            call(seen, "exchange")
        assert (len(seen.requests), pauses) == (1, [])

    def test_until_the_deadline(self, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
        now = [0.0]
        monkeypatch.setattr("keyturn.client.steps.time.monotonic", lambda: now[0])

        def sleep(seconds: float) -> None:
            now[0] += seconds

        async def async_sleep(seconds: float) -> None:
            sleep(seconds)

        real = asyncio.timeout
        monkeypatch.setattr("keyturn.client.running.asyncio.timeout", lambda _: real(None))
        monkeypatch.setattr("keyturn.client.running._sleep", async_sleep)
        monkeypatch.setattr("keyturn.client.running.time.sleep", sleep)
        seen = Seen(httpx.ConnectError("refused"))
        with pytest.raises(Unavailable) as raised:
            call(seen, "exchange")
        assert 6 < now[0] <= 10
        assert 6 < len(seen.requests) < 20
        assert "refused" in str(raised.value)

    def test_retry_after_as_a_date(self, call: Call, pauses: list[float]) -> None:
        late = formatdate(time.time() + 3, usegmt=True)
        seen = Seen(httpx.Response(503, headers={"retry-after": late}), given())
        call(seen, "exchange")
        assert 1 < pauses[0] <= 3

    @pytest.mark.parametrize("text", ["soon", "-1", "1e9", "²", "", "Mon, 99"])
    def test_a_senseless_retry_after_is_none(
        self, call: Call, text: str, pauses: list[float]
    ) -> None:
        seen = Seen(httpx.Response(503, headers={b"retry-after": text.encode()}), given())
        assert call(seen, "exchange").access_token
        assert pauses[0] <= 0.1

    def test_an_endless_retry_after_is_an_hour(self, call: Call) -> None:
        seen = Seen(httpx.Response(503, headers={"retry-after": "9" * 5000}))
        with pytest.raises(Unavailable) as raised:
            call(seen, "exchange")
        assert raised.value.retry_after == 3600

    def test_a_retry_after_that_does_not_fit_is_told(self, call: Call, pauses: list[float]) -> None:
        seen = Seen(httpx.Response(429, headers={"retry-after": "11"}))
        with pytest.raises(Throttled) as raised:
            call(seen, "exchange")
        assert (raised.value.retry_after, pauses) == (11, [])


def trickle() -> Iterator[bytes]:
    while True:
        yield b" " * 4096


class TestAnswers:
    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"<html>",
            b"[]",
            b"null",
            b'"text"',
            b"\xff\xfe",
            b"{",
            b"[" * 60000,
            b'{"a": ' + b"1" * 5000 + b"}",
        ],
    )
    def test_garbage_is_no_answer(self, call: Call, body: bytes) -> None:
        with pytest.raises(UnexpectedAnswer):
            call(Seen(httpx.Response(200, content=body)), "exchange")

    @pytest.mark.parametrize(
        "changes",
        [
            {"access_token": None},
            {"access_token": 1},
            {"access_token": ""},
            {"access_token": "a\r\nb"},
            {"refresh_token": ["x"]},
            {"token_type": "mac"},
            {"token_type": None},
            {"expires_in": None},
            {"expires_in": "300"},
            {"expires_in": -1},
            {"expires_in": True},
            {"expires_in": 1e400},
            {"expires_in": 10**12},
            {"refresh_expires_in": "x"},
            {"scope": 1},
        ],
    )
    def test_tokens_that_are_none(self, call: Call, changes: dict[str, object]) -> None:
        body = {**FakeService().tokens(), **changes}
        body = {k: v for k, v in body.items() if v is not None}
        text = json.dumps(body).encode()
        with pytest.raises(UnexpectedAnswer):
            call(Seen(httpx.Response(200, content=text)), "exchange")

    def test_endless_ones_are_cut(self) -> None:
        seen = Seen(lambda: httpx.Response(200, stream=Endless()))
        network = Network(transport=httpx.MockTransport(seen))
        with TokenClient(URL, USERNAME, API_KEY, network=network) as client:
            with pytest.raises(UnexpectedAnswer, match="65536"):
                client.exchange()
            # What a fault has to say is not needed.
            seen.answers = [lambda: httpx.Response(500, stream=Endless())]
            with pytest.raises(Unavailable):
                client.exchange()

    async def test_endless_ones_are_cut_in_an_event_loop(self) -> None:
        network = Network(
            transport=httpx.MockTransport(lambda _: httpx.Response(200, stream=Endless()))
        )
        async with AsyncTokenClient(URL, USERNAME, API_KEY, network=network) as client:
            with pytest.raises(UnexpectedAnswer, match="65536"):
                await client.exchange()

    def test_packed_ones_are_not_unpacked(self, call: Call) -> None:
        packed = gzip.compress(json.dumps(FakeService().tokens()).encode())
        answer = httpx.Response(
            200, headers={"content-encoding": "gzip"}, stream=httpx.ByteStream(packed)
        )
        with pytest.raises(UnexpectedAnswer):
            call(Seen(answer), "exchange")

    def test_problems_of_rfc_9457(self, call: Call) -> None:
        problem = {"type": "urn:keyturn:error:invalid_token", "detail": "Dead.", "status": 401}
        with pytest.raises(InvalidToken) as raised:
            call(Seen(httpx.Response(401, json=problem)), "me", "a.b.c")
        assert str(raised.value) == "invalid_token: Dead."
        assert raised.value.status == 401

    @pytest.mark.parametrize(
        ("code", "kind"),
        [
            ("unsupported_grant_type", UnsupportedGrantType),
            ("access_denied", AccessDenied),
            ("something_new", Refused),
        ],
    )
    def test_refusals(self, call: Call, code: str, kind: type[Refused]) -> None:
        with pytest.raises(Refused) as raised:
            call(Seen(oauth_error(code, 403)), "exchange")
        assert type(raised.value) is kind
        assert raised.value.code == code

    def test_every_refusal_has_its_code(self) -> None:
        for kind in Refused.__subclasses__():
            words = "".join(f"_{c.lower()}" if c.isupper() else c for c in kind.__name__)
            assert type(refusal(words.lstrip("_"), "", 400)) is kind

    def test_descriptions_are_bounded_and_printable(self, call: Call) -> None:
        text = "a\x1b[31m\r\nb" + "x" * 10000
        with pytest.raises(Refused) as raised:
            call(Seen(oauth_error("invalid_scope", text=text)), "exchange")
        assert raised.value.description.startswith("a [31m  bxxx")
        assert len(raised.value.description) == 200
        assert raised.value.description.isprintable()

    @pytest.mark.parametrize("status", [400, 404, 418])
    def test_of_somebody_else_are_told_from_refusals(self, call: Call, status: int) -> None:
        with pytest.raises(UnexpectedAnswer, match=str(status)):
            call(Seen(httpx.Response(status, text="<html>")), "exchange")

    def test_descriptions_of_empty_tokens_are_left_alone(self, call: Call) -> None:
        with pytest.raises(Refused) as raised:
            call(Seen(oauth_error("invalid_request", text="No token.")), "revoke", "")
        assert raised.value.description == "No token."

    def test_errors_can_be_pickled(self) -> None:
        for error in (refusal("invalid_grant", "No.", 400), Throttled("too many", 3.0)):
            copied = pickle.loads(pickle.dumps(error))  # noqa: S301
            assert (type(copied), str(copied)) == (type(error), str(error))
            assert vars(copied) == vars(error)


class Endless(httpx.SyncByteStream, httpx.AsyncByteStream):
    def __iter__(self) -> Iterator[bytes]:
        return trickle()

    async def __aiter__(self):  # type: ignore[no-untyped-def]
        for part in trickle():
            yield part
