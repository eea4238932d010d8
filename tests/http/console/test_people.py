"""Members and invitations at the console."""

from __future__ import annotations

import html
import re

import httpx
import pytest

from keyturn.server.domain.permissions import EDITOR, TENANT_ADMIN, VIEWER
from keyturn.server.mail import LogMailer
from keyturn.server.services.ports import Mail
from tests.http.conftest import Running
from tests.http.console.conftest import PASSWORD, SAME_ORIGIN, Console, Enter, sign_in
from tests.http.management.conftest import person
from tests.http.management.test_invitations import expired

ADA = "ada@example.com"
_LINK = re.compile(r'value="([^"]*/console/invitation#code=(kti_[0-9A-Za-z]{43}))"')


async def offered(console: Console, email: str = ADA, **fields: str) -> tuple[str, str]:
    """Invites; gives the code, and the page that shows it."""
    new = {"email": email, "role_id": VIEWER.id, "expires_in": "86400", **fields}
    answer = await console.post("/invitations/new", new)
    assert answer.status_code == 200, answer.text
    found = _LINK.search(html.unescape(answer.text))
    assert found, answer.text
    return found[2], answer.text


def visitor(console: Console) -> httpx.AsyncClient:
    """Another browser."""
    return httpx.AsyncClient(
        transport=console.service.client._transport, base_url=console.service.settings.public_url
    )


async def accept(client: httpx.AsyncClient, **fields: str) -> httpx.Response:
    """Sends the form of the page to accept an invitation at."""
    shown = await client.get("/console/invitation")
    hidden = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', shown.text))
    return await client.post("/console/invitation", data={**hidden, **fields}, headers=SAME_ORIGIN)


class TestMembers:
    async def test_are_listed_with_their_roles(self, console: Console) -> None:
        text = await console.page("/members")
        assert console.user.username in text
        assert "tenant-admin" in text
        assert "person" in text

    async def test_names_are_escaped(self, console: Console) -> None:
        await console.rest.post("/service-users", {"name": "<b>bot</b>", "role_id": VIEWER.id})
        for path in ("/members", "/members/add"):
            text = await console.page(path)
            assert "&lt;b&gt;bot&lt;/b&gt;" in text
            assert "<b>bot" not in text

    async def test_a_user_is_found_and_given_a_role(self, console: Console) -> None:
        new = {"name": "gateway", "role_id": VIEWER.id}
        robot = (await console.rest.post("/service-users", new)).json()
        await console.rest.post("/service-users", {"name": "printer", "role_id": VIEWER.id})
        found = await console.page("/members/add?query=GATE")
        assert "gateway" in found
        assert "printer" not in found
        form = f"/members/add?user_id={robot['id']}"
        assert "gateway" in await console.page(form)
        fields = {"role_id": EDITOR.id}
        text = await console.done("/members/add", fields, form=form)
        assert "editor" in text
        member = (await console.rest.get(f"/members/{robot['id']}")).json()
        assert {role["role_name"] for role in member["roles"]} == {"viewer", "editor"}

    async def test_a_stranger_is_refused_at_the_field(
        self, service: Running, console: Console
    ) -> None:
        stranger = await person(service, VIEWER, service.globex)
        form = f"/members/add?user_id={stranger.user.id}"
        answer = await console.post("/members/add", {"role_id": VIEWER.id}, form=form)
        assert answer.status_code == 400
        assert "Others are invited" in answer.text
        assert stranger.user.username not in answer.text

    async def test_a_role_held_already_is_refused(self, console: Console) -> None:
        form = f"/members/add?user_id={console.user.id}"
        answer = await console.post("/members/add", {"role_id": TENANT_ADMIN.id}, form=form)
        assert answer.status_code == 400
        assert 'role="alert"' in answer.text

    async def test_a_role_is_taken_away(self, service: Running, console: Console) -> None:
        new = {"name": "gateway", "role_id": VIEWER.id}
        robot = (await console.rest.post("/service-users", new)).json()
        await console.rest.post("/members", {"user_id": robot["id"], "role_id": EDITOR.id})
        at = f"/members/{robot['id']}/roles/{EDITOR.id}/take"
        assert "new ones carry the other roles" in await console.page(at)
        await console.done(at)
        member = (await console.rest.get(f"/members/{robot['id']}")).json()
        assert [role["role_name"] for role in member["roles"]] == ["viewer"]
        at = f"/members/{robot['id']}/roles/{VIEWER.id}/take"
        assert "a member no more" in await console.page(at)
        await console.done(at)
        assert (await console.rest.get(f"/members/{robot['id']}")).status_code == 404

    @pytest.mark.parametrize("act", ["remove", f"roles/{TENANT_ADMIN.id}/take"])
    async def test_the_last_administrator_stays(
        self, service: Running, enter: Enter, act: str
    ) -> None:
        alone = await enter(TENANT_ADMIN, service.globex)
        members = (await alone.rest.get("/members")).json()["items"]
        for other in members:
            if other["user_id"] != alone.user.id:
                await alone.rest.delete(f"/members/{other['user_id']}")
        at = f"/members/{alone.user.id}/{act}"
        assert "this is you" in await alone.page(at)
        answer = await alone.post(at)
        assert answer.status_code == 400
        assert "last administrator stays" in html.unescape(answer.text)

    @pytest.mark.parametrize(
        ("settled", "said"),
        [(None, "made here stay"), ("disable", "disabled"), ("delete", "deleted")],
    )
    async def test_removing_says_what_the_policy_ends(
        self, service: Running, console: Console, settled: str | None, said: str
    ) -> None:
        if settled:
            policy = await console.rest.get(f"/tenants/{console.tenant}/policy")
            body = {**policy.json()["policy"], "offboarding": settled}
            etag = policy.headers["etag"]
            answer = await console.rest.put(
                f"/tenants/{console.tenant}/policy", body, headers={"if-match": etag}
            )
            assert answer.status_code == 200, answer.text
        leaving = await person(service, EDITOR, console.tenant)
        at = f"/members/{leaving.user.id}/remove"
        text = html.unescape(await console.page(at))
        assert "the role editor" in text
        assert said in text
        await console.done(at)
        assert (await console.rest.get(f"/members/{leaving.user.id}")).status_code == 404

    async def test_a_viewer_reads_and_is_offered_nothing(self, enter: Enter) -> None:
        viewer = await enter(VIEWER)
        text = await viewer.page("/members")
        assert "/members/add" not in text
        assert "/invitations/new" not in text
        text = await viewer.page(f"/members/{viewer.user.id}")
        assert "Take away" not in text
        for path in ("/members/add", f"/members/{viewer.user.id}/remove", "/invitations/new"):
            assert (await viewer.get(path)).status_code == 403


