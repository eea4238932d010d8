"""API keys are made, narrowed, rotated and revoked at the console, as by REST."""

from __future__ import annotations

import html
import re
from typing import Any

from keyturn.server.domain.permissions import AUDITOR, EDITOR, VIEWER
from tests.http.console.conftest import Console, Enter
from tests.http.management.keys import add_endpoint, exchange, made

_SECRET = re.compile(r'<input id="secret" value="(kt_[^"]+)"')


async def robot(console: Console, **more: Any) -> dict[str, Any]:
    """A new service user of the tenant, made by REST."""
    body = {"name": "robot <i>", "role_id": VIEWER.id, **more}
    made: dict[str, Any] = (await console.rest.post("/service-users", body)).json()
    return made


async def key_of(console: Console, user: dict[str, Any], **wanted: Any) -> dict[str, Any]:
    return await made(console.rest, user_id=user["id"], **wanted)


async def read(console: Console, key: dict[str, Any]) -> dict[str, Any]:
    body: dict[str, Any] = (await console.rest.get(f"/api-keys/{key['id']}")).json()
    return body


class TestList:
    async def test_says_when_nobody_has_such_a_key(self, console: Console) -> None:
        page = await console.page(f"/api-keys?user_id={(await robot(console))['id']}")
        assert "No API key is like that" in page
        assert "robot &lt;i&gt;" in page

    async def test_says_whose_each_key_is(self, console: Console) -> None:
        user = await robot(console)
        key = await key_of(console, user, name="nightly <b>")
        page = await console.page("/api-keys")
        assert "nightly &lt;b&gt;" in page
        assert f'/service-users/{user["id"]}">robot &lt;i&gt;</a>' in page
        assert f"/api-keys/{key['id']}" in page

    async def test_offers_nothing_that_is_refused(self, enter: Enter) -> None:
        console = await enter(VIEWER)
        key = (await console.rest.get("/api-keys")).json()["items"][0]
        assert "/api-keys/new" not in await console.page("/api-keys")
        assert "/revoke" not in await console.page(f"/api-keys/{key['id']}")
        for path in ("/api-keys/new", f"/api-keys/{key['id']}/edit"):
            assert (await console.get(path)).status_code == 403
        assert (await (await enter(AUDITOR)).get("/api-keys")).status_code == 403


