"""People come in by email and password, and nobody else does."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from keyturn.server.console.frame import safe_next
from keyturn.server.domain.permissions import VIEWER
from tests.http.conftest import Running
from tests.http.console.conftest import PASSWORD, Console, sign_in


class TestSignIn:
    async def test_says_what_to_do_about_a_forgotten_password(self, service: Running) -> None:
        page = (await service.client.get("/console/sign-in")).text
        assert "Forgot your password? Ask whoever runs this service" in page
        assert "keyturn recover --username … --password" in page

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

    async def test_signing_out_is_told_with_the_address(self, console: Console) -> None:
        await console.post("/console/sign-out", form="/console/tenants")
        service = console.service
        answer = await service.administer(
            "GET", "/audit-events?action=user.signed_out", console.tenant
        )
        (event,) = answer.json()["items"]
        assert event["actor"]["user_id"] == console.user.id
        assert event["actor"]["address"] == "127.0.0.1"

    async def test_the_page_of_a_code_loaded_anew_begins_anew(self, console: Console) -> None:
        answer = await console.get("/console/sign-in/code")
        assert answer.headers["location"] == "/console/sign-in"

    async def test_a_stale_step_begins_anew(self, console: Console) -> None:
        console.client.cookies.clear()
        fields = {"step": "old", "code": "123456", "next": "/console/tenants"}
        answer = await console.post("/console/sign-in/code", fields, form="/console/sign-in")
        assert answer.status_code == 401
        assert "sign in again" in answer.text
        assert 'name="next" value="/console/tenants"' in answer.text
        assert 'name="password"' in answer.text
        assert "123456" not in answer.text


Start = Callable[..., Awaitable[Running]]


class TestTooOften:
    @pytest.mark.parametrize("limit", ["limit_failures_per_address", "limit_failures_per_username"])
    async def test_the_page_says_when(self, start: Start, limit: str) -> None:
        service = await start(**{limit: "2/hour"})
        base_url = service.settings.public_url
        transport = service.client._transport
        async with httpx.AsyncClient(transport=transport, base_url=base_url) as client:
            answers = [await sign_in(client, "ada@example.com", "wrong") for _ in range(4)]
        assert answers[0].status_code == 401
        assert answers[-1].status_code == 429
        assert int(answers[-1].headers["retry-after"]) > 60
        assert "minutes." in answers[-1].text
        assert "Too often" in answers[-1].text


class TestNext:
    @pytest.mark.parametrize(
        "wanted",
        ["/console", "/console/account", "/console/t/1/api-keys?state=active", "/console?a=b"],
    )
    def test_inside_is_kept(self, wanted: str) -> None:
        assert safe_next(wanted) == wanted

    @pytest.mark.parametrize(
        "wanted",
        [
            "",
            "//example.org",
            "//[example.org",
            "https://example.org/console",
            "/iam/users/me",
            "/consoles",
            "/console/../iam",
            "/console/%2e%2e/iam",
            "/console/\\example.org",
            "/console/sign-in",
            "/console/a\r\nb",
            "javascript:alert(1)",
            "/console/" + "x" * 2_000,
        ],
    )
    def test_outside_is_not(self, wanted: str) -> None:
        assert safe_next(wanted) == "/console"


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
        service: Running = await start(limit_failures_per_address="5/hour")
        async with httpx.AsyncClient(
            transport=service.client._transport, base_url=service.settings.public_url
        ) as client:
            for number in range(8):
                answer = await sign_in(client, f"nobody{number}@example.com", PASSWORD)
                assert answer.status_code in (401, 429)
            answer = await client.get("/console/sign-in")
            assert answer.status_code == 429
            assert int(answer.headers["retry-after"]) >= 1
            assert "text/html" in answer.headers["content-type"]


class TestForgottenCookie:
    async def test_shuts_nobody_out_and_is_taken_away(self, start: Callable[..., Any]) -> None:
        service: Running = await start(limit_failures_per_address="3/hour")
        cookie = service.service.entrance.signing_in._cookies.new("0" * 22, 1).text
        async with httpx.AsyncClient(
            transport=service.client._transport,
            base_url=service.settings.public_url,
            cookies={"keyturn": cookie},
        ) as client:
            for _ in range(8):
                answer = await client.get(
                    "/console/tenants", headers={"cookie": f"keyturn={cookie}"}
                )
                assert answer.status_code == 303
                assert 'keyturn="";' in answer.headers["set-cookie"]
        assert (await service.exchange())["access_token"]
