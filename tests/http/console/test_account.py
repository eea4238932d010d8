"""What people do about themselves at the console."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import httpx
import pyotp
import pytest
import segno

from keyturn.server.console.account.agents import in_words
from keyturn.server.console.account.qr import QUIET, picture
from keyturn.server.domain.permissions import TENANT_ADMIN, VIEWER
from keyturn.server.domain.sign_ins import IDLE
from tests.http.console.conftest import PASSWORD, SAME_ORIGIN, Console, Enter, sign_in

ACCOUNT = "/console/account"
FACTOR = f"{ACCOUNT}/second-factor"
KEYS = f"{ACCOUNT}/api-keys"
NEW_PASSWORD = "a lamp that hums at noon"

_HIDDEN = re.compile(r'<input type="hidden" name="(\w+)" value="([^"]*)">')


async def elsewhere(console: Console, agent: str = "Mozilla/5.0 (Windows NT) Firefox/140.0") -> str:
    """The same person signs in from another browser; gives its cookie."""
    mine = dict(console.client.cookies)
    console.client.cookies.clear()
    agents = console.client.headers["user-agent"]
    console.client.headers["user-agent"] = agent
    await sign_in(console.client, console.user.username, PASSWORD)
    theirs = dict(console.client.cookies)
    console.client.headers["user-agent"] = agents
    console.client.cookies.clear()
    console.client.cookies.update(mine)
    return theirs["keyturn"]


async def signed_in(console: Console, cookie: str) -> bool:
    """Whether a browser with that cookie is let in."""
    mine = dict(console.client.cookies)
    console.client.cookies.clear()
    console.client.cookies["keyturn"] = cookie
    answer = await console.get("/console/tenants")
    console.client.cookies.clear()
    console.client.cookies.update(mine)
    return answer.status_code == 200


async def second_factor(console: Console) -> tuple[pyotp.TOTP, list[str]]:
    """Sets one up by the pages; gives the generator and the recovery codes."""
    shown = await console.page(f"{FACTOR}/set-up")
    secret = re.search(r'id="totp-secret">([A-Z2-7 ]+)<', shown)
    assert secret is not None
    generator = pyotp.TOTP(secret.group(1).replace(" ", ""))
    hidden = dict(_HIDDEN.findall(shown))
    now = console.service.clock()
    fields = {**hidden, "code": generator.at(now), "password": PASSWORD}
    answer = await console.client.post(f"{FACTOR}/set-up", data=fields, headers=SAME_ORIGIN)
    assert answer.status_code == 200, answer.text
    codes = re.search(r"<pre id=\"codes\"[^>]*>([^<]+)</pre>", answer.text)
    assert codes is not None
    return generator, codes.group(1).split()


class TestAccount:
    async def test_says_who_one_is(self, console: Console) -> None:
        text = await console.page(ACCOUNT)
        assert console.user.username in text
        assert console.user.display_name in text
        assert f"/console/t/{console.tenant}" in text

    async def test_is_there_without_any_role(self, enter: Enter) -> None:
        console = await enter(None)
        text = await console.page(ACCOUNT)
        assert "You hold no role in any tenant." in text
        for part in ("browsers", "second-factor", "api-keys", "sessions", "invitations"):
            await console.page(f"{ACCOUNT}/{part}")

    async def test_is_for_who_signed_in(self, console: Console) -> None:
        console.client.cookies.clear()
        answer = await console.get(f"{ACCOUNT}/browsers")
        assert answer.headers["location"] == "/console/sign-in?next=%2Fconsole%2Faccount%2Fbrowsers"


class TestBrowsers:
    async def test_are_told_in_words(self, console: Console) -> None:
        await elsewhere(console, "Mozilla/5.0 (<b>X11</b>; Linux x86_64) Firefox/140.0")
        text = await console.page(f"{ACCOUNT}/browsers")
        assert "Firefox on Linux" in text
        assert "An unknown browser" in text
        assert text.count("this one") == 1
        assert "&lt;b&gt;X11" in text

    async def test_one_is_signed_out(self, console: Console) -> None:
        cookie = await elsewhere(console)
        assert await signed_in(console, cookie)
        rows = (await console.page(f"{ACCOUNT}/browsers")).split("<tr>")
        row = next(row for row in rows if "Firefox on Windows" in row)
        path = row.partition('href="')[2].partition('"')[0]
        assert "Firefox on Windows, last used just now" in await console.page(path)
        assert "is signed out" in await console.done(path)
        assert not await signed_in(console, cookie)

    async def test_this_one_leads_out(self, console: Console) -> None:
        rows = (await console.page(f"{ACCOUNT}/browsers")).split("<tr>")
        row = next(row for row in rows if "this one" in row)
        answer = await console.post(row.partition('href="')[2].partition('"')[0])
        assert answer.headers["location"] == "/console/sign-in?done=signed-out"

    async def test_of_somebody_else_is_not_there(self, console: Console, enter: Enter) -> None:
        other = await enter()
        text = await other.page(f"{ACCOUNT}/browsers")
        path = re.findall(rf'href="({ACCOUNT}/browsers/[^"/]+/end)"', text)[0]
        assert (await console.get(path)).status_code == 404
        assert (await console.post(path, form=ACCOUNT)).status_code == 404
        await other.page(ACCOUNT)

    async def test_everywhere_else(self, console: Console) -> None:
        cookie = await elsewhere(console)
        assert "everywhere else" in await console.done(f"{ACCOUNT}/browsers/end-others")
        assert not await signed_in(console, cookie)
        await console.page(ACCOUNT)

    async def test_everywhere(self, console: Console) -> None:
        cookie = await elsewhere(console)
        mine = console.client.cookies["keyturn"]
        answer = await console.post(f"{ACCOUNT}/browsers/end-all")
        assert answer.headers["location"] == "/console/sign-in?done=signed-out-everywhere"
        taken = answer.headers.get_list("set-cookie")
        assert any(each.startswith('keyturn=""') and "Max-Age=0" in each for each in taken)
        assert not await signed_in(console, cookie)
        assert not await signed_in(console, mine)

    @pytest.mark.parametrize(
        ("agent", "words"),
        [
            (
                "Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 Chrome/140.0 Safari/537.36"
                " Edg/140.0",
                "Edge on Windows",
            ),
            (
                "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) Version/18.0 Safari/604.1",
                "Safari on an iPhone",
            ),
            (
                "Mozilla/5.0 (Linux; Android 15) Chrome/140.0 Mobile Safari/537.36",
                "Chrome on Android",
            ),
            ("curl/8.5.0", "curl"),
            ("Mozilla/5.0 (Macintosh)", "A browser on a Mac"),
            ("", "An unknown browser"),
        ],
    )
    def test_words(self, agent: str, words: str) -> None:
        assert in_words(agent) == words


class TestPassword:
    async def test_is_changed_and_others_are_signed_out(self, console: Console) -> None:
        cookie = await elsewhere(console)
        fields = {"current": PASSWORD, "new": NEW_PASSWORD, "again": NEW_PASSWORD}
        assert "is changed" in await console.done(f"{ACCOUNT}/password", fields)
        assert not await signed_in(console, cookie)
        console.client.cookies.clear()
        assert (await sign_in(console.client, console.user.username, PASSWORD)).status_code == 401
        answer = await sign_in(console.client, console.user.username, NEW_PASSWORD)
        assert answer.status_code == 303

    @pytest.mark.parametrize(
        ("fields", "fault"),
        [
            ({"current": "wrong"}, 'id="e-current"'),
            ({"new": "short", "again": "short"}, 'id="e-new"'),
            ({"again": "another"}, 'id="e-again"'),
        ],
    )
    async def test_what_is_wrong_is_said_at_its_field(
        self, console: Console, fields: dict[str, str], fault: str
    ) -> None:
        sent = {"current": PASSWORD, "new": NEW_PASSWORD, "again": NEW_PASSWORD} | fields
        answer = await console.post(f"{ACCOUNT}/password", sent)
        assert answer.status_code == 400
        assert fault in answer.text
        assert NEW_PASSWORD not in answer.text
        assert PASSWORD not in answer.text


class TestSecondFactor:
    async def test_is_set_up_and_asked_for(self, console: Console) -> None:
        assert "off" in await console.page(FACTOR)
        generator, codes = await second_factor(console)
        assert len(codes) == 10
        text = await console.page(FACTOR)
        assert "10 recovery codes are left" in text
        assert codes[0] not in text
        console.client.cookies.clear()
        asked = await sign_in(console.client, console.user.username, PASSWORD)
        assert asked.status_code == 200
        hidden = dict(_HIDDEN.findall(asked.text))
        later = console.service.clock() + timedelta(seconds=30)
        for code, status in (("000000", 401), (generator.at(later), 303)):
            answer = await console.client.post(
                "/console/sign-in/code", data={**hidden, "code": code}, headers=SAME_ORIGIN
            )
            assert answer.status_code == status
        assert answer.headers["location"] == "/console"

    async def test_the_picture_needs_no_style(self, console: Console) -> None:
        text = await console.page(f"{FACTOR}/set-up")
        assert "style=" not in text
        assert "<?xml" not in text
        assert '<path fill="#000" d="M' in text

    async def test_a_wrong_first_code_shows_the_same_secret_again(self, console: Console) -> None:
        shown = await console.page(f"{FACTOR}/set-up")
        hidden = dict(_HIDDEN.findall(shown))
        answer = await console.client.post(
            f"{FACTOR}/set-up",
            data={**hidden, "code": "12", "password": PASSWORD},
            headers=SAME_ORIGIN,
        )
        assert answer.status_code == 400
        assert 'id="e-code"' in answer.text
        secret = re.findall(r'id="totp-secret">([^<]+)<', shown)
        assert re.findall(r'id="totp-secret">([^<]+)<', answer.text) == secret

    async def test_a_wrong_password_shows_the_same_secret_again(self, console: Console) -> None:
        shown = await console.page(f"{FACTOR}/set-up")
        fields = {**dict(_HIDDEN.findall(shown)), "code": "123456", "password": NEW_PASSWORD}
        answer = await console.client.post(f"{FACTOR}/set-up", data=fields, headers=SAME_ORIGIN)
        assert answer.status_code == 400
        assert 'id="e-password"' in answer.text
        assert NEW_PASSWORD not in answer.text
        secret = re.findall(r'id="totp-secret">([^<]+)<', shown)
        assert re.findall(r'id="totp-secret">([^<]+)<', answer.text) == secret
        assert "Since" not in await console.page(FACTOR)

    async def test_set_up_signs_the_other_browsers_out(self, console: Console) -> None:
        cookie = await elsewhere(console)
        await second_factor(console)
        assert not await signed_in(console, cookie)
        await console.page(FACTOR)

    async def test_too_late_begins_anew(self, console: Console) -> None:
        fields = {"sealed": "something else", "code": "123456"}
        answer = await console.post(f"{FACTOR}/set-up", fields)
        assert answer.status_code == 400
        assert "begin again" in answer.text
        assert "something else" not in answer.text

    async def test_a_second_one_is_not_begun(self, console: Console) -> None:
        await second_factor(console)
        answer = await console.get(f"{FACTOR}/set-up")
        assert answer.headers["location"] == FACTOR

    async def test_new_codes_take_the_password(self, console: Console) -> None:
        _, codes = await second_factor(console)
        at = f"{FACTOR}/recovery-codes"
        refused = await console.post(at, {"password": "no"})
        assert refused.status_code == 400
        assert 'id="e-password"' in refused.text
        answer = await console.post(at, {"password": PASSWORD})
        assert answer.status_code == 200
        assert "data-secret" in answer.text
        assert codes[0] not in answer.text

    async def test_is_removed_with_the_password(self, console: Console) -> None:
        await second_factor(console)
        refused = await console.post(f"{FACTOR}/remove", {"password": "no"})
        assert 'id="e-password"' in refused.text
        text = await console.done(f"{FACTOR}/remove", {"password": PASSWORD})
        assert "no second factor any more" in text
        console.client.cookies.clear()
        answer = await sign_in(console.client, console.user.username, PASSWORD)
        assert answer.status_code == 303

    def test_the_picture_is_the_code_with_white_around(self) -> None:
        text = "otpauth://totp/Keyturn:ada?secret=ABCDEFGH"
        drawn = picture(text)
        black = {
            (int(x) + i, int(y))
            for x, y, width in re.findall(r"M(\d+) (\d+)h(\d+)v1", drawn.path)
            for i in range(int(width))
        }
        matrix = segno.make_qr(text, error="m").matrix
        dots = enumerate(list(row) for row in matrix)
        assert black == {
            (x + QUIET, y + QUIET) for y, row in dots for x, on in enumerate(row) if on
        }
        assert drawn.size == len(matrix) + 2 * QUIET


class TestKeys:
    async def test_one_is_made_used_renamed_rotated_and_revoked(self, console: Console) -> None:
        answer = await console.post(
            f"{KEYS}/new", {"name": "laptop <b>", "expires_in": "86400", "networks": ""}
        )
        assert answer.status_code == 200, answer.text
        secret = re.findall(r'id="secret" value="([^"]+)"', answer.text)[0]
        name = console.user.username
        assert f"username={name}" in answer.text
        service = console.service
        given = await service.token(grant_type="password", username=name, password=secret)
        assert given.status_code == 200
        page = await console.page(KEYS)
        assert "laptop &lt;b&gt;" in page
        assert secret not in page
        items = (await console.rest.get("/users/me/api-keys")).json()["items"]
        at = f"{KEYS}/{next(key['id'] for key in items if key['name'] == 'laptop <b>')}"
        assert "wherever you have roles" in await console.page(at)
        assert "desk" in await console.done(f"{at}/rename", {"name": "desk"})
        turned = await console.post(f"{at}/rotate", {"overlap_seconds": "0", "end_sessions": ""})
        assert turned.status_code == 200, turned.text
        other = re.findall(r'id="secret" value="([^"]+)"', turned.text)[0]
        assert other != secret
        assert f'href="{at}?done=api-key-kept"' in turned.text
        for text, status in ((secret, 400), (other, 200)):
            given = await service.token(grant_type="password", username=name, password=text)
            assert given.status_code == status
        assert "desk" in await console.page(f"{at}/revoke")
        assert "revoked" in await console.done(f"{at}/revoke")
        given = await service.token(grant_type="password", username=name, password=other)
        assert given.status_code == 400

    async def test_a_form_sent_twice_makes_one(self, console: Console) -> None:
        shown = await console.page(f"{KEYS}/new")
        fields = {**dict(_HIDDEN.findall(shown)), "name": "twice", "expires_in": "86400"}
        answers = [
            await console.client.post(f"{KEYS}/new", data=fields, headers=SAME_ORIGIN)
            for _ in range(2)
        ]
        first, second = (re.findall(r'id="secret" value="([^"]+)"', a.text) for a in answers)
        assert first == second
        assert len(first) == 1

    async def test_what_is_wrong_is_said_at_its_field(self, console: Console) -> None:
        fields = {"name": "laptop", "expires_in": "", "networks": "nowhere"}
        answer = await console.post(f"{KEYS}/new", fields)
        assert answer.status_code == 400
        assert 'id="e-networks"' in answer.text
        assert 'value="laptop"' in answer.text

    async def test_somebody_elses_is_not_there(self, console: Console, enter: Enter) -> None:
        other = await enter()
        key = (await other.rest.get("/users/me/api-keys")).json()["items"][0]
        for part in ("", "/rename", "/rotate", "/revoke"):
            assert (await console.get(f"{KEYS}/{key['id']}{part}")).status_code == 404


class TestSessions:
    async def test_one_is_ended(self, console: Console) -> None:
        service = console.service
        key = await service.add_key(
            user_id=console.user.id, home_tenant_id=console.user.home_tenant_id
        )
        tokens = await service.exchange(key=key, user=console.user.username)
        await service.refresh(tokens["refresh_token"])
        text = await console.page(f"{ACCOUNT}/sessions")
        path = re.findall(rf'href="({ACCOUNT}/sessions/[^"]+/end)"', text)[0]
        assert "has ended" in await console.done(path)
        assert path not in await console.page(f"{ACCOUNT}/sessions")
        assert "ended by you" in await console.page(f"{ACCOUNT}/sessions?ended=1")

    async def test_all_end_with_this_one(self, console: Console) -> None:
        answer = await console.post(f"{ACCOUNT}/sessions/end-all")
        assert answer.headers["location"] == "/console/sign-in?done=tokens-ended"
        assert (await console.rest.get("/users/me")).status_code == 401


@pytest.fixture
async def invited(console: Console) -> AsyncIterator[tuple[Console, str, str]]:
    """Somebody with a mail address, invited to globex: where it is answered, and the code."""
    service, email = console.service, f"ada-{console.user.id}@example.com"
    transport, base_url = service.client._transport, service.settings.public_url
    codes = []
    for tenant in (service.acme, service.globex):
        offer = {"email": email, "role_id": VIEWER.id}
        made = await service.administer("POST", "/invitations", tenant, json=offer)
        assert made.status_code == 201, made.text
        codes.append(made.json())
    async with httpx.AsyncClient(transport=transport, base_url=base_url) as client:
        body = {"code": codes[0]["code"], "password": PASSWORD}
        joined = await client.post("/iam/invitations/accept", json=body)
        assert joined.status_code == 201, joined.text
        assert (await sign_in(client, email, PASSWORD)).status_code == 303
        person = replace(console, client=client)
        yield person, f"{ACCOUNT}/invitations/{codes[1]['id']}", codes[1]["code"]


class TestInvitations:
    async def test_one_is_accepted_by_its_code(self, invited: tuple[Console, str, str]) -> None:
        person, at, code = invited
        assert "1 invitation to answer" in await person.page(ACCOUNT)
        wrong = await person.post(f"{at}/accept", {"code": "kti_no"})
        assert wrong.status_code == 400
        assert 'id="e-code"' in wrong.text
        text = await person.done(f"{at}/accept", {"code": code})
        assert f"/console/t/{person.service.globex}" in text

    async def test_one_is_declined(self, invited: tuple[Console, str, str]) -> None:
        person, at, _ = invited
        assert "You declined" in await person.done(f"{at}/decline")
        assert (await person.get(f"{at}/accept")).status_code == 409


class TestLeaving:
    async def test_a_tenant(self, invited: tuple[Console, str, str]) -> None:
        person, at, code = invited
        await person.done(f"{at}/accept", {"code": code})
        leave = f"{ACCOUNT}/tenants/{person.service.globex}/leave"
        assert "your roles there: viewer" in await person.page(leave)
        assert "You left" in await person.done(leave)
        again = await person.post(leave)
        assert again.status_code == 409
        assert "no role in this tenant itself" in again.text

    async def test_is_offered_where_a_role_is_held_itself(self, enter: Enter) -> None:
        first = await enter()
        below = (await first.rest.post("/tenants", {"name": "below"})).json()["id"]
        console = await enter()
        roles = (await console.rest.get("/users/me?held=true")).json()["roles"]
        assert {role["tenant_id"]: role["held_here"] for role in roles} == {
            console.tenant: True,
            below: False,
        }
        assert "held_here" not in (await console.rest.get("/users/me")).text
        page = await console.page(ACCOUNT)
        assert f"/tenants/{console.tenant}/leave" in page
        assert f"/tenants/{below}/leave" not in page
        assert f'<span class="quiet">from {roles[0]["tenant_name"]}</span>' in page
        shown = await console.get(f"{ACCOUNT}/tenants/{below}/leave")
        assert shown.status_code == 409
        assert "There is nothing to leave in below" in shown.text

    async def test_the_last_administrator_stays(self, enter: Enter, console: Console) -> None:
        made = await console.rest.post("/tenants", {"name": "small"})
        assert made.status_code == 201, made.text
        alone = await enter(TENANT_ADMIN, made.json()["id"])
        answer = await alone.post(f"{ACCOUNT}/tenants/{alone.tenant}/leave")
        assert answer.status_code == 400
        assert 'id="faults"' in answer.text


class TestPolling:
    @pytest.mark.parametrize(
        ("path", "headers", "status"),
        [
            ("/audit?live=1", {"hx-request": "true"}, 204),
            ("/audit?live=1", {}, 200),
            ("/audit", {"hx-request": "true"}, 200),
        ],
    )
    async def test_keeps_no_sign_in_alive(
        self, console: Console, path: str, headers: dict[str, str], status: int
    ) -> None:
        service = console.service
        half = IDLE / 2 + timedelta(minutes=1)
        service.clock.shift += half
        assert (await console.get(path, headers=headers)).status_code == 200
        await service.service.usage.flush()
        service.clock.shift += half
        answer = await console.get("/audit", headers={"hx-request": "true"})
        assert answer.status_code == status
