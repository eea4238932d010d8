"""Too much at once is 503 in the route's own form, with Retry-After; and what a stop tells."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from keyturn.server import app as wiring
from keyturn.server.http import body as body_module
from keyturn.server.http.body import LARGE
from keyturn.server.http.stopping import Stopping
from keyturn.server.storage import SqliteLookup
from keyturn.server.tokens.passwords import Argon2Passwords
from tests.http.conftest import Running
from tests.http.contract import check

FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def is_503(answer: httpx.Response) -> None:
    """In RFC 6749's form on an OAuth route, in RFC 9457's elsewhere."""
    assert answer.status_code == 503, answer.text
    assert answer.headers["retry-after"] == "1"
    if answer.request.url.path.startswith("/iam/auth/"):
        assert answer.headers["content-type"] == "application/json"
        assert answer.json()["error"] == "temporarily_unavailable"
    else:
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["type"] == "urn:keyturn:error:temporarily_unavailable"


class SlowBody:
    """A token request whose body stops halfway until `go_on`."""

    def __init__(self, service: Running) -> None:
        self.begun, self.go_on = asyncio.Event(), asyncio.Event()
        self.answer = asyncio.create_task(
            service.client.post("/iam/auth/token", content=self._body(), headers=FORM)
        )

    async def _body(self) -> AsyncIterator[bytes]:
        yield b"grant_type=refresh_token&"
        self.begun.set()
        await self.go_on.wait()
        yield b"refresh_token=x"


@contextlib.asynccontextmanager
async def busy(service: Running) -> AsyncIterator[None]:
    """A database whose only connection for changes is taken."""
    async with service.service.parts.store.transaction() as tx:
        await tx.tenants.get(service.acme)
        yield


@contextlib.asynccontextmanager
async def one_in_flight(service: Running) -> AsyncIterator[asyncio.Task[httpx.Response]]:
    """A call that waits for the database; its answer comes after the block."""
    admin = await administrator(service)
    async with busy(service):
        call = asyncio.create_task(service.client.get("/iam/roles", headers=admin))
        for _ in range(1_000):
            if (await service.get("/iam/users/me", "x")).status_code == 503:
                break
            await asyncio.sleep(0.01)
        yield call
    assert (await call).status_code == 200


async def until_200(call: Callable[[], Awaitable[httpx.Response]]) -> None:
    """What the service does for itself may have the connection for a moment."""
    for _ in range(200):
        if (await call()).status_code == 200:
            return
        await asyncio.sleep(0.05)
    pytest.fail("it stays unavailable")


async def administrator(service: Running) -> dict[str, str]:
    """What the platform's administrator sends with calls in acme."""
    username, _ = service.admin
    key, acme = service.demo.platform.key, service.acme
    body = await service.exchange(key=key, user=username, tenant=acme)
    return {"Authorization": f"Bearer {body['access_token']}", "x-tenant-id": acme}


class TestInFlight:
    async def test_503_when_it_is_too_much(self, start: Any) -> None:
        service: Running = await start(max_in_flight=1, database_pool_size=1, database_wait=60)
        async with one_in_flight(service):
            is_503(await service.token(grant_type="refresh_token", refresh_token="x"))
            is_503(await service.get("/iam/users/me", "x"))
            assert (await service.get("/health/live")).status_code == 200

    async def test_slow_bodies_take_no_place(self, start: Any) -> None:
        service: Running = await start(max_in_flight=1)
        slow = [SlowBody(service) for _ in range(5)]
        for request in slow:
            await request.begun.wait()
        await service.exchange()
        for request in slow:
            request.go_on.set()
            assert (await request.answer).json()["error"] == "invalid_grant"
        await service.exchange()

    async def test_503_when_the_body_is_here_and_no_place(self, start: Any) -> None:
        service: Running = await start(max_in_flight=1, database_pool_size=1, database_wait=60)
        slow = SlowBody(service)
        await slow.begun.wait()
        async with one_in_flight(service):
            slow.go_on.set()
            is_503(await slow.answer)

    async def test_400_a_body_that_never_comes(
        self, service: Running, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(body_module, "BODY_WAIT", 0.05)
        assert (await SlowBody(service).answer).status_code == 400


class TestResources:
    async def test_503_no_database_connection_in_time(self, start: Any) -> None:
        service: Running = await start(database_pool_size=1, database_wait=0.1)
        refresh_token = (await service.exchange())["refresh_token"]
        admin = await administrator(service)
        async with busy(service):
            is_503(await service.client.get("/iam/roles", headers=admin))
            if isinstance(service.service.parts.lookup, SqliteLookup):
                is_503(await service.refresh(refresh_token))
            else:
                # It has connections of its own: nobody who manages is in its way.
                answer = await service.refresh(refresh_token)
                refresh_token = answer.json()["refresh_token"]
        await until_200(lambda: service.refresh(refresh_token))
        await until_200(lambda: service.client.get("/iam/roles", headers=admin))

    async def test_503_no_thread_for_a_password(
        self, start: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        passwords = Argon2Passwords(memory=64, passes=1, workers=1, queue=0)
        monkeypatch.setattr(wiring, "Argon2Passwords", lambda: passwords)
        service: Running = await start()
        roles = (await service.administer("GET", "/roles", service.acme)).json()["items"]
        offer = {"email": "ada@example.com", "role_id": roles[0]["id"]}
        made = (await service.administer("POST", "/invitations", service.acme, offer)).json()
        body = {"code": made["code"], "password": "a long enough pass phrase"}
        await passwords._free.acquire()
        is_503(await service.client.post("/iam/invitations/accept", json=body))
        passwords._free.release()
        answer = await service.client.post("/iam/invitations/accept", json=body)
        assert answer.is_success, answer.text

    async def test_503_no_thread_for_a_large_body(
        self, service: Running, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        done = Event()
        with ThreadPoolExecutor(1) as pool:
            pool.submit(done.wait)
            monkeypatch.setattr(body_module, "_parser", pool)
            monkeypatch.setattr(body_module, "PARSE_WAIT", 0.05)
            headers = await administrator(service)
            body = {"service": "edge", "document": {"a": "x" * LARGE}}
            answer = await service.client.post("/iam/endpoints/import", json=body, headers=headers)
            done.set()
            is_503(answer)


class TestStopping:
    @pytest.fixture
    async def stopped(self, service: Running) -> AsyncIterator[httpx.AsyncClient]:
        """A service that is about to end; `/fault` is one of ours."""
        stopping = Stopping()
        app = wiring.create_app(service.settings, stopping)

        async def fault(_request: Request) -> Response:
            raise RuntimeError("on our side")

        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://testserver") as client,
        ):
            app.router.routes.append(Route("/fault", fault))
            assert "connection" not in (await client.get("/health/ready")).headers
            stopping.begun = True
            yield client

    async def test_503_not_ready(self, stopped: httpx.AsyncClient) -> None:
        answer = await stopped.get("/health/ready")
        await check(answer)
        assert (answer.status_code, answer.json()["status"]) == (503, "stopping")
        assert answer.headers["retry-after"] == "1"

    @pytest.mark.parametrize(
        ("path", "status"),
        [("/health/live", 200), ("/iam/users/me", 401), ("/iam/nothing", 404), ("/fault", 500)],
    )
    async def test_each_answer_is_the_last(
        self, stopped: httpx.AsyncClient, path: str, status: int
    ) -> None:
        answer = await stopped.get(path)
        assert (answer.status_code, answer.headers["connection"]) == (status, "close")
        assert answer.headers["x-request-id"]
