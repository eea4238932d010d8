"""The WSGI adapter: the same outcomes, from threads."""

import asyncio
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from wsgiref.util import setup_testing_defaults

import pytest

from keyturn.resource.wsgi import TokenMiddleware
from tests.resource.world import A, B, FakeService, Time, signed, verifier_of


def plain(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    start_response("200 OK", [])
    caller = environ["keyturn.caller"]
    return [(caller.user_id if caller else "nobody").encode()]


Outcome = tuple[int, dict[str, str], bytes]


def call(app: TokenMiddleware, path: str = "/assets", **environ: str) -> Outcome:
    given: dict[str, Any] = {"PATH_INFO": path, **environ}
    setup_testing_defaults(given)
    told: list[Any] = []
    body = b"".join(app(given, lambda status, headers: told.extend((status, headers))))
    return int(told[0].split()[0]), dict(told[1]), body


@pytest.fixture
def app(service: FakeService, time: Time) -> Iterator[TokenMiddleware]:
    verifier = verifier_of(service, time, revocation="feed", service="assets")
    app = TokenMiddleware(plain, verifier, public=["/health"])
    yield app
    app.close()


GOOD = {"HTTP_AUTHORIZATION": f"Bearer {signed()}", "HTTP_X_TENANT_ID": A}


class TestOutcomes:
    def test_200(self, app: TokenMiddleware) -> None:
        assert call(app, **GOOD)[::2] == (200, b"user-1")
        assert call(app, "/health")[::2] == (200, b"nobody")
        status, _, body = call(app, "/.well-known/oauth-protected-resource")
        assert status == 200
        assert b"authorization_servers" in body

    @pytest.mark.parametrize(
        ("environ", "path", "status"),
        [
            ({}, "/assets", 401),
            ({**GOOD, "HTTP_AUTHORIZATION": "Bearer x"}, "/assets", 401),
            ({**GOOD, "HTTP_AUTHORIZATION": "Bearer x,Bearer y"}, "/assets", 400),
            ({**GOOD, "HTTP_X_TENANT_ID": f"{A},{A}"}, "/assets", 400),
            ({**GOOD, "HTTP_X_TENANT_ID": B}, "/assets", 403),
            (GOOD, "/unknown", 403),
            ({**GOOD, "REQUEST_METHOD": "POST"}, "/assets", 403),
            ({**GOOD, "RAW_URI": "/assets/a%2Fb?x=1"}, "/assets/a/b", 403),
            ({**GOOD, "RAW_URI": "/assets/a%20b?x=1"}, "/assets/a b", 200),
            ({**GOOD, "SCRIPT_NAME": "/elsewhere"}, "/assets", 403),
            ({**GOOD, "SCRIPT_NAME": "/assets", "REQUEST_URI": "/assets/%37"}, "/7", 200),
            ({**GOOD, "RAW_URI": "/assets/%C3%A9"}, "/assets/\xc3\xa9", 200),
            ({**GOOD, "REQUEST_URI": "http://h/assets?x=/secret"}, "/assets", 200),
            # What was sent is not what the application sees: neither of the two is decided.
            ({**GOOD, "REQUEST_URI": "//secret/assets"}, "/assets", 403),
            ({**GOOD, "REQUEST_URI": "http://h//assets"}, "/assets", 403),
            ({**GOOD, "REQUEST_URI": "/assets"}, "/secret", 403),
            ({**GOOD, "REQUEST_URI": "/assets#x"}, "/assets", 403),
            ({**GOOD, "RAW_URI": "/assets/\xe9"}, "/assets/\xc3\xa9", 403),
            ({**GOOD, "RAW_URI": "/assets/\u20ac"}, "/assets/\xe2\x82\xac", 403),
        ],
    )
    def test_refused_or_not(
        self, app: TokenMiddleware, environ: dict[str, str], path: str, status: int
    ) -> None:
        got, headers, body = call(app, path, **environ)
        assert got == status
        if status >= 400:
            assert headers["Content-Type"] == "application/problem+json"
            assert int(headers["Content-Length"]) == len(body)
        if status == 401:
            assert headers["WWW-Authenticate"].startswith("Bearer ")

    def test_503(self, app: TokenMiddleware, service: FakeService, time: Time) -> None:
        assert call(app, **GOOD)[0] == 200
        service.down = True
        time.advance(60)
        status, headers, _ = call(app, **GOOD)
        assert status == 503
        assert headers["Retry-After"]

    def test_many_threads_share_one_verifier(
        self, app: TokenMiddleware, service: FakeService
    ) -> None:
        with ThreadPoolExecutor(8) as pool:
            outcomes = list(pool.map(lambda _: call(app, **GOOD)[0], range(64)))
        assert set(outcomes) == {200}
        assert service.count("jwks.json") == 1

    def test_closed_it_can_be_used_again(self, app: TokenMiddleware) -> None:
        assert call(app, **GOOD)[0] == 200
        app.close()
        assert call(app, **GOOD)[0] == 200

    def test_closed_during_a_fetch_it_can_be_used_again(
        self, app: TokenMiddleware, service: FakeService
    ) -> None:
        asked, real = threading.Event(), app._verifier._service.ask

        async def never(name: str, **given: Any) -> Any:
            if name == "policy":
                asked.set()
                await asyncio.sleep(60)
            return await real(name, **given)

        app._verifier._service.ask = never  # type: ignore[method-assign]
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(call, app, **GOOD)
            assert asked.wait(5)
            app.close()
            assert waiting.result(5)[0] == 503
        app._verifier._service.ask = real  # type: ignore[method-assign]
        assert call(app, **GOOD)[0] == 200
        assert verifiers_at_work() == 1

    def test_503_while_the_verifier_does_not_start_and_nothing_is_left_of_it(
        self, app: TokenMiddleware, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        real = app._verifier._keys.refresh

        async def never() -> bool:
            await asyncio.sleep(60)
            return True

        monkeypatch.setattr("keyturn.resource.wsgi.PATIENCE", 0.2)
        monkeypatch.setattr(app._verifier._keys, "refresh", never)
        for _ in range(2):
            assert call(app, **GOOD)[0] == 503
        assert verifiers_at_work() == 0
        monkeypatch.setattr("keyturn.resource.wsgi.PATIENCE", 15)
        monkeypatch.setattr(app._verifier._keys, "refresh", real)
        assert call(app, **GOOD)[0] == 200


def verifiers_at_work() -> int:
    return sum(thread.name == "keyturn verifier" for thread in threading.enumerate())