class TestNew:
    async def test_asks_whose_it_will_be(self, console: Console) -> None:
        user = await robot(console)
        page = await console.page("/api-keys/new")
        assert f"/api-keys/new?user_id={user['id']}" in page

    async def test_is_made_as_wide_as_the_form_says(self, console: Console) -> None:
        user = await robot(console)
        endpoint = await add_endpoint(console.service, console.tenant, "GET", "/a/{id}", "a:read")
        fields = {
            "name": "nightly",
            "roles": "listed",
            "role_ids": [VIEWER.id],
            "endpoints": "listed",
            "endpoint_ids": [f"{endpoint.id} GET /a/{{id}}"],
            "networks": "192.0.2.0/24\r\n2001:db8::/48",
            "tenant_id": console.tenant,
            "expires_in": "86400",
            "idle_timeout": "604800",
            "go": "yes",
        }
        form = f"/api-keys/new?user_id={user['id']}"
        answer = await console.post("/api-keys/new", fields, form=form)
        assert answer.status_code == 200, answer.text
        [secret] = _SECRET.findall(answer.text)
        [key] = (await console.rest.get(f"/api-keys?user_id={user['id']}")).json()["items"]
        assert secret.startswith(f"kt_{key['id']}_")
        assert (key["role_ids"], key["endpoint_ids"]) == ([VIEWER.id], [endpoint.id])
        assert key["networks"] == ["192.0.2.0/24", "2001:db8::/48"]
        assert (key["tenant_id"], key["idle_timeout"]) == (console.tenant, 604800)
        assert key["expires_at"] is not None
        assert html.escape(f"username={user['email']}", quote=False) in answer.text
        assert answer.headers["cache-control"] == "no-store"
        page = await console.page(f"/api-keys/{key['id']}")
        assert "GET /a/{id}" in page
        assert "192.0.2.0/24" in page
        assert secret not in page

    async def test_sent_twice_makes_one_and_shows_the_same_secret(self, console: Console) -> None:
        user = await robot(console)
        path = f"/api-keys/new?user_id={user['id']}"
        fields = {"name": "once", "expires_in": "", "once": "the same form", "go": "yes"}
        first = await console.post("/api-keys/new", fields, form=path)
        second = await console.post("/api-keys/new", fields, form=path)
        assert _SECRET.findall(first.text) == _SECRET.findall(second.text) != []
        listed = (await console.rest.get(f"/api-keys?user_id={user['id']}")).json()["items"]
        assert len(listed) == 1

    async def test_ends_at_a_time_of_the_persons_own(self, console: Console) -> None:
        user = await robot(console)
        fields = {"name": "own", "expires_in": "at", "expires_at": "2049-12-31T21:59", "go": "yes"}
        form = f"/api-keys/new?user_id={user['id']}"
        assert (await console.post("/api-keys/new", fields, form=form)).status_code == 200
        [key] = (await console.rest.get(f"/api-keys?user_id={user['id']}")).json()["items"]
        assert key["expires_at"].startswith("2049-12-31T21:59:00")

    async def test_says_at_the_field_what_is_wrong(self, console: Console) -> None:
        user = await robot(console)
        await key_of(console, user, name="taken")
        form = f"/api-keys/new?user_id={user['id']}"
        good = {"name": "free", "expires_in": "86400", "go": "yes"}
        for wrong, at in [
            ({"name": ""}, "name"),
            ({"name": "taken"}, "name"),
            ({"networks": "nowhere"}, "networks"),
            ({"endpoints": "listed"}, "endpoint_ids"),
            ({"expires_in": "at"}, "expires_at"),
            ({"expires_in": "at", "expires_at": "2001-01-01T00:00"}, "expires_at"),
            ({"expires_in": "soon"}, "expires_in"),
        ]:
            answer = await console.post("/api-keys/new", {**good, **wrong}, form=form)
            assert answer.status_code == 400, wrong
            assert f'id="e-{at}"' in answer.text, wrong
            assert not _SECRET.findall(answer.text)
        listed = (await console.rest.get(f"/api-keys?user_id={user['id']}")).json()["items"]
        assert [key["name"] for key in listed] == ["taken"]


class TestSearch:
    async def test_keeps_what_was_ticked_and_makes_nothing(self, console: Console) -> None:
        user = await robot(console)
        kept = await add_endpoint(console.service, console.tenant, "GET", "/kept", "a:read")
        await add_endpoint(console.service, console.tenant, "GET", "/other/{id}", "a:read")
        fields = {
            "name": "half filled",
            "endpoints": "listed",
            "endpoint_ids": [f"{kept.id} GET /kept"],
            "endpoint_query": "/other/:x",
            "expires_in": "86400",
        }
        form = f"/api-keys/new?user_id={user['id']}"
        # By the button, and by Enter in the field for the search.
        for pressed in ({"find": "yes"}, {}):
            answer = await console.post("/api-keys/new", {**fields, **pressed}, form=form)
            assert answer.status_code == 200
            assert re.search(rf'value="{kept.id} GET /kept" checked', answer.text)
            assert re.search(r'value="\S+ GET /other/{id}">', answer.text)
            assert 'value="half filled"' in answer.text
        assert not (await console.rest.get(f"/api-keys?user_id={user['id']}")).json()["items"]

    async def test_tells_what_may_stand_on_no_list(self, console: Console) -> None:
        user = await robot(console)
        service = console.service
        await add_endpoint(service, console.tenant, "PUT", "/w", "a:b", administrative=True)
        page = await console.page(f"/api-keys/new?user_id={user['id']}")
        assert "PUT /w</code> administers users" in page


