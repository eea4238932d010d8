"""What is tried against consoles, one class each."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import closing
from urllib.parse import quote

import httpx
import pytest

from keyturn.server.console.frame import POLICY, View, safe_next
from keyturn.server.domain.ids import new_id
from keyturn.server.domain.permissions import VIEWER
from tests.http.conftest import Running
from tests.http.console import walk
from tests.http.console.conftest import PASSWORD, SAME_ORIGIN, Console, Enter, sign_in
from tests.http.console.markup import read
from tests.http.console.test_access import planted
from tests.http.management.keys import made as made_key
from tests.secret_scan import scan_for_secrets

Start = Callable[..., Awaitable[Running]]

#: Ends attributes and texts of any kind, and would be code in most places of a page.
HOSTILE = "\"><script>alert('x')</script>' onmouseover='x' javascript:alert(1) {{7*7}} <!-- -->"
#: What is left of it where it is harmless.
ESCAPED = "&lt;script&gt;"
#: Parameters that pages take in their addresses, and some that they do not.
PARAMETERS = (
    *(
        "done",
        "query",
        "cursor",
        "next",
        "state",
        "kind",
        "subject",
        "user_id",
        "api_key_id",
        "rows",
    ),
    *("after", "period", "like", "name", "description", "action", "actor", "target", "since"),
    *("until", "live", "below", "expires", "unused", "q", "token", "tab", "from", "to", "nothing"),
)


def harmless(answer: httpx.Response, what: object) -> None:
    """The page has nothing in it but what the console wrote."""
    if answer.headers.get("content-type", "").startswith("text/html"):
        found = read(answer.text)
        assert not found.wrong, (what, found.wrong)
        assert "<script>alert" not in answer.text, what
        assert "49 <!--" not in answer.text, what


def stored(service: Running, hostile: str) -> None:
    """Puts that text into whatever people can name or describe, whatever the API takes."""
    texts = {
        "tenants": ("name",),
        "users": ("display_name", "description"),
        "roles": ("name", "description"),
        "permissions": ("description",),
        "endpoints": ("service", "path", "name"),
        "resource_servers": ("name", "identifier"),
        "webhooks": ("name", "url"),
        "api_keys": ("name", "last_used_from"),
        "invitations": ("email",),
        "sessions": ("last_used_from", "end_reason"),
    }
    path = service.settings.database_url.get_secret_value().partition("///")[2]
    with closing(sqlite3.connect(path)) as connection, connection:
        for table, columns in texts.items():
            for column in columns:
                # What must be unique stays so by its beginning.
                connection.execute(
                    f"UPDATE {table} SET {column} = substr(hex(randomblob(4)), 1, 6) || ?",
                    (hostile,),
                )
        connection.execute(
            "INSERT INTO audit_events SELECT ?, at, ?, ?, ?, key_id, session_id, ?, tenant_id, ?, ?"
            " FROM audit_events WHERE tenant_id IS NOT NULL ORDER BY at DESC LIMIT 1",
            (new_id(), *[hostile] * 5, '{"a": "</code></pre><script>alert(1)</script>"}'),
        )


class TestScripts:
    async def test_nothing_stored_becomes_markup(self, service: Running, enter: Enter) -> None:
        admin = await enter()
        made = await planted(admin)
        await admin.rest.post("/service-users", {"name": "x", "description": HOSTILE})
        stored(service, HOSTILE)
        for who in (admin, await enter(tenant=service.demo.platform.tenant.id)):
            who.tenant = service.acme
            shown = 0
            for view in walk.views(service):
                if view.method != "GET":
                    continue
                for more in ("", f"?user_id={made['user_id']}"):
                    path = walk.address(view, service.acme, **made)
                    answer = await who.client.get(path + more)
                    harmless(answer, view)
                    shown += ESCAPED in answer.text
            assert shown > 10

    async def test_a_browser_with_a_hostile_name(self, console: Console, service: Running) -> None:
        service.client.cookies.clear()
        service.client.headers["user-agent"] = HOSTILE
        assert (await sign_in(service.client, console.user.username, PASSWORD)).status_code == 303
        for view in walk.views(service):
            if view.method == "GET":
                harmless(await console.client.get(walk.address(view, service.acme)), view)

    async def test_nothing_in_an_address_becomes_markup(self, console: Console) -> None:
        asked = dict.fromkeys(PARAMETERS, HOSTILE)
        for view in walk.views(console.service):
            if view.method != "GET":
                continue
            path = walk.address(view, console.tenant)
            answer = await console.client.get(path, params=asked)
            harmless(answer, view)
            # Where one of them is refused, nobody has looked at the others.
            taken = answer.status_code == 200 and 'id="faults"' not in answer.text
            for name in () if taken else PARAMETERS:
                answer = await console.client.get(path, params={name: HOSTILE})
                assert answer.status_code < 500, (view, name)
                harmless(answer, (view, name))
            hostile = re.findall(r"{(\w+)}", view.path)
            for name in hostile:
                where = {"tenant_id": console.tenant} | {name: HOSTILE}
                answer = await console.client.get(walk.address(view, **where))
                assert answer.status_code < 500, (view, name)
                harmless(answer, (view, name))

    async def test_nothing_in_a_form_becomes_markup(
        self, console: Console, service: Running
    ) -> None:
        made = await planted(console)
        echoed = 0
        for view in walk.views(service):
            if view.method != "POST" or view.path == "/sign-out":
                continue
            path = walk.address(view, service.acme, **made)
            page = await console.client.get(path, params={"user_id": made["user_id"]})
            fields = read(page.text).fields if page.status_code == 200 else {}
            # Each field alone is hostile in one try, all of them in another.
            data = dict.fromkeys({**fields, "next": "", "username": "", "step": ""}, HOSTILE)
            answer = await walk.ask(console, view, path, **{**data, "csrf": walk.token_of(console)})
            assert answer.status_code < 500, (view, answer.text)
            harmless(answer, view)
            echoed += ESCAPED in answer.text
            if not walk.cookie_of(console.client):
                await sign_in(console.client, console.user.username, PASSWORD)
        assert echoed > 5

    async def test_faults_show_nothing_of_the_request(self, console: Console) -> None:
        for path in (
            f"/console/{quote(HOSTILE, safe='')}",
            f"/console/t/{quote(HOSTILE, safe='')}",
        ):
            for method in ("GET", "POST", "DELETE"):
                answer = await console.client.request(method, path, headers=SAME_ORIGIN)
                assert answer.status_code in (400, 403, 404, 405, 415)
                harmless(answer, path)
                assert "alert" not in answer.text

    async def test_what_is_secret_is_not_written_back_into_a_form(
        self, console: Console, service: Running
    ) -> None:
        secret = "correct horse battery staple"
        for view in walk.views(service):
            if view.method != "POST" or view.path == "/sign-out":
                continue
            path = walk.address(view, service.acme)
            client = service.client if view.public else console.client
            page = await client.get(path)
            fields = read(page.text).fields if page.status_code == 200 else {}
            hidden = {n for n, kind in fields.items() if kind == "password"} | {"pem", "api_key"}
            data = dict.fromkeys(hidden, secret) | {"csrf": csrf_of(page.text)}
            answer = await client.post(path, data=data, headers=SAME_ORIGIN)
            assert secret not in answer.text, view


def csrf_of(page: str) -> str:
    found = re.search(r'name="csrf" value="([^"]*)"', page)
    return found[1] if found else ""


def forms(service: Running) -> list[View]:
    return [view for view in walk.views(service) if view.method == "POST"]


class TestForgedForms:
    @pytest.mark.parametrize(
        "headers",
        [
            {"sec-fetch-site": "cross-site"},
            {"sec-fetch-site": "same-site"},
            {"sec-fetch-site": "cross-site", "origin": "http://127.0.0.1:8080"},
            {"sec-fetch-site": "Same-Origin, cross-site"},
            {"origin": "https://evil.example"},
            {"origin": "http://127.0.0.1:8080.evil.example"},
            {"origin": "https://127.0.0.1:8080"},
            {"origin": "http://127.0.0.1"},
            {"origin": ""},
        ],
    )
    async def test_another_site_is_refused_even_with_the_right_token(
        self, console: Console, service: Running, headers: dict[str, str]
    ) -> None:
        made = await planted(console)
        before = await walk.rows(service)
        for view in forms(service):
            path = walk.address(view, service.acme, **made)
            data = {"csrf": walk.token_of(console)}
            answer = await console.client.post(path, data=data, headers=headers)
            assert answer.status_code == 403, view
            assert "set-cookie" not in answer.headers
        assert await walk.rows(service) == before

    async def test_no_token_or_anothers_is_refused(
        self, console: Console, enter: Enter, service: Running
    ) -> None:
        other = await enter(tenant=service.globex)
        made = await planted(console)
        page = await service.client.get("/console/sign-in")
        visitors = csrf_of(page.text)
        mine = walk.token_of(console)
        before = await walk.rows(service)
        wrong: tuple[dict[str, str], ...] = (
            *({}, {"csrf": ""}, {"csrf": walk.token_of(other)}, {"csrf": visitors}),
            *({"csrf": mine[:-1]}, {"csrf": mine + "x"}, {"csrf": f" {mine[:-2]}"}),
            {"csrf": walk.cookie_of(console.client)},
        )
        for view in forms(service):
            path = walk.address(view, service.acme, **made)
            for data in wrong:
                answer = await console.client.post(path, data=data, headers=SAME_ORIGIN)
                assert answer.status_code in (403, 415), (view, data)
        assert await walk.rows(service) == before

    async def test_the_visitors_token_that_is_planted_with_a_cookie_signs_nobody_in_elsewhere(
        self, service: Running, console: Console
    ) -> None:
        """Two values that agree are not enough: another site's page is refused by what it is."""
        service.client.cookies.set("keyturn-visitor", "planted")
        data = {"csrf": "planted", "username": console.user.username, "password": PASSWORD}
        for headers in ({"sec-fetch-site": "cross-site"}, {"origin": "https://evil.example"}):
            answer = await service.client.post("/console/sign-in", data=data, headers=headers)
            assert answer.status_code == 403

    async def test_looking_changes_nothing(self, console: Console, service: Running) -> None:
        made = await planted(console)
        exported = "/t/{tenant_id}/audit/export"  # the trail says who took it along
        before = await walk.rows(service)
        for view in walk.views(service):
            if view.method != "GET" or view.path == exported:
                continue
            path = walk.address(view, service.acme, **made)
            for method in ("GET", "HEAD"):
                answer = await console.client.request(
                    method, path, params={"user_id": made["user_id"], "go": "yes", "force": "yes"}
                )
                assert answer.status_code < 500
        assert await walk.rows(service) == before

    async def test_a_form_is_taken_by_no_other_method(
        self, console: Console, service: Running
    ) -> None:
        gets = {view.path for view in walk.views(service) if view.method == "GET"}
        for view in forms(service):
            for method in ("GET", "HEAD", "PUT", "PATCH", "DELETE"):
                if method in ("GET", "HEAD") and view.path in gets:
                    continue
                path = walk.address(view, service.acme)
                answer = await console.client.request(
                    method, path, params={"csrf": walk.token_of(console)}
                )
                assert answer.status_code in (404, 405), (view, method)


