"""What an endpoint asks of its caller, beside it."""

import inspect
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.endpoints import HTTPEndpoint
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from keyturn.resource import (
    Caller,
    MissingToken,
    ResourceError,
    TokenMiddleware,
    caller_of,
    permission,
    refused,
    requires,
    requires_any,
)
from tests.resource.asgi import client_of
from tests.resource.world import A, FakeService, Time, signed, verifier_of


@requires("assets:read")
async def later(request: Request) -> Response:
    """Its text."""
    return PlainTextResponse(caller_of(request).user_id)


@requires("assets:read")
def at_once(request: Request) -> Response:
    return PlainTextResponse(caller_of(request).user_id)


@requires("assets:write")
async def later_refused(request: Request) -> Response:
    raise AssertionError("let in")


@requires("assets:write")
def refused_at_once(request: Request) -> Response:
    raise AssertionError("let in")


@requires_any("assets:write", "assets:read")
async def either(request: Request) -> Response:
    return PlainTextResponse("in")


async def inside(request: Request) -> Response:
    caller_of(request).need("assets:write")
    raise AssertionError("let in")


class Methods(HTTPEndpoint):
    @requires("assets:read")
    async def get(self, request: Request) -> Response:
        return PlainTextResponse("in")

    @requires("assets:write")
    def post(self, request: Request) -> Response:
        raise AssertionError("let in")


def routes() -> list[Route]:
    plain = [later, at_once, later_refused, refused_at_once, either, inside]
    return [
        *(Route(f"/{endpoint.__name__}", endpoint) for endpoint in plain),
        Route("/methods", Methods),
    ]


def app_of(service: FakeService, time: Time, **settings: Any) -> Starlette:
    app = Starlette(routes=routes())
    app.add_middleware(TokenMiddleware, verifier=verifier_of(service, time), **settings)
    return app


HEADERS = {"authorization": f"Bearer {signed()}", "x-tenant-id": A}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/later", 200),
        ("GET", "/at_once", 200),
        ("GET", "/either", 200),
        ("GET", "/methods", 200),
        ("GET", "/later_refused", 403),
        ("GET", "/refused_at_once", 403),
        ("GET", "/inside", 403),
        ("POST", "/methods", 403),
    ],
)
class TestRequires:
    async def test_inside_the_application(
        self, service: FakeService, time: Time, method: str, path: str, status: int
    ) -> None:
        async with client_of(app_of(service, time)) as client:
            answer = await client.request(method, path, headers=HEADERS)
            assert answer.status_code == status
            if status == 403:
                challenge = answer.headers["www-authenticate"]
                assert 'error="insufficient_scope"' in challenge
                assert 'scope="assets:write"' in challenge
                assert "resource_metadata=" in challenge
                assert answer.json()["type"] == "urn:keyturn:error:insufficient_scope"

    async def test_around_the_application(
        self, service: FakeService, time: Time, method: str, path: str, status: int
    ) -> None:
        app = Starlette(routes=routes(), exception_handlers={ResourceError: refused})
        async with client_of(TokenMiddleware(app, verifier_of(service, time))) as client:
            assert (await client.request(method, path, headers=HEADERS)).status_code == status


class TestWithoutACaller:
    async def test_401_where_calls_without_a_token_are_let_through(
        self, service: FakeService, time: Time
    ) -> None:
        async with client_of(app_of(service, time, optional=True)) as client:
            for path in ("/later", "/at_once", "/inside"):
                answer = await client.get(path)
                assert answer.status_code == 401
                assert "error=" not in answer.headers["www-authenticate"]

    async def test_without_the_middleware_nobody_is_let_in(self) -> None:
        async with client_of(Starlette(routes=routes())) as client:
            assert (await client.get("/later", headers=HEADERS)).status_code == 401


class TestDecorating:
    def test_keeps_name_text_and_signature(self) -> None:
        assert (later.__name__, later.__doc__) == ("later", "Its text.")
        assert list(inspect.signature(later).parameters) == ["request"]
        assert inspect.iscoroutinefunction(later)
        assert not inspect.iscoroutinefunction(at_once)

    async def test_an_endpoint_without_a_request_is_a_mistake(self) -> None:
        async def blind() -> None:
            raise AssertionError("let in")

        async def deaf(number: int) -> None:
            raise AssertionError("let in")

        with pytest.raises(TypeError):
            requires("a:b")(blind)
        with pytest.raises(TypeError):
            await requires("a:b")(deaf)(7)

    def test_no_permission_is_a_mistake(self) -> None:
        with pytest.raises(ValueError, match="which"):
            requires_any()


class TestDependency:
    def test_gives_the_caller_or_refuses(self) -> None:
        with pytest.raises(MissingToken):
            permission("a:b")(Request({"type": "http"}))

    async def test_in_fastapi(self, service: FakeService, time: Time) -> None:
        fastapi: Any = pytest.importorskip("fastapi")
        app = fastapi.FastAPI()

        @app.get("/read")  # type: ignore[untyped-decorator]
        def read(caller: Caller = fastapi.Depends(permission("assets:read"))) -> str:  # noqa: B008
            return caller.user_id

        @app.get("/write")  # type: ignore[untyped-decorator]
        def write(caller: Caller = fastapi.Depends(permission("assets:write"))) -> str:  # noqa: B008
            raise AssertionError("let in")

        app.add_middleware(TokenMiddleware, verifier=verifier_of(service, time))
        async with client_of(app) as client:
            assert (await client.get("/read", headers=HEADERS)).json() == "user-1"
            assert (await client.get("/write", headers=HEADERS)).status_code == 403