class TestInvitations:
    async def test_the_code_is_shown_once_as_a_link(self, console: Console) -> None:
        code, text = await offered(console)
        assert f"{console.service.settings.public_url}/console/invitation#code={code}" in text
        assert "No letter went out" in text
        listed = await console.page("/invitations")
        assert ADA in listed
        assert "you" in listed
        assert code not in listed

    async def test_it_says_that_a_letter_went_out(
        self, console: Console, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        sent: list[Mail] = []

        async def send(_: LogMailer, mail: Mail) -> bool:
            sent.append(mail)
            return True

        monkeypatch.setattr(LogMailer, "send", send)
        code, text = await offered(console)
        assert "A letter with this link went to ada@example.com" in text
        assert f"/console/invitation#code={code}\n" in sent[0].text

    async def test_refusals_stand_at_their_fields(self, console: Console) -> None:
        answer = await console.post("/invitations/new", {"email": "ada", "role_id": VIEWER.id})
        assert answer.status_code == 400
        assert 'id="e-email"' in answer.text
        assert 'value="ada"' in answer.text
        answer = await console.post("/invitations/new", {"email": ADA})
        assert 'id="e-role_id"' in answer.text
        await offered(console)
        again = await console.post("/invitations/new", {"email": ADA, "role_id": VIEWER.id})
        assert again.status_code == 400

    async def test_one_is_withdrawn(self, console: Console) -> None:
        code, _ = await offered(console)
        [offer] = (await console.rest.get("/invitations")).json()["items"]
        at = f"/invitations/{offer['id']}/withdraw"
        assert ADA in await console.page(at)
        text = await console.done(at)
        assert "No invitation waits" in text
        assert ADA in await console.page("/invitations?state=withdrawn")
        assert (await console.post(at)).status_code == 409
        async with visitor(console) as client:
            answer = await accept(client, code=code, password=PASSWORD, again=PASSWORD)
        assert 'id="e-code"' in answer.text


class TestOffer:
    async def test_is_told_before_a_password_is_asked_for(self, console: Console) -> None:
        code, _ = await offered(console)
        async with visitor(console) as client:
            assert 'name="password"' not in (await client.get("/console/invitation")).text
            answer = await accept(client, code=code)
        assert answer.status_code == 200
        assert answer.headers["cache-control"] == "no-store"
        for told in (console.user.display_name, "acme", "viewer", 'name="password"'):
            assert told in answer.text
        assert ADA not in answer.text
        assert 'value="new" checked' in answer.text
        [offer] = (await console.rest.get("/invitations")).json()["items"]
        assert offer["state"] == "pending"

    async def test_of_a_bad_code_is_told_nothing(self, console: Console) -> None:
        code, _ = await offered(console)
        async with visitor(console) as client:
            answer = await accept(client, code=code[:-1] + ("a" if code[-1] != "a" else "b"))
        assert answer.status_code == 400
        assert 'id="e-code">The code is not valid, or not any more.' in answer.text
        assert 'name="password"' not in answer.text
        assert "acme" not in answer.text


class TestAcceptance:
    async def test_somebody_new_comes_in(self, console: Console) -> None:
        code, _ = await offered(console)
        fields = {"account": "new", "name": "Ada <1>", "password": PASSWORD, "again": PASSWORD}
        async with visitor(console) as client:
            answer = await accept(client, code=code, **fields)
            assert answer.status_code == 200, answer.text
            wanted = f"/console/t/{console.tenant}"
            assert f'href="/console/sign-in?next={wanted}"' in answer.text
            assert (await sign_in(client, ADA, PASSWORD)).status_code == 303
            assert (await client.get(f"{wanted}/members")).status_code == 200
        assert "Ada &lt;1&gt;" in await console.page("/members")

    async def test_the_whole_link_is_taken_for_its_code(self, console: Console) -> None:
        code, _ = await offered(console)
        link = f"{console.service.settings.public_url}/console/invitation#code={code}"
        async with visitor(console) as client:
            answer = await accept(client, code=link, password=PASSWORD, again=PASSWORD)
        assert answer.status_code == 200

    async def test_who_has_an_account_gives_its_password(
        self, service: Running, console: Console, enter: Enter
    ) -> None:
        code, _ = await offered(console)
        elsewhere = await enter(TENANT_ADMIN, service.globex)
        async with visitor(console) as client:
            await accept(client, code=code, password=PASSWORD, again=PASSWORD)
            await sign_in(client, ADA, PASSWORD)
            code, _ = await offered(elsewhere)
            fields = {"code": code, "account": "known"}
            answer = await accept(client, **fields, password=PASSWORD + "x")
            assert answer.status_code == 400
            assert 'id="e-code"' in answer.text
            # In the browser where the person is signed in, the way goes on at once.
            answer = await accept(client, **fields, password=PASSWORD)
            assert f'href="/console/t/{service.globex}"' in answer.text
            there = await client.get(f"/console/t/{service.globex}/members")
            assert there.status_code == 200

    async def test_in_somebody_elses_browser_it_says_so(self, console: Console) -> None:
        code, _ = await offered(console)
        answer = await accept(console.client, code=code, password=PASSWORD, again=PASSWORD)
        assert "signed in as somebody else" in answer.text

    @pytest.mark.parametrize(
        ("change", "field"),
        [
            ({"password": "short", "again": "short"}, "password"),
            ({"password": "ada@example.com", "again": "ada@example.com"}, "password"),
            ({"again": "another one of mine"}, "again"),
            ({"code": "kti_" + "x" * 43}, "code"),
            ({"code": "x" * 300}, "code"),
            ({"name": "a\x07b"}, "name"),
        ],
    )
    async def test_refusals_stand_at_their_fields(
        self, console: Console, change: dict[str, str], field: str
    ) -> None:
        code, _ = await offered(console)
        fields = {"code": code, "name": "Ada", "password": PASSWORD, "again": PASSWORD, **change}
        async with visitor(console) as client:
            answer = await accept(client, **fields)
        assert answer.status_code == 400
        assert f'id="e-{field}"' in answer.text
        assert PASSWORD not in answer.text

    async def test_an_expired_code_is_refused(self, console: Console) -> None:
        code = f"kti_{await expired(console.rest)}"
        async with visitor(console) as client:
            answer = await accept(client, code=code, password=PASSWORD, again=PASSWORD)
        assert answer.status_code == 400
        assert 'id="e-code"' in answer.text
        assert "expired" in await console.page("/invitations?state=expired")
        assert ADA not in await console.page("/invitations")