class TestFrames:
    async def test_no_answer_may_be_framed_or_taken_for_what_it_is_not(
        self, console: Console, service: Running
    ) -> None:
        paths = [
            *(walk.address(view, service.acme) for view in walk.views(service)),
            *("/", "/console", "/console/nothing", "/console/t/nothing", "/console/assets/nothing"),
        ]
        page = await console.get("/console/tenants")
        paths += [link for link in read(page.text).links if "/assets/" in link]
        assert any("/assets/console.js" in path for path in paths)
        for path in paths:
            for client in (console.client, service.client):
                for method in ("GET", "POST", "DELETE"):
                    answer = await client.request(method, path)
                    headers = answer.headers
                    policy = headers["content-security-policy"]
                    assert "frame-ancestors 'none'" in policy, (method, path)
                    assert headers["x-content-type-options"] == "nosniff"
                    assert headers["referrer-policy"] == "no-referrer"
                    assert headers["cross-origin-resource-policy"] == "same-origin"
                    if path.startswith("/console") and "/assets/" not in path:
                        assert policy == POLICY, (method, path, answer.status_code)
                        assert headers["cache-control"] == "no-store", (method, path)

    async def test_the_policy_lets_nothing_in_a_page_run(self) -> None:
        rules = dict(part.strip().split(" ", 1) for part in POLICY.split(";"))
        assert rules == {
            "default-src": "'none'",
            "script-src": "'self'",
            "style-src": "'self'",
            "img-src": "'self' data:",
            "connect-src": "'self'",
            "form-action": "'self'",
            "frame-ancestors": "'none'",
            "base-uri": "'none'",
        }


