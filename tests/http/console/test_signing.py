"""People come in by email and password, and nobody else does."""

from __future__ import annotations

from keyturn.server.domain.permissions import VIEWER
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