class TestEdit:
    async def test_narrows(self, console: Console) -> None:
        key = await key_of(console, await robot(console))
        path = f"/api-keys/{key['id']}/edit"
        fields = {"name": "narrower", "networks": "198.51.100.0/24", "go": "yes"}
        page = await console.done(path, {**fields, "endpoints": "all"})
        assert "The API key is changed" in page
        now = await read(console, key)
        assert (now["name"], now["networks"]) == ("narrower", ["198.51.100.0/24"])
        assert now["role_ids"] is now["endpoint_ids"] is None

    async def test_the_last_role_unticked_widens_nothing(self, console: Console) -> None:
        key = await key_of(console, await robot(console), role_ids=[VIEWER.id])
        path = f"/api-keys/{key['id']}/edit"
        fields = {"name": "wide", "roles": "listed", "endpoints": "all", "go": "yes"}
        answer = await console.post(path, fields)
        assert answer.status_code == 400
        assert "Tick at least one role." in answer.text
        assert (await read(console, key))["role_ids"] == [VIEWER.id]

    async def test_a_name_alone_ends_no_token(self, console: Console) -> None:
        user = await robot(console)
        endpoint = await add_endpoint(console.service, console.tenant, "GET", "/x", "a:read")
        key = await key_of(console, user, endpoint_ids=[endpoint.id], role_ids=[VIEWER.id])
        tokens = (await exchange(console.service, key["secret"], user["email"])).json()
        path = f"/api-keys/{key['id']}/edit"
        page = await console.page(path)
        assert f'value="{endpoint.id} GET /x" checked' in page
        fields = {
            "name": "new name",
            "roles": "listed",
            "role_ids": [VIEWER.id],
            "endpoints": "listed",
            "endpoint_ids": [f"{endpoint.id} GET /x"],
            "go": "yes",
        }
        assert "Saved." in await console.done(path, fields)
        refreshed = await console.service.refresh(tokens["refresh_token"])
        assert refreshed.status_code == 200

    async def test_refuses_what_somebody_else_changed_meanwhile(self, console: Console) -> None:
        key = await key_of(console, await robot(console))
        path = f"/api-keys/{key['id']}/edit"
        await console.rest.patch(f"/api-keys/{key['id']}", {"name": "theirs"})
        stale = {"name": "mine", "endpoints": "all", "etag": '"1"', "go": "yes"}
        answer = await console.post(path, stale)
        assert answer.status_code == 400
        assert (await read(console, key))["name"] == "theirs"


class TestRotate:
    async def test_shows_the_new_secret_and_keeps_the_old_one_for_a_while(
        self, console: Console
    ) -> None:
        user = await robot(console)
        key = await key_of(console, user)
        path = f"/api-keys/{key['id']}/rotate"
        answer = await console.post(path, {"overlap_seconds": "3600", "end_sessions": "false"})
        assert answer.status_code == 200
        [secret] = _SECRET.findall(answer.text)
        assert secret != key["secret"]
        for either in (secret, key["secret"]):
            assert (await exchange(console.service, either, user["email"])).status_code == 200
        assert "works until" in await console.page(f"/api-keys/{key['id']}")
        # There is one old secret at a time.
        again = await console.post(path, {"overlap_seconds": "3600", "end_sessions": ""})
        assert again.status_code == 400
        assert 'id="e-overlap_seconds"' in again.text
        assert (await console.post(path, {"overlap_seconds": "0"})).status_code == 200
        assert (await exchange(console.service, secret, user["email"])).status_code == 400

    async def test_until_the_first_use(self, console: Console) -> None:
        key = await key_of(console, await robot(console))
        path = f"/api-keys/{key['id']}/rotate"
        await console.post(path, {"overlap_seconds": "first_use"})
        assert (await read(console, key))["old_secret_ends_on_first_use"] is True


class TestRevoke:
    async def test_says_what_ends_and_ends_it(self, console: Console) -> None:
        user = await robot(console)
        key = await key_of(console, user)
        tokens = (await exchange(console.service, key["secret"], user["email"])).json()
        await console.service.refresh(tokens["refresh_token"])
        await console.service.service.usage.flush()
        path = f"/api-keys/{key['id']}/revoke"
        page = await console.page(path)
        assert "last used just now from 127.0.0.1; used 2 times in all" in page
        assert "its live sessions: 1" in page
        assert "revoked" in await console.done(path)
        assert (await exchange(console.service, key["secret"], user["email"])).status_code == 400
        page = await console.page(f"/api-keys/{key['id']}")
        assert "It was revoked." in page
        assert f"{key['id']}/rotate" not in page

    async def test_ends_an_old_secret_and_the_expiry_too(self, console: Console) -> None:
        key = await key_of(console, await robot(console))
        at = f"/api-keys/{key['id']}"
        await console.post(f"{at}/rotate", {"overlap_seconds": "3600", "end_sessions": "false"})
        assert "works until" in await console.page(at)
        page = await console.done(f"{at}/revoke")
        assert "works until" not in page
        assert "<dt>Expires</dt><dd>it was revoked</dd>" in page

    async def test_is_all_that_is_offered_for_a_persons_key(self, enter: Enter) -> None:
        console = await enter()
        other = await enter(EDITOR)
        listed = await console.rest.get(f"/api-keys?user_id={other.user.id}")
        [key] = listed.json()["items"]
        page = await console.page(f"/api-keys/{key['id']}")
        assert "/revoke" in page
        assert f"{key['id']}/edit" not in page