ELSEWHERE = (
    *(
        "//evil.example",
        "///evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "/console\\@evil",
    ),
    *("https://evil.example", "http:evil.example", "HTTPS://evil.example/console", "javascript:x"),
    *(
        "data:text/html,x",
        "/console\r\nLocation: https://evil.example",
        "/console/\nx",
        "/console/\tx",
    ),
    *("%2f%2fevil.example", "/%2fevil.example", "/console%0d%0aX-A: b", "/\u2044evil.example"),
    *("/console/\u2025", "https:/console", "//console/", "/consolex", "/console@evil.example"),
    *(
        "/iam/auth/token",
        "/console.evil.example",
        " //evil.example",
        "\x00//evil.example",
        "?x",
        "",
    ),
    *("/console/" + "x" * 2000, "/console/sign-out", "/console/sign-in?next=/console/sign-in"),
    *("/console/..//evil.example", "/console/../../evil", "/console/..;/x", "/console/./sign-in"),
)


class TestRedirects:
    @pytest.mark.parametrize("wanted", ELSEWHERE)
    def test_lead_nowhere_else(self, wanted: str) -> None:
        assert safe_next(wanted) in ("/console", "/console%0d%0aX-A: b") or stays(safe_next(wanted))

    async def test_of_the_page_and_the_form_to_sign_in(
        self, console: Console, service: Running
    ) -> None:
        page = await service.client.get("/console/sign-in")
        for wanted in ELSEWHERE:
            # Who is signed in goes on at once.
            asked = f"/console/sign-in?next={quote(wanted, safe='')}"
            answer = await console.client.get(asked)
            assert stays(answer.headers["location"]), wanted
            shown = read((await service.client.get(asked)).text)
            assert not shown.wrong
        for wanted in ELSEWHERE[:4]:
            service.client.cookies.delete("keyturn") if walk.cookie_of(service.client) else None
            page = await service.client.get("/console/sign-in")
            data = {
                **{"csrf": csrf_of(page.text), "next": wanted},
                **{"username": console.user.username, "password": PASSWORD},
            }
            answer = await service.client.post("/console/sign-in", data=data, headers=SAME_ORIGIN)
            assert answer.status_code == 303
            assert stays(answer.headers["location"])

    async def test_to_the_page_to_sign_in_keep_the_way_back_in_the_console(
        self, service: Running
    ) -> None:
        for path in ("/console//evil.example", "/console/tenants?x=//evil.example%0d%0aX: y"):
            answer = await service.client.get(path)
            location = answer.headers.get("location", "/console/x")
            assert stays(location)
            assert "\r" not in location
            assert "evil.example/" not in location
        headers = {"hx-request": "true", "hx-current-url": "https://evil.example"}
        answer = await service.client.get("/console/tenants", headers=headers)
        assert (answer.status_code, answer.headers["hx-redirect"]) == (204, "/console/sign-in")


