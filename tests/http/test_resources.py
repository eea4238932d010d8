"""`/auth/revocations`, `/auth/policy`, `/auth/verify`: what resource servers and proxies ask."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from keyturn.server.domain.endpoints import Endpoint
from keyturn.server.domain.ids import new_id
from keyturn.server.domain.model import Role
from keyturn.server.domain.permissions import AUDITOR, TENANT_ADMIN, TOKENS_INTROSPECT
from keyturn.server.http import resources
from tests.http.conftest import Running
from tests.http.management.conftest import Person, person
from tests.http.test_audiences import METERS, granted, register
from tests.http.test_exchange import claims


def digest(kind: str, subject: str) -> str:
    """As openapi.yaml has it."""
    hashed = hashlib.sha256(f"{kind}:{subject}".encode()).digest()[:16]
    return base64.urlsafe_b64encode(hashed).rstrip(b"=").decode()


@pytest.fixture
async def asker(service: Running) -> Person:
    """A resource server's own user."""
    role = await service.add_role(service.acme, "resource-server", TOKENS_INTROSPECT)
    return await person(service, role, service.acme)


async def followed(asker: Person, cursor: str | None = None, **params: Any) -> dict[str, Any]:
    if cursor is not None:
        params["cursor"] = cursor
    answer = await asker.get("/auth/revocations", params=params)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def told(news: dict[str, Any], kind: str, subject: str) -> dict[str, Any] | None:
    wanted = (kind, digest(kind, subject))
    return next((e for e in news["entries"] if (e["kind"], e["subject"]) == wanted), None)


