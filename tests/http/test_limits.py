"""How often what may be done: 429 with Retry-After, and never another word."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from keyturn.server.services.ports import AuditFilter, Slice
from tests.http.conftest import Running
from tests.http.leaks import other_secret

Start = Callable[..., Awaitable[Running]]

FORGED = "kt_" + "x" * 73


async def guess(service: Running, username: str = "somebody", **more: Any) -> httpx.Response:
    return await service.token(grant_type="password", username=username, password=FORGED, **more)


async def tried(service: Running) -> list[httpx.Response]:
    """Every way to show a credential that is no good."""
    bad = {"Authorization": "Bearer x.y.z"}
    tenant = {**bad, "x-tenant-id": service.acme}
    return [
        await guess(service),
        await service.token(grant_type="client_credentials", client_id="x", client_secret=FORGED),
        await service.token(grant_type="refresh_token", refresh_token="ktr_x"),
        await service.introspect("x", auth=("somebody", FORGED)),
        await service.client.post(
            "/iam/auth/revoke", data={"token": "x"}, auth=("somebody", FORGED)
        ),
        await service.client.get("/iam/users/me", headers=bad),
        await service.client.get("/iam/auth/verify", headers=bad),
        await service.client.get("/iam/tenants/current", headers=tenant),
        await service.client.get("/iam/roles", headers=tenant),
    ]


def expect_throttled(answer: httpx.Response, limit: str, quota: int) -> None:
    assert answer.status_code == 429, answer.text
    wait = int(answer.headers["retry-after"])
    assert 1 <= wait <= 7_200
    assert answer.headers["ratelimit"] == f'"{limit}";r=0;t={wait}'
    assert answer.headers["ratelimit-policy"] == f'"{limit}";q={quota};w=3600'
    assert answer.headers["cache-control"] == "no-store"
    assert "www-authenticate" not in answer.headers
    body = answer.json()
    if answer.request.url.path in {f"/iam/auth/{n}" for n in ("token", "revoke", "introspect")}:
        assert body["error"] == "too_many_requests"
    else:
        assert answer.headers["content-type"] == "application/problem+json"
        assert body["type"] == "urn:keyturn:error:too_many_requests"
        assert body["status"] == 429


async def told(service: Running) -> list[tuple[str | None, dict[str, Any]]]:
    """What the audit trail has of throttling: tenant, and data."""
    await service.service.usage.flush()
    found = []
    async with service.service.parts.store.transaction() as tx:
        for tenant_id in (service.acme, service.demo.platform.tenant.id):
            wanted = AuditFilter(action="request.throttled")
            page = await tx.audit.events(tenant_id, wanted, Slice(100, None))
            found += [(event.tenant_id, dict(event.data)) for event in page.items]
    return found


class TestFailuresPerAddress:
    async def test_429_for_all_that_comes_from_there(self, start: Start) -> None:
        service = await start(limit_failures_per_address="9/hour")
        statuses = {answer.status_code for answer in await tried(service)}
        assert statuses == {400, 401}
        for answer in await tried(service):
            expect_throttled(answer, "failures-per-address", 9)

    async def test_429_for_a_good_key_too(self, start: Start) -> None:
        service = await start(limit_failures_per_address="2/hour")
        body = await service.exchange()
        await guess(service)
        await guess(service)
        for answer in (
            await service.token(
                grant_type="password", username=service.username, password=service.api_key
            ),
            await service.get("/iam/users/me", body["access_token"]),
        ):
            expect_throttled(answer, "failures-per-address", 2)

    async def test_what_is_for_everybody_stays(self, start: Start) -> None:
        service = await start(limit_failures_per_address="1/hour")
        await guess(service)
        for path in ("/.well-known/jwks.json", "/health/ready", "/health/live"):
            assert (await service.client.get(path)).status_code == 200

    async def test_a_crowd_of_guesses_at_once_learns_no_more(self, start: Start) -> None:
        service = await start(limit_failures_per_address="5/hour")
        answers = await asyncio.gather(*(guess(service) for _ in range(40)))
        statuses = sorted(answer.status_code for answer in answers)
        assert statuses == [400] * 5 + [429] * 35

    async def test_no_failure_no_count(self, start: Start) -> None:
        service = await start(limit_failures_per_address="1/hour")
        for _ in range(3):
            assert (await service.get("/iam/users/me")).status_code == 401  # shows no token
            assert (await service.token(grant_type="password")).status_code == 400
            await service.exchange()

    async def test_a_token_that_was_good_once_is_no_guess(self, start: Start) -> None:
        """Or whoever has one could lock out the resource server that asks about it."""
        service = await start(limit_failures_per_address="1/hour")
        token = (await service.exchange())["access_token"]
        assert (await service.client.post("/iam/auth/revoke", data={"token": token})).is_success
        for _ in range(3):
            for path in ("/iam/users/me", "/iam/auth/verify"):
                assert (await service.get(path, token)).status_code == 401
        await service.exchange()

    async def test_invented_keys_that_are_to_be_revoked(self, start: Start) -> None:
        """They are no error, and guesses all the same: 200 below the limit, 429 above it."""
        service = await start(limit_failures_per_address="2/hour")
        key = await service.add_key()
        rotated = await service.add_key()
        await service.administer("POST", f"/api-keys/{rotated.key_id}/rotate", service.acme, {})

        async def revoke(token: str) -> httpx.Response:
            return await service.client.post("/iam/auth/revoke", data={"token": token})

        # What is no key costs nothing, and what was one was not guessed.
        for text in ("kt_x", "x", rotated.text, rotated.text):
            assert (await revoke(text)).status_code == 200
        for text in (service.service.parts.key_format.new().text, other_secret(key.text)):
            answer = await revoke(text)
            assert (answer.status_code, answer.content) == (200, b"")
        expect_throttled(await revoke(other_secret(key.text)), "failures-per-address", 2)
        expect_throttled(await revoke(key.text), "failures-per-address", 2)

    async def test_other_addresses_go_on(self, start: Start) -> None:
        service = await start(limit_failures_per_address="2/hour", trusted_proxies="127.0.0.0/8")

        async def at(address: str) -> int:
            answer = await service.token(
                headers={"x-forwarded-for": address},
                grant_type="password",
                username="somebody",
                password=FORGED,
            )
            return answer.status_code

        assert [await at("192.0.2.1") for _ in range(3)] == [400, 400, 429]
        assert await at("192.0.2.2") == 400
        assert [await at(f"2001:db8::{n}") for n in range(3)] == [400, 400, 429]
        assert await at("2001:db8:0:1::1") == 400

    async def test_behind_a_proxy_that_is_not_declared(self, start: Start) -> None:
        """Each hop by itself, and ten times as much for all that the proxy brings."""
        service = await start(limit_failures_per_address="2/hour")

        async def at(address: str) -> int:
            answer = await service.client.get(
                "/iam/users/me",
                headers={"x-forwarded-for": address, "authorization": "Bearer x"},
            )
            return answer.status_code

        assert [await at("192.0.2.1") for _ in range(3)] == [401, 401, 429]
        assert [await at(f"192.0.2.{n}") for n in range(2, 22)] == [401] * 18 + [429] * 2


class TestFailuresPerUsername:
    async def test_429_in_place_of_a_refusal(self, start: Start) -> None:
        service = await start(limit_failures_per_username="2/hour")
        statuses = [(await guess(service, "Ada@example.org")).status_code for _ in range(2)]
        assert statuses == [400, 400]
        expect_throttled(await guess(service, "ada@EXAMPLE.org"), "failures-per-username", 2)
        assert (await guess(service, "bob@example.org")).status_code == 400

    async def test_nobody_locks_a_user_out(self, start: Start) -> None:
        service = await start(limit_failures_per_username="1/hour")
        assert (await guess(service, service.username)).status_code == 400
        assert (await guess(service, service.username)).status_code == 429
        await service.exchange()

    async def test_the_client_of_introspection_as_well(self, start: Start) -> None:
        service = await start(limit_failures_per_username="1/hour")
        auth = (service.admin[0], FORGED)
        assert (await service.introspect("x", auth=auth)).status_code == 401
        expect_throttled(await service.introspect("x", auth=auth), "failures-per-username", 1)
        assert (await service.introspect("x")).status_code == 200

    async def test_names_are_bounded_in_length(self, start: Start) -> None:
        service = await start(limit_failures_per_username="1/hour")
        for _ in range(2):
            answer = await guess(service, "a" * 20_000)
        assert answer.status_code == 429


class TestExchanges:
    async def test_429_per_key_whatever_the_grant(self, start: Start) -> None:
        service = await start(limit_exchanges_per_key="3/hour")
        body = await service.exchange()
        refreshed = await service.refresh(body["refresh_token"])
        assert refreshed.status_code == 200
        assert await service.exchange()
        unspent = refreshed.json()["refresh_token"]
        for answer in (
            await service.token(
                grant_type="password", username=service.username, password=service.api_key
            ),
            await service.token(
                grant_type="client_credentials",
                client_id=service.demo.key.key_id,
                client_secret=service.api_key,
            ),
            await service.refresh(unspent),
            await service.token(
                grant_type="urn:ietf:params:oauth:grant-type:token-exchange",
                subject_token=body["access_token"],
                subject_token_type="urn:ietf:params:oauth:token-type:access_token",
            ),
        ):
            expect_throttled(answer, "exchanges-per-key", 3)
        other = await service.add_key()
        assert await service.exchange(key=other)

    async def test_a_throttled_refresh_spends_nothing(
        self, start: Start, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        service = await start(limit_exchanges_per_key="1/second", refresh_grace=0)
        token = (await service.exchange())["refresh_token"]
        answer = await service.refresh(token)
        tries = 0
        while answer.status_code == 429 and tries < 10:
            await asyncio.sleep(int(answer.headers["retry-after"]))
            answer = await service.refresh(token)
            tries += 1
        assert answer.status_code == 200

    async def test_429_per_tenant_of_all_its_keys(self, start: Start) -> None:
        service = await start(limit_exchanges_per_tenant="2/hour")
        other = await service.add_key()
        await service.exchange()
        await service.exchange(key=other)
        answer = await service.token(
            grant_type="password", username=service.username, password=other.text
        )
        expect_throttled(answer, "exchanges-per-tenant", 2)
        name, _ = service.admin
        assert await service.exchange(key=service.demo.platform.key, user=name)

    async def test_a_wrong_secret_takes_nothing_from_the_key(self, start: Start) -> None:
        service = await start(limit_exchanges_per_key="1/hour")
        for _ in range(3):
            assert (await guess(service, service.username)).status_code == 400
        await service.exchange()


class TestManagement:
    async def test_429_per_token_and_what_is_left(self, start: Start) -> None:
        service = await start(limit_management_per_token="2/hour")
        token = (await service.exchange())["access_token"]
        for left in (1, 0):
            answer = await service.get("/iam/tenants/current", token, service.acme)
            assert answer.status_code == 200
            assert answer.headers["ratelimit"] == f'"management-per-token";r={left};t=3600'
        answer = await service.get("/iam/tenants/current", token, service.acme)
        expect_throttled(answer, "management-per-token", 2)
        assert (await service.get("/iam/users/me", token)).status_code == 200
        other = (await service.exchange())["access_token"]
        assert (await service.get("/iam/tenants/current", other, service.acme)).status_code == 200

    async def test_resource_servers_are_not_management(self, start: Start) -> None:
        service = await start(limit_management_per_token="1/hour")
        name, _ = service.admin
        body = await service.exchange(key=service.demo.platform.key, user=name, tenant=service.acme)
        for _ in range(3):
            answer = await service.get("/iam/auth/revocations", body["access_token"], service.acme)
            assert answer.status_code == 200


def fields_of(caplog: pytest.LogCaptureFixture, message: str) -> dict[str, str]:
    """What stands beside the one line of that message."""
    [record] = [record for record in caplog.records if record.getMessage() == message]
    fields: dict[str, str] = record.__dict__["fields"]
    return fields


class TestTold:
    async def test_once_a_window_in_the_audit_trail_and_the_log(
        self, start: Start, caplog: pytest.LogCaptureFixture
    ) -> None:
        service = await start(limit_exchanges_per_key="1/hour")
        await service.exchange()
        for _ in range(5):
            answer = await service.token(
                grant_type="password", username=service.username, password=service.api_key
            )
            assert answer.status_code == 429
        ((tenant, data),) = await told(service)
        assert tenant == service.acme
        assert data["why"] == "exchanges-per-key"
        assert data["count"] == 1
        assert caplog.text.count("throttled: exchanges-per-key") == 1
        assert fields_of(caplog, "throttled: exchanges-per-key") == {
            "address": "127.0.0.1",
            "user_id": service.demo.user.id,
            "key_id": service.demo.key.key_id,
            "tenant_id": service.acme,
        }

    async def test_the_log_names_the_address_of_one_who_guesses(
        self, start: Start, caplog: pytest.LogCaptureFixture
    ) -> None:
        service = await start(limit_failures_per_address="1/hour")
        await guess(service)
        await guess(service)
        assert fields_of(caplog, "throttled: failures-per-address") == {"address": "127.0.0.1"}


class TestOff:
    async def test_without_limits_nothing_is_counted(self, service: Running) -> None:
        for _ in range(70):
            assert (await guess(service)).status_code == 400
        answer = await service.get(
            "/iam/tenants/current", (await service.exchange())["access_token"], service.acme
        )
        assert "ratelimit" not in answer.headers