def stays(location: str) -> bool:
    """Whether a browser that follows stays at the console, as WHATWG URLs are read."""
    joined = httpx.URL("https://here.example/console/sign-in").join(location)
    printable = location.isascii() and location.isprintable() and "\\" not in location
    return printable and joined.host == "here.example" and location.startswith("/console")


class TestCookies:
    async def test_a_planted_one_is_replaced_and_worth_nothing(
        self, console: Console, service: Running
    ) -> None:
        planted = walk.cookie_of(console.client)[:-4] + "abcd"
        service.client.cookies.set("keyturn", planted)
        service.client.cookies.set("keyturn-visitor", "attackers")
        answer = await sign_in(service.client, console.user.username, PASSWORD)
        assert answer.status_code == 303
        cookies = answer.headers.get_list("set-cookie")
        assert any(c.startswith("keyturn=ktc_") and planted not in c for c in cookies)
        fresh = re.findall(r"keyturn=(ktc_[^;]+)", " ".join(cookies))[0]
        headers = {"Cookie": f"keyturn={fresh}; keyturn-visitor=attackers"}
        service.client.cookies.clear()
        answer = await service.client.post(
            "/console/sign-out", data={"csrf": "attackers"}, headers={**headers, **SAME_ORIGIN}
        )
        assert answer.status_code == 403
        stale = await service.client.get("/console", headers={"Cookie": f"keyturn={planted}"})
        assert walk.to_sign_in(stale)

    async def test_each_sign_in_has_its_own_and_ends_alone(
        self, console: Console, service: Running
    ) -> None:
        first = walk.cookie_of(console.client)
        await sign_in(service.client, console.user.username, PASSWORD)
        second = walk.cookie_of(service.client)
        assert first != second
        console.client.cookies.clear()
        service.client.cookies.clear()

        async def alive(cookie: str) -> bool:
            headers = {"Cookie": f"keyturn={cookie}"}
            return not walk.to_sign_in(await service.client.get("/console", headers=headers))

        assert await alive(first)
        assert await alive(second)
        csrf = service.service.entrance.signing_in.csrf(first)
        answer = await service.client.post(
            "/console/sign-out",
            data={"csrf": csrf},
            headers={"Cookie": f"keyturn={first}", **SAME_ORIGIN},
        )
        assert answer.status_code == 303
        assert 'keyturn=""' in answer.headers["set-cookie"]
        assert not await alive(first)
        assert await alive(second)

    async def test_one_that_comes_twice_is_none(self, console: Console) -> None:
        cookie = walk.cookie_of(console.client)
        console.client.cookies.clear()
        for header in (
            f"keyturn={cookie}; keyturn={cookie}",
            f"keyturn=x; keyturn={cookie}",
            f"keyturn={cookie}; keyturn=",
            f"keyturn={cookie}{'x' * 600}",
            f"keyturn= {cookie}",
            f"keyturn=%6btc{cookie[3:]}",
            f'keyturn="{cookie}"',
        ):
            assert walk.to_sign_in(await console.client.get("/console", headers={"Cookie": header}))

    async def test_by_http_are_for_this_host_and_no_script(self, service: Running) -> None:
        answer = await service.client.get("/console/sign-in")
        [cookie] = answer.headers.get_list("set-cookie")
        assert attributes(cookie) == {"httponly", "path=/", "samesite=lax"}

    async def test_by_https_are_bound_to_the_host_and_secure(self, start: Start) -> None:
        service = await start(public_url="https://keys.example")
        answer = await service.client.get("/console/sign-in")
        [cookie] = answer.headers.get_list("set-cookie")
        assert cookie.startswith("__Host-keyturn-visitor=")
        expected = {"httponly", "path=/", "samesite=lax", "secure"}
        assert attributes(cookie) == expected
        visitor = cookie.partition(";")[0]
        for headers, status in (
            ({"origin": "https://keys.example"}, 401),
            ({"origin": "http://keys.example"}, 403),
            ({"origin": "https://evil.keys.example"}, 403),
        ):
            answer = await service.client.post(
                "/console/sign-in",
                data={"csrf": csrf_of_cookie(visitor), "username": "x", "password": "y"},
                headers={"Cookie": visitor, **headers},
            )
            assert answer.status_code == status
        # One without the prefix may be another host's: it is not looked at.
        plain = visitor.removeprefix("__Host-")
        answer = await service.client.post(
            "/console/sign-in",
            data={"csrf": csrf_of_cookie(plain), "username": "x", "password": "y"},
            headers={"Cookie": plain, **SAME_ORIGIN},
        )
        assert answer.status_code == 403


