"""People come in by email and password, and nobody else does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx

from keyturn.server.domain.permissions import VIEWER
from tests.http.conftest import Running
from tests.http.console.conftest import PASSWORD, Console, sign_in


class TestSignIn:
    async def test_leads_to_the_only_tenant(self, console: Console) -> None:
        answer = await console.get("/console")
        assert answer.headers["location"] == f"/console/t/{console.tenant}"

    async def test_a_wrong_password_is_refused(self, console: Console) -> None:
        await console.post("/console/sign-out", form="/console/tenants")
        answer = await sign_in(console.client, console.user.username, PASSWORD + "x")
        assert answer.status_code == 401
        assert "not right" in answer.text
        assert (await console.get("/console")).headers["location"].startswith("/console/sign-in")

    async def test_signing_out_ends_it_on_the_server(self, console: Console) -> None:
        cookie = dict(console.client.cookies)
        answer = await console.post("/console/sign-out", form="/console/tenants")
        assert answer.headers["location"] == "/console/sign-in?done=signed-out"
        console.client.cookies.update(cookie)
        assert (await console.get("/console/tenants")).status_code == 303


class TestServiceUsers:
    async def test_one_is_made(self, console: Console) -> None:
        new = {"name": "robot <b>", "role_id": VIEWER.id}
        text = await console.done("/service-users/new", new)
        assert "robot &lt;b&gt;" in text
        page = await console.page("/service-users")
        assert "robot &lt;b&gt;" in page


class TestGuessing:
    async def test_is_counted_by_address_and_stops_the_right_password(
        self, start: Callable[..., Any]
    ) -> None:
        service: Running = await start(limit_failures_per_address="5/minute")
        async with httpx.AsyncClient(
            transport=service.client._transport, base_url=service.settings.public_url
        ) as client:
            for number in range(5):
                answer = await sign_in(client, f"nobody{number}@example.com", PASSWORD)
            assert answer.status_code in (401, 429)
            answer = await client.get("/console/sign-in")
            assert answer.status_code == 429
            assert int(answer.headers["retry-after"]) >= 1
            assert "text/html" in answer.headers["content-type"]
