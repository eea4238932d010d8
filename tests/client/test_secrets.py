"""No API key and no token in a log, a repr or an exception."""

from __future__ import annotations

import contextlib
import logging
import traceback

import httpx
import pytest

from keyturn.client import (
    AsyncTokenClient,
    Credentials,
    KeyturnError,
    Network,
    TokenClient,
    UnexpectedAnswer,
)
from keyturn.client.calls import Service
from keyturn.client.steps import Answer
from tests.client.conftest import API_KEY, TENANT, URL, USERNAME, FakeService, SetClock, oauth_error
from tests.secret_scan import scan_for_secrets

ASSETS = "https://assets.example/assets"


def clean(text: str) -> bool:
    return not scan_for_secrets(text) and API_KEY not in text and API_KEY[-20:] not in text


def told(error: BaseException) -> str:
    """All that an error report could show of an error and of those behind it."""
    texts = []
    next_one: BaseException | None = error
    while next_one is not None:
        texts += [repr(next_one), str(next_one), repr(next_one.args), repr(vars(next_one))]
        next_one = next_one.__cause__ or next_one.__context__
    return "\n".join([*texts, *traceback.format_exception(error)])


class TestScan:
    def test_finds_what_the_fake_service_gives(self) -> None:
        tokens = FakeService().tokens()
        for secret in (API_KEY, str(tokens["access_token"]), str(tokens["refresh_token"])):
            assert not clean(secret)


class TestLogs:
    def test_of_a_whole_life(
        self, service: FakeService, clock: SetClock, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)
        auth = service.auth(clock=clock)
        with service.client(auth) as client:
            client.get(ASSETS)
            clock.tick(0.91 * 300)
            service.replies = [httpx.Response(500)]
            client.get(ASSETS)
            clock.tick(20)
            client.get(ASSETS)
            service.dead.update(service.issued)
            sent = service.last_refresh_token
            service.replies = [oauth_error("invalid_grant", text=f"Dead: {sent}")]
            client.get(ASSETS)
        assert "was not refreshed early" in caplog.text
        assert "the session has ended" in caplog.text
        assert service.grants == ["password", *["refresh_token", "password"] * 2]
        assert clean(caplog.text)


class TestReprs:
    def test_of_everything(self, service: FakeService) -> None:
        auth = service.auth(tenant=TENANT)
        with service.client(auth) as client:
            client.get(ASSETS)
        known = Credentials(URL, USERNAME, API_KEY)
        with TokenClient(URL, USERNAME, API_KEY, network=service.network) as tokens:
            got = tokens.exchange()
            calls = Service.at(URL)
            shown = [
                auth,
                known,
                tokens,
                got,
                calls.exchange(known),
                calls.refresh(str(got.refresh_token)),
                calls.me(got.access_token),
                calls.introspect(got.access_token, known),
                auth._keeper,
                auth._keeper._held,
                Answer(200, {"a": API_KEY}, API_KEY.encode()),
                AsyncTokenClient(URL, USERNAME, API_KEY),
                Network(proxy=f"http://user:{API_KEY}@proxy.example"),
            ]
        assert USERNAME in repr(auth)
        assert clean("\n".join(f"{each!r} {each}" for each in shown))


class TestExceptions:
    @pytest.mark.parametrize("where", ["error", "error_description", "detail", "type"])
    def test_do_not_repeat_what_the_answer_repeats(self, where: str) -> None:
        def answer(request: httpx.Request) -> httpx.Response:
            sent = request.content.decode() + str(request.headers.get("authorization"))
            return httpx.Response(400, json={"error": "invalid_request", where: "x" * 190 + sent})

        tokens = FakeService().tokens()
        access, refresh = str(tokens["access_token"]), str(tokens["refresh_token"])
        network = Network(transport=httpx.MockTransport(answer))
        with TokenClient(URL, USERNAME, API_KEY, network=network) as client:
            for ask in (
                client.exchange,
                lambda: client.refresh(refresh),
                lambda: client.exchange_token(access, actor=access),
                lambda: client.introspect(access),
                lambda: client.me(access),
                lambda: client.revoke(refresh),
            ):
                with pytest.raises(KeyturnError) as raised:
                    ask()
                assert clean(told(raised.value))

    @pytest.mark.parametrize("kind", [httpx.ReadError, httpx.LocalProtocolError, httpx.ProxyError])
    def test_do_not_tell_what_a_fault_tells(
        self, kind: type[httpx.TransportError], pauses: list[float]
    ) -> None:
        def fail(request: httpx.Request) -> httpx.Response:
            raise kind(f"Illegal header value {API_KEY}", request=request)

        network = Network(transport=httpx.MockTransport(fail))
        client = TokenClient(URL, USERNAME, API_KEY, network=network, deadline=0.2)
        with client, pytest.raises(KeyturnError) as raised:
            client.exchange()
        assert clean(told(raised.value))
        assert raised.value.__context__ is None

    def test_do_not_quote_an_answer_that_is_not_understood(self) -> None:
        bodies = [
            f"{API_KEY}".encode(),
            f'{{"access_token": "{API_KEY}\\n", "token_type": "bearer"}}'.encode(),
            f'{{"token_type": "{API_KEY}"}}'.encode(),
        ]
        for body in bodies:
            transport = httpx.MockTransport(lambda _, body=body: httpx.Response(200, content=body))
            client = TokenClient(URL, USERNAME, API_KEY, network=Network(transport=transport))
            with client, pytest.raises(UnexpectedAnswer) as raised:
                client.exchange()
            assert clean(told(raised.value))

    def test_of_wrong_arguments_do_not_quote_them(self) -> None:
        for make in (
            lambda: Credentials(URL, USERNAME, f"{API_KEY} "),
            lambda: Credentials(f"https://a:{API_KEY}@iam.example", USERNAME, API_KEY),
            lambda: Credentials(f"https://iam.example:{API_KEY}", USERNAME, API_KEY),
            lambda: Service.at(URL).me(f"{API_KEY} "),
        ):
            with pytest.raises(ValueError) as raised:
                make()
            with contextlib.suppress(AttributeError):
                raised.value.__traceback__ = None
            assert clean(told(raised.value))