def attributes(cookie: str) -> set[str]:
    return {part.strip().lower() for part in cookie.split(";")[1:]}


def csrf_of_cookie(visitor: str) -> str:
    return visitor.partition("=")[2]


class TestSecretsShownOnce:
    async def test_are_in_no_other_answer(self, console: Console, service: Running) -> None:
        user = (
            await console.rest.post("/service-users", {"name": "robot", "role_id": VIEWER.id})
        ).json()
        form = f"/api-keys/new?user_id={user['id']}"
        fields = {"name": "once", "expires_in": "", "go": "yes"}
        answer = await console.post("/api-keys/new", fields, form=form)
        [secret] = set(re.findall(r"kt_\w{22}_\w+", answer.text))
        assert answer.headers["cache-control"] == "no-store"
        [key] = (await console.rest.get(f"/api-keys?user_id={user['id']}")).json()["items"]
        made = {"user_id": user["id"], "key_id": key["id"]}
        for view in walk.views(service):
            if view.method == "GET":
                again = await console.client.get(walk.address(view, service.acme, **made))
                assert secret not in again.text, view

    async def test_the_form_sent_again_by_somebody_else_shows_none(
        self, console: Console, enter: Enter, service: Running
    ) -> None:
        user = (
            await console.rest.post("/service-users", {"name": "robot", "role_id": VIEWER.id})
        ).json()
        form = f"/api-keys/new?user_id={user['id']}"
        fields = {"name": "once", "expires_in": "", "go": "yes", "once": "the very same form"}
        answer = await console.post("/api-keys/new", fields, form=form)
        [secret] = set(re.findall(r"kt_\w{22}_\w+", answer.text))
        other = await enter()
        answer = await other.post("/api-keys/new", fields, form=form)
        assert answer.status_code == 400
        assert secret not in answer.text