class TestServiceUser:
    async def test_is_made_with_its_first_key(self, console: Console) -> None:
        fields = {
            "name": "exporter",
            "role_id": VIEWER.id,
            "with_key": "on",
            "api_key.name": "first",
            "api_key.expires_in": "604800",
            "api_key.networks": "127.0.0.0/8",
        }
        answer = await console.post("/service-users/new", fields)
        assert answer.status_code == 200
        [secret] = _SECRET.findall(answer.text)
        [user] = (await console.rest.get("/service-users?query=exporter")).json()["items"]
        assert (await exchange(console.service, secret, user["email"])).status_code == 200
        page = await console.page(f"/service-users/{user['id']}")
        assert "viewer</span>" in page
        assert "first" in page

    async def test_says_at_the_field_of_the_key_what_is_wrong(self, console: Console) -> None:
        good = {"name": "exporter", "role_id": VIEWER.id, "with_key": "on", "api_key.name": "k"}
        for wrong, at in [
            ({"api_key.name": ""}, "api_key.name"),
            ({"api_key.networks": "nowhere"}, "api_key.networks"),
            ({"api_key.expires_in": "at"}, "api_key.expires_at"),
            ({"api_key.expires_in": "soon"}, "api_key.expires_in"),
        ]:
            answer = await console.post("/service-users/new", {**good, **wrong})
            assert answer.status_code == 400, wrong
            assert f'id="e-{at}"' in answer.text, wrong
        assert not (await console.rest.get("/service-users?query=exporter")).json()["items"]

    async def test_is_found_by_name_and_below(self, console: Console) -> None:
        await robot(console, name="gamma ray")
        below = await console.service.add_tenant("Site <7>", console.tenant)
        body = {"name": "delta", "role_id": VIEWER.id}
        await console.rest.post("/service-users", body, headers={"x-tenant-id": below.id})
        page = await console.page("/service-users?query=GAMMA")
        assert "gamma ray" in page
        assert "delta" not in page
        assert "viewer</span>" in page
        team = await console.page("/service-users?below=1&query=delta")
        assert "Site &lt;7&gt;" in team
        assert f"/console/t/{below.id}/service-users/" in team

    async def test_that_is_deleted_takes_its_keys_along(self, console: Console) -> None:
        user = await robot(console)
        for number in range(12):
            await key_of(console, user, name=f"key {number:02}")
        page = await console.page(f"/service-users/{user['id']}/delete")
        assert page.count("API key key ") == 10
        assert "2 more API keys" in page


class TestWhoReadsNoUsers:
    async def test_rotates_a_key_all_the_same(self, enter: Enter, console: Console) -> None:
        """The secret is shown, though nobody tells the username."""
        key = await key_of(console, await robot(console, role_id=AUDITOR.id))
        permissions = (*AUDITOR.permissions - {"users:read"}, "keys:read", "keys:write")
        role = await console.service.add_role(console.tenant, "key keeper", *permissions)
        keeper = await enter(role)
        assert (await keeper.get("/api-keys")).status_code == 200
        assert (await keeper.get(f"/api-keys/{key['id']}")).status_code == 200
        path = f"/api-keys/{key['id']}/rotate"
        answer = await keeper.post(path, {"overlap_seconds": "0"})
        assert answer.status_code == 200, answer.text
        assert len(_SECRET.findall(answer.text)) == 1