class TestFeed:
    async def test_200_from_the_beginning(self, service: Running, asker: Person) -> None:
        token = (await service.exchange())["access_token"]
        await service.client.post("/iam/auth/revoke", data={"token": token})
        news = await followed(asker)
        assert (news["reset"], news["more"]) == (True, False)
        entry = told(news, "token", claims(service, token)["jti"])
        assert entry is not None
        assert entry["expires_at"] > service.clock().timestamp()

    async def test_200_what_came_since(self, service: Running, asker: Person) -> None:
        first = await followed(asker)
        body = await service.exchange()
        await service.client.post("/iam/auth/revoke", data={"token": body["refresh_token"]})
        news = await followed(asker, first["cursor"])
        assert not news["reset"]
        assert [e["kind"] for e in news["entries"]] == ["session"]
        assert told(news, "session", claims(service, body["access_token"])["sid"])

    async def test_200_it_waits_until_there_is_something(
        self, service: Running, asker: Person
    ) -> None:
        first = await followed(asker)
        waiting = asyncio.create_task(followed(asker, first["cursor"], wait=30))
        await asyncio.sleep(0.2)
        assert not waiting.done()
        await service.suspend(service.globex)
        async with asyncio.timeout(10):
            news = await waiting
        assert told(news, "tenant", service.globex)

    async def test_200_and_not_for_ever(self, asker: Person) -> None:
        first = await followed(asker)
        async with asyncio.timeout(10):
            assert (await followed(asker, first["cursor"], wait=0.3))["entries"] == []

    async def test_200_a_suspension_is_lifted(self, service: Running, asker: Person) -> None:
        await service.suspend(service.globex)
        news = await followed(asker)
        await service.administer(
            "POST", f"/tenants/{service.globex}/resume", service.demo.platform.tenant.id
        )
        for _ in range(100):
            later = await followed(asker, news["cursor"], wait=1)
            entry = told(later, "tenant", service.globex)
            if entry is not None and entry["expires_at"] == 0:
                return
            news = later
        pytest.fail("nobody hears of it")

    async def test_200_a_changed_role_is_told_with_its_holders(
        self, service: Running, asker: Person
    ) -> None:
        role = await service.add_role(service.acme, "shifting", TOKENS_INTROSPECT)
        holder = await person(service, role, service.acme)
        first = await followed(asker)
        await service.administer(
            "PATCH", f"/roles/{role.id}", service.acme, {"permissions": ["tenants:read"]}
        )
        news = await followed(asker, first["cursor"])
        assert told(news, "policy", service.acme)
        assert told(news, "user", holder.user.id)

    async def test_200_page_by_page(self, service: Running, asker: Person) -> None:
        for _ in range(5):
            token = (await service.exchange())["access_token"]
            await service.client.post("/iam/auth/revoke", data={"token": token})
        news = await followed(asker, limit=2)
        seen = list(news["entries"])
        while news["more"]:
            news = await followed(asker, news["cursor"], limit=2)
            assert len(news["entries"]) <= 2
            seen += news["entries"]
        assert len({e["subject"] for e in seen}) == 5

    async def test_nobody_is_named(self, service: Running, asker: Person) -> None:
        body = await service.exchange()
        named = claims(service, body["access_token"])
        await service.client.post("/iam/auth/revoke", data={"token": body["refresh_token"]})
        await service.reauthorise()
        text = json.dumps(await followed(asker))
        assert not [name for name in ("sid", "jti", "sub", "client_id") if named[name] in text]

    async def test_401_whose_token_ends_while_it_waits(
        self, service: Running, asker: Person
    ) -> None:
        first = await followed(asker)
        call = asker.get("/auth/revocations", params={"cursor": first["cursor"], "wait": 30})
        waiting = asyncio.create_task(call)
        await asyncio.sleep(0.1)
        await service.client.post("/iam/auth/revoke", data={"token": asker.token})
        async with asyncio.timeout(10):
            assert (await waiting).status_code == 401

    async def test_403_without_the_permission(self, service: Running) -> None:
        other = await person(service, AUDITOR, service.acme)
        if TOKENS_INTROSPECT in AUDITOR.permissions:
            pytest.fail("choose another role")
        answer = await other.get("/auth/revocations")
        assert answer.status_code == 403

    @pytest.mark.parametrize(
        "params",
        [
            {"cursor": "x"},
            {"wait": "31"},
            {"wait": "-1"},
            {"wait": "nan"},
            {"limit": "0"},
            {"x": 1},
        ],
        ids=str,
    )
    async def test_400(self, asker: Person, params: str) -> None:
        answer = await asker.get(f"/auth/revocations?{params}")
        assert answer.status_code == 400

    async def test_503_too_many_wait(self, start: Any) -> None:
        service: Running = await start(max_followers=1)
        role = await service.add_role(service.acme, "resource-server", TOKENS_INTROSPECT)
        asker = await person(service, role, service.acme)
        first = await followed(asker)
        waiting = asyncio.create_task(followed(asker, first["cursor"], wait=3))
        await asyncio.sleep(0.1)
        for headers in ({}, {"accept": "text/event-stream"}):
            params = {"cursor": first["cursor"], "wait": "3"}
            answer = await asker.get("/auth/revocations", params=params, headers=headers)
            assert (answer.status_code, answer.headers["retry-after"] != "") == (503, True)
        await followed(asker)  # who does not wait takes no place
        await waiting
        await followed(asker, first["cursor"], wait=0.1)

    async def test_503_for_one_user_and_not_for_others(self, start: Any) -> None:
        service: Running = await start(max_followers=4)
        role = await service.add_role(service.acme, "resource-server", TOKENS_INTROSPECT)
        greedy, other = [await person(service, role, service.acme) for _ in range(2)]
        first = await followed(greedy)
        waiting = asyncio.create_task(followed(greedy, first["cursor"], wait=3))
        await asyncio.sleep(0.1)
        params = {"cursor": first["cursor"], "wait": "1"}
        assert (await greedy.get("/auth/revocations", params=params)).status_code == 503
        await followed(other, first["cursor"], wait=0.1)
        await waiting

    async def test_who_waits_is_not_in_flight(self, start: Any) -> None:
        service: Running = await start(max_in_flight=3, max_followers=100)
        role = await service.add_role(service.acme, "resource-server", TOKENS_INTROSPECT)
        asker = await person(service, role, service.acme)
        first = await followed(asker)
        waiting = [asyncio.create_task(followed(asker, first["cursor"], wait=3)) for _ in range(3)]
        await asyncio.sleep(0.1)
        extra = asyncio.create_task(followed(asker, first["cursor"], wait=3))
        await asyncio.sleep(0.1)
        await service.exchange()
        await asyncio.gather(*waiting, extra)