class TestNamesOfTheHost:
    async def test_reach_no_link(self, console: Console, service: Running) -> None:
        evil = {
            "host": "evil.example",
            "x-forwarded-host": "evil.example",
            "x-forwarded-proto": "https",
            "forwarded": "host=evil.example",
            "x-original-url": "/console/evil.example",
            "x-rewrite-url": "/console/evil.example",
        }
        key = await made_key(console.rest, user_id=await robot(console))
        for view in walk.views(service):
            if view.method == "GET":
                path = walk.address(view, service.acme, key_id=key["id"])
                for client in (console.client, service.client):
                    answer = await client.get(path, headers=evil)
                    assert "evil.example" not in answer.text, view
                    assert "evil.example" not in str(answer.headers), view

    async def test_an_origin_of_that_name_is_refused_without_the_token(
        self, console: Console
    ) -> None:
        """A page of a host that is made to point here has no cookie of ours to go with it."""
        headers = {"host": "evil.example", "origin": "http://evil.example"}
        answer = await console.client.post("/console/sign-out", data={"csrf": ""}, headers=headers)
        assert answer.status_code == 403


async def robot(console: Console) -> str:
    body = {"name": "robot", "role_id": VIEWER.id}
    made: dict[str, str] = (await console.rest.post("/service-users", body)).json()
    return made["id"]


class TestMalformedForms:
    @pytest.mark.parametrize(
        ("body", "status"),
        [
            (b"csrf=x&name=" + b"x" * 70_000, 413),
            (b"&".join(b"f%d=x" % number for number in range(2_100)), 400),
            (b"name=%ED%A0%80", 400),
            (b"name=\xff\xfe", 400),
            (b"name=%FF", 400),
            (b"", 403),
            (b"&&&=&", 403),
        ],
    )
    async def test_are_refused(self, console: Console, body: bytes, status: int) -> None:
        for path in ("/console/sign-in", f"/console/t/{console.tenant}/service-users/new"):
            headers = {**SAME_ORIGIN, "content-type": "application/x-www-form-urlencoded"}
            answer = await console.client.post(path, content=body, headers=headers)
            assert answer.status_code == status, path

    async def test_of_who_may_not_send_them_nothing_is_read(self, enter: Enter) -> None:
        viewer = await enter(VIEWER)
        headers = {**SAME_ORIGIN, "content-type": "application/x-www-form-urlencoded"}
        for tenant in (viewer.tenant, viewer.service.globex):
            path = f"/console/t/{tenant}/endpoints/import"
            sent = 0

            async def pieces() -> AsyncIterator[bytes]:
                nonlocal sent
                for _ in range(100):
                    sent += 1
                    yield b"document=" + b"x" * 65_536

            answer = await viewer.client.post(path, content=pieces(), headers=headers)
            assert answer.status_code == 403
            assert sent == 0

    @pytest.mark.parametrize(
        "kind",
        ["text/plain", "multipart/form-data; boundary=x", "application/json", "", "x/y;"],
    )
    async def test_of_another_type_are_refused(self, console: Console, kind: str) -> None:
        body = f"csrf={walk.token_of(console)}&name=x"
        headers = {**SAME_ORIGIN, "content-type": kind}
        for view in forms(console.service):
            path = walk.address(view, console.tenant)
            answer = await console.client.post(path, content=body.encode(), headers=headers)
            # What is the platform's alone is not even read.
            assert answer.status_code == (403 if view.root_only else 415), view

    @pytest.mark.parametrize(
        "odd", ["\x00", "a\x00b", "\u202e", "😀" * 300, "x" * 9_000, "\r\n", "ł"]
    )
    async def test_odd_letters_are_no_fault_of_ours(
        self, console: Console, service: Running, odd: str
    ) -> None:
        made = await planted(console)
        for view in forms(service):
            if view.path == "/sign-out":
                continue
            path = walk.address(view, service.acme, **made)
            page = await console.client.get(path, params={"user_id": made["user_id"]})
            fields = read(page.text).fields if page.status_code == 200 else {}
            names = {*fields, "etag", "once", "username", "password", "step", "code", "next"}
            answer = await walk.ask(console, view, path, **{n: odd for n in names if n != "csrf"})
            assert answer.status_code < 500, (view, answer.text)
            if walk.to_sign_in(await console.client.get("/console/tenants")):
                console.client.cookies.clear()
                await sign_in(console.client, console.user.username, PASSWORD)

    async def test_of_fields_that_come_twice_the_first_counts(self, console: Console) -> None:
        token = walk.token_of(console)
        for body, status in (
            (f"csrf=wrong&csrf={token}", 403),
            (f"csrf={token}&csrf=wrong&kind=&kind=everything", 400),
        ):
            answer = await console.client.post(
                console.url("/revocations"),
                content=body.encode(),
                headers={**SAME_ORIGIN, "content-type": "application/x-www-form-urlencoded"},
            )
            assert answer.status_code == status
        assert (await console.get("")).status_code == 200

    async def test_a_form_that_says_nothing_ends_nothing(self, console: Console) -> None:
        for data in ({}, {"kind": "all"}, {"subject": "x"}):
            answer = await walk.ask(
                console, revocation(console), console.url("/revocations"), **data
            )
            assert answer.status_code == 400
        assert (await console.get("/revocations")).status_code == 400
        assert (await console.get("")).status_code == 200


