"""The WSGI adapter: the same outcomes, from threads."""

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