class TestStream:
    async def streamed(self, asker: Person, **headers: str) -> list[dict[str, Any]]:
        answer = await asker.get(
            "/auth/revocations", headers={"accept": "text/event-stream", **headers}
        )
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"].startswith("text/event-stream")
        events = []
        for block in answer.text.strip().split("\n\n"):
            lines = dict(line.split(": ", 1) for line in block.splitlines())
            assert lines["event"] == "revocations"
            data = json.loads(lines["data"])
            assert lines["id"] == data["cursor"]
            events.append(data)
        return events

    async def test_200_events(
        self, service: Running, asker: Person, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(resources, "MAX_STREAM", 0.8)
        monkeypatch.setattr(resources, "BEAT", 0.2)
        stream = asyncio.create_task(self.streamed(asker))
        await asyncio.sleep(0.1)
        await service.suspend(service.globex)
        first, *later = await stream
        assert first["reset"]
        assert any(told(event, "tenant", service.globex) for event in later)
        assert any(not event["entries"] for event in later)

    async def test_200_goes_on_from_the_last_event(
        self, service: Running, asker: Person, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(resources, "MAX_STREAM", 0.0)
        (first,) = await self.streamed(asker)
        await service.suspend(service.globex)
        (second,) = await self.streamed(asker, **{"last-event-id": first["cursor"]})
        assert not second["reset"]
        assert told(second, "tenant", service.globex)

    async def test_ends_when_nobody_reads(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(resources, "UNREAD", 0.05)
        ended: list[str] = []
        place = contextlib.ExitStack()
        place.callback(ended.append, "place")

        async def events() -> AsyncIterator[bytes]:
            while True:
                yield b"event"

        async def receive() -> Any:
            await asyncio.Event().wait()

        async def send(message: Any) -> None:
            if message.get("body"):
                await asyncio.Event().wait()

        stream = resources._EventStream(events(), place)
        async with asyncio.timeout(10):
            await stream({"type": "http"}, receive, send)
        assert ended == ["place"]

    async def test_ends_with_the_asker(
        self, service: Running, asker: Person, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(resources, "BEAT", 0.1)
        stream = asyncio.create_task(self.streamed(asker))
        await asyncio.sleep(0.1)
        await service.client.post("/iam/auth/revoke", data={"token": asker.token})
        async with asyncio.timeout(10):
            assert await stream


# --- policy and verdicts --------------------------------------------------------------------


async def offered(service: Running, tenant: str, *groups: str, path: str = "/assets/{id}") -> str:
    """The id of an endpoint of the service `assets`, opened by any of these permissions."""
    endpoint = Endpoint(
        id=new_id(),
        tenant_id=tenant,
        service="assets",
        method="GET",
        path=path,
        name=path,
        opened_by=tuple(frozenset({group}) for group in groups),
        deprecated=False,
        experimental=False,
        administrative=False,
        created_at=service.clock(),
        updated_at=service.clock(),
        version=1,
    )
    async with service.service.parts.store.transaction() as tx:
        await tx.endpoints.add([endpoint])
    return endpoint.id


async def policy(asker: Person, **more: Any) -> httpx.Response:
    return await asker.get("/auth/policy", **more)


class TestPolicy:
    async def test_200_roles_and_endpoints(self, service: Running, asker: Person) -> None:
        endpoint = await offered(service, service.acme, "assets:read", "assets:write")
        body = (await policy(asker, params={"service": "assets"})).json()
        assert body["tenant_id"] == service.acme
        assert body["roles"]["resource-server"] == [TOKENS_INTROSPECT]
        assert body["roles"]["tenant-admin"] == sorted(TENANT_ADMIN.permissions)
        (shown,) = body["endpoints"]
        assert shown["id"] == endpoint
        assert (shown["method"], shown["path"]) == ("GET", "/assets/{}")
        assert shown["opened_by"] == [["assets:read"], ["assets:write"]]
        assert digest("policy", service.acme) in body["depends_on"]
        assert digest("policy", service.demo.platform.tenant.id) in body["depends_on"]

    async def test_200_other_services_are_left_out(self, service: Running, asker: Person) -> None:
        await offered(service, service.acme, "assets:read")
        assert (await policy(asker, params={"service": "x"})).json()["endpoints"] == []
        assert len((await policy(asker)).json()["endpoints"]) == 1

    async def test_304_until_it_changes(self, service: Running, asker: Person) -> None:
        tag = (await policy(asker)).headers["etag"]
        assert (await policy(asker, headers={"if-none-match": tag})).status_code == 304
        await service.add_role(service.acme, "another", "tenants:read")
        assert (await policy(asker, headers={"if-none-match": tag})).status_code == 200

    @pytest.mark.parametrize("what", ["role", "endpoint"])
    async def test_every_change_is_told(self, service: Running, asker: Person, what: str) -> None:
        admin = await person(service, TENANT_ADMIN, service.acme)
        news = await followed(asker)

        async def is_told() -> bool:
            nonlocal news
            news = await followed(asker, news["cursor"])
            return told(news, "policy", service.acme) is not None

        if what == "role":
            made = await admin.post("/roles", {"name": "r", "permissions": ["tenants:read"]})
            path = f"/roles/{made.json()['id']}"
            change: dict[str, Any] = {"permissions": ["users:read"]}
        else:
            new = {
                "service": "assets",
                "method": "GET",
                "path": "/x",
                "name": "x",
                "opened_by": [["assets:read"]],
            }
            made = await admin.post("/endpoints", new)
            path = f"/endpoints/{made.json()['id']}"
            change = {"opened_by": [["tenants:read"]]}
        assert made.status_code == 201, made.text
        assert await is_told()
        assert (await admin.patch(path, change)).status_code == 200
        assert await is_told()
        assert (await admin.delete(path)).status_code == 204
        assert await is_told()
        assert not await is_told()

    async def test_403_of_another_tenant(self, service: Running, asker: Person) -> None:
        asker.tenant = service.globex
        assert (await policy(asker)).status_code == 403


class TestVerify:
    async def verify(
        self, at: Running, token: str, tenant: str | None = None, **more: Any
    ) -> httpx.Response:
        headers = {"Authorization": f"Bearer {token}", **more.pop("sent", {})}
        if tenant is not None:
            headers["x-tenant-id"] = tenant
        return await at.client.get("/iam/auth/verify", headers=headers, params=more)

    @pytest.fixture
    async def role(self, service: Running) -> Role:
        return await service.add_role(service.acme, "asset keeper, ä", "assets:read")

    @pytest.fixture
    async def keeper(self, service: Running, role: Role) -> Person:
        return await person(service, role, service.acme)

    async def test_200_who_it_is(self, service: Running, keeper: Person) -> None:
        answer = await self.verify(service, keeper.token, service.acme)
        assert answer.status_code == 200
        body = answer.json()
        named = claims(service, keeper.token)
        assert {name: body[name] for name in ("sub", "sid", "jti", "exp", "client_id")} == {
            name: named[name] for name in ("sub", "sid", "jti", "exp", "client_id")
        }
        assert (body["username"], body["tenant_id"]) == (keeper.user.username, service.acme)
        assert body["permissions"] == ["assets:read"]
        assert answer.headers["x-keyturn-user"] == keeper.user.id
        assert answer.headers["x-keyturn-tenant"] == service.acme
        assert answer.headers["x-keyturn-roles"] == "asset%20keeper%2C%20%C3%A4"
        assert answer.headers["x-keyturn-permissions"] == "assets:read"

    async def test_200_without_a_tenant(self, service: Running, keeper: Person) -> None:
        answer = await self.verify(service, keeper.token)
        assert answer.status_code == 200
        assert (answer.json()["tenant_id"], answer.json()["permissions"]) == (None, [])
        assert answer.headers["x-keyturn-tenant"] == ""

    async def test_200_any_of_the_permissions(self, service: Running, keeper: Person) -> None:
        wanted = "assets:write assets:read"
        answer = await self.verify(service, keeper.token, service.acme, permission=wanted)
        assert answer.status_code == 200

    async def test_403_none_of_the_permissions(self, service: Running, keeper: Person) -> None:
        answer = await self.verify(service, keeper.token, service.acme, permission="assets:write")
        assert answer.status_code == 403
        assert 'error="insufficient_scope"' in answer.headers["www-authenticate"]

    @pytest.mark.parametrize("tenant", [None, "x", "other", "foreign"])
    async def test_403_a_tenant_is_needed(
        self, service: Running, keeper: Person, tenant: str | None
    ) -> None:
        named = {"other": service.globex, "foreign": new_id()}.get(tenant or "", tenant)
        answer = await self.verify(service, keeper.token, named, permission="assets:read")
        assert answer.status_code == 403

    async def test_200_only_for_the_audience_it_is_for(self, service: Running) -> None:
        await register(service, METERS, service.acme)
        token = (await granted(service, METERS))["access_token"]
        assert (await self.verify(service, token, audience=METERS)).status_code == 200
        assert (await self.verify(service, token)).status_code == 401
        own = (await service.exchange())["access_token"]
        assert (await self.verify(service, own)).status_code == 200
        assert (await self.verify(service, own, audience=METERS)).status_code == 401

    @pytest.mark.parametrize("by", ["original", "forwarded"])
    async def test_200_what_roles_open(self, service: Running, keeper: Person, by: str) -> None:
        endpoint = await offered(service, service.acme, "assets:read")
        uri = "URI" if by == "original" else "Uri"
        asked = {"service": "assets", "headers": by}
        headers = {f"X-{by}-Method": "GET", f"X-{by}-{uri}": "/assets/17?x=1"}
        answer = await self.verify(service, keeper.token, service.acme, sent=headers, **asked)
        assert answer.status_code == 200
        assert answer.json()["endpoint"]["id"] == endpoint

    async def test_403_whatever_a_client_says_of_its_call(
        self, service: Running, keeper: Person
    ) -> None:
        """A proxy hands on the headers that it does not set itself."""
        await offered(service, service.acme, "assets:read")
        set_by_proxy = {"X-Forwarded-Method": "GET", "X-Forwarded-Uri": "/elsewhere"}
        by_client = {"X-Original-Method": "GET", "X-Original-URI": "/assets/17"}
        asked = {"service": "assets", "headers": "forwarded"}
        sent = set_by_proxy | by_client
        answer = await self.verify(service, keeper.token, service.acme, sent=sent, **asked)
        assert answer.status_code == 403

    @pytest.mark.parametrize(
        "path", ["/nowhere", "/assets/1/2", "/assets/a%2Fb", "//assets/1", "*", ""]
    )
    async def test_f5_403_what_is_not_in_the_catalogue(
        self, service: Running, keeper: Person, path: str
    ) -> None:
        await offered(service, service.acme, "assets:read")
        headers = {"X-Original-Method": "GET", "X-Original-URI": path}
        answer = await self.verify(
            service, keeper.token, service.acme, service="assets", sent=headers
        )
        assert answer.status_code == 403

    async def test_f2_403_what_the_list_lacks(
        self, service: Running, keeper: Person, role: Role
    ) -> None:
        listed = await offered(service, service.acme, "assets:read")
        await offered(service, service.acme, "assets:read", path="/others/{id}")
        key = await service.add_key(user_id=keeper.user.id, endpoint_ids=(listed,))
        body = await service.exchange(key=key, user=keeper.user.username)
        for path, status in (("/assets/1", 200), ("/others/1", 403)):
            headers = {"X-Original-Method": "GET", "X-Original-URI": path}
            answer = await self.verify(
                service, body["access_token"], service.acme, service="assets", sent=headers
            )
            assert answer.status_code == status

    async def test_f5_403_a_list_and_only_a_permission_asked_for(
        self, service: Running, keeper: Person
    ) -> None:
        """Which of its endpoints the call is, nobody says."""
        listed = await offered(service, service.acme, "assets:read")
        key = await service.add_key(user_id=keeper.user.id, endpoint_ids=(listed,))
        token = (await service.exchange(key=key, user=keeper.user.username))["access_token"]
        answer = await self.verify(service, token, service.acme, permission="assets:read")
        assert answer.status_code == 403
        assert (await self.verify(service, token, service.acme)).status_code == 200

    async def test_401_revoked(self, service: Running, keeper: Person) -> None:
        await service.client.post("/iam/auth/revoke", data={"token": keeper.token})
        assert (await self.verify(service, keeper.token)).status_code == 401

    async def test_401_and_403_are_all_that_a_proxy_hears(
        self, service: Running, keeper: Person
    ) -> None:
        twice = [("Authorization", f"Bearer {keeper.token}")] * 2
        answer = await service.client.get("/iam/auth/verify", headers=twice)
        assert answer.status_code == 401
        sent = {"X-Original-Method": "GET", "X-Original-URI": "/" + "x" * 9_000}
        asked = {"service": "assets"}
        answer = await self.verify(service, keeper.token, service.acme, sent=sent, **asked)
        assert answer.status_code == 403

    async def test_400_a_blank_permission(self, service: Running, keeper: Person) -> None:
        answer = await self.verify(service, keeper.token, service.acme, permission=" ")
        assert answer.status_code == 400

    async def test_403_a_tenant_below_asks_for_less(self, service: Running, keeper: Person) -> None:
        root = service.demo.platform.tenant.id
        await offered(service, root, "assets:destroy")
        await offered(service, service.acme, "assets:read")
        sent = {"X-Original-Method": "GET", "X-Original-URI": "/assets/17"}
        asked = {"service": "assets"}
        answer = await self.verify(service, keeper.token, service.acme, sent=sent, **asked)
        assert answer.status_code == 403

    async def test_400_the_proxy_does_not_say_which_call(
        self, service: Running, keeper: Person
    ) -> None:
        answer = await self.verify(service, keeper.token, service.acme, service="assets")
        assert answer.status_code == 400


class TestClaim:
    """A resource server learns from the token that its key lists endpoints."""

    async def test_a_short_list_is_in_the_token(self, service: Running) -> None:
        ids = [await offered(service, service.acme, "tenants:read", path=f"/{n}") for n in range(3)]
        key = await service.add_key(endpoint_ids=tuple(ids))
        body = await service.exchange(key=key, tenant=service.acme)
        assert claims(service, body["access_token"])["endpoints"] == sorted(ids)
        fresh = (await service.refresh(body["refresh_token"])).json()
        assert claims(service, fresh["access_token"])["endpoints"] == sorted(ids)
        told = (await service.introspect(body["access_token"])).json()
        assert sorted(told["endpoints"]) == sorted(ids)

    async def test_a_long_one_says_where_to_ask(self, service: Running) -> None:
        listed = await offered(service, service.acme, "tenants:read")
        ids = (listed, *(new_id() for _ in range(50)))
        key = await service.add_key(endpoint_ids=ids)
        body = await service.exchange(key=key, tenant=service.acme)
        named = claims(service, body["access_token"])
        assert "endpoints" not in named
        source = named["_claim_names"]["endpoints"]
        assert named["_claim_sources"][source]["endpoint"].endswith("/iam/auth/verify")
        told = (await service.introspect(body["access_token"])).json()
        assert sorted(told["endpoints"]) == sorted(ids)

    async def test_no_list_no_claim(self, service: Running) -> None:
        body = await service.exchange(tenant=service.acme)
        assert not {"endpoints", "_claim_names"} & claims(service, body["access_token"]).keys()