def revocation(console: Console) -> View:
    [view] = [v for v in forms(console.service) if v.path.endswith("/revocations")]
    return view


class TestGuessing:
    async def test_of_one_address_is_stopped_whatever_is_guessed(self, start: Start) -> None:
        service = await start(limit_failures_per_address="3/hour")
        for number in range(3):
            answer = await sign_in(service.client, f"user-{number}", "wrong")
            assert answer.status_code == 401
        answer = await service.client.get("/console/sign-in")
        assert answer.status_code == 429
        assert int(answer.headers["retry-after"]) > 0
        assert answer.headers["content-security-policy"] == POLICY


class TestGuessingOnePerson:
    @pytest.fixture
    async def service(self, start: Start) -> Running:
        return await start(limit_failures_per_username="3/hour")

    async def test_is_stopped_and_the_right_password_too(
        self, console: Console, service: Running
    ) -> None:
        # Their own sign-in was one.
        for _ in range(2):
            answer = await sign_in(service.client, console.user.username.upper(), "wrong")
            assert answer.status_code == 401
        for _ in range(2):
            answer = await sign_in(service.client, console.user.username, PASSWORD)
            assert answer.status_code == 429
            assert not walk.cookie_of(service.client)
        # Whoever is in stays in, and others come in.
        assert (await console.get("")).status_code == 200
        assert (await sign_in(service.client, "somebody-else", "x")).status_code == 401


class TestLogs:
    async def test_have_no_secret(
        self, console: Console, service: Running, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level("DEBUG")
        cookie, csrf = walk.cookie_of(console.client), walk.token_of(console)
        user = await robot(console)
        form = f"/api-keys/new?user_id={user}"
        fields = {"name": "logged", "expires_in": "", "go": "yes"}
        answer = await console.post("/api-keys/new", fields, form=form)
        [secret] = set(re.findall(r"kt_\w{22}_\w+", answer.text))
        wrong = {"username": "x", "password": "my other password", "api_key": secret}
        for path in ("/console/sign-in", "/console/first-password", "/console/invitation"):
            again = {"new_password": "my other password", "again": "my other password"}
            await console.post(path, {**wrong, **again, "code": "kti_" + "c" * 43}, form=path)
        await service.client.get("/console", headers={"Cookie": f"keyturn={cookie}x"})
        await service.service.usage.flush()
        logged = caplog.text
        assert "/console/t/" in logged
        for word in (cookie, csrf, secret, "my other password", PASSWORD, "c" * 43):
            assert word not in logged
        assert not scan_for_secrets(logged)
