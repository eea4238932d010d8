"""Refresh and rotation (promise P3)."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from keyturn.server.domain.model import Role
from tests.http.conftest import Running
from tests.http.test_exchange import C1, claims


async def audit(service: Running, action: str) -> int:
    """How many audit events there are of an action."""
    import sqlite3

    import asyncpg

    url = service.settings.database_url.get_secret_value()
    query = "SELECT count(*) FROM audit_events WHERE action = "
    if url.startswith("sqlite"):
        with sqlite3.connect(url.removeprefix("sqlite:///")) as connection:
            count = connection.execute(query + "?", (action,)).fetchone()[0]
        connection.close()
    else:
        session = await asyncpg.connect(url)
        count = await session.fetchval(query + "$1", action)
        await session.close()
    return int(count)


class TestRotation:
    async def test_200_gives_new_tokens_of_the_same_session(self, service: Running) -> None:
        first = await service.exchange()
        answer = await service.refresh(first["refresh_token"])
        assert answer.status_code == 200
        second = answer.json()
        assert second.keys() == C1
        assert second["refresh_token"] != first["refresh_token"]
        told = [claims(service, body["access_token"]) for body in (first, second)]
        assert told[0]["sid"] == told[1]["sid"]
        assert told[0]["jti"] != told[1]["jti"]

    async def test_a_chain_of_refreshes(self, service: Running) -> None:
        token = (await service.exchange())["refresh_token"]
        for _ in range(5):
            token = (await service.refresh(token)).json()["refresh_token"]
        assert (await service.refresh(token)).status_code == 200

    async def test_a_retry_within_the_grace_gets_the_same_successor(self, service: Running) -> None:
        token = (await service.exchange())["refresh_token"]
        answers = [await service.refresh(token) for _ in range(3)]
        assert {a.status_code for a in answers} == {200}
        assert len({a.json()["refresh_token"] for a in answers}) == 1

    async def test_twenty_at_once_get_the_same_successor(self, service: Running) -> None:
        token = (await service.exchange())["refresh_token"]
        answers = await asyncio.gather(*(service.refresh(token) for _ in range(20)))
        assert {a.status_code for a in answers} == {200}
        assert len({a.json()["refresh_token"] for a in answers}) == 1

    async def test_without_grace_one_of_twenty_wins(self, start: Any) -> None:
        service: Running = await start(refresh_grace=0)
        token = (await service.exchange())["refresh_token"]
        answers = await asyncio.gather(*(service.refresh(token) for _ in range(20)))
        assert sorted(a.status_code for a in answers) == [200] + [400] * 19
        assert {a.json()["error"] for a in answers if a.status_code == 400} == {"invalid_grant"}


class TestReuse:
    async def test_the_session_dies_when_a_used_successor_has_a_predecessor_back(
        self, service: Running
    ) -> None:
        first = await service.exchange()
        second = (await service.refresh(first["refresh_token"])).json()
        third = (await service.refresh(second["refresh_token"])).json()
        again = await service.refresh(first["refresh_token"])
        assert (again.status_code, again.json()["error"]) == (400, "invalid_grant")
        # The whole family is dead: the newest refresh token and every access token.
        assert (await service.refresh(third["refresh_token"])).status_code == 400
        for body in (first, second, third):
            assert (await service.get("/iam/users/me", body["access_token"])).status_code == 401
        assert await audit(service, "session.reuse_detected") == 1

    async def test_after_the_grace_a_spent_token_is_reuse(self, start: Any) -> None:
        service: Running = await start(refresh_grace=0)
        first = await service.exchange()
        second = (await service.refresh(first["refresh_token"])).json()
        assert (await service.refresh(first["refresh_token"])).status_code == 400
        assert (await service.refresh(second["refresh_token"])).status_code == 400
        assert await audit(service, "session.reuse_detected") == 1


class TestEnd:
    async def test_400_after_its_lifetime(self, service: Running) -> None:
        token = (await service.exchange())["refresh_token"]
        service.clock.shift = timedelta(seconds=1801)
        answer = await service.refresh(token)
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")

    async def test_the_session_has_an_absolute_end(self, start: Any) -> None:
        service: Running = await start(session_max_lifetime=600)
        body = await service.exchange()
        assert body["refresh_expires_in"] == 600
        service.clock.shift = timedelta(seconds=400)
        body = (await service.refresh(body["refresh_token"])).json()
        assert body["refresh_expires_in"] <= 200
        assert body["expires_in"] <= 200
        service.clock.shift = timedelta(seconds=601)
        assert (await service.refresh(body["refresh_token"])).status_code == 400

    @pytest.mark.parametrize("what", ["key", "user"])
    async def test_400_once_the_key_or_user_is_gone(self, service: Running, what: str) -> None:
        token = (await service.exchange())["refresh_token"]
        if what == "key":
            await service.revoke_key(service.demo.key.key_id)
        else:
            async with service.service.parts.store.transaction() as tx:
                await tx.users.set_disabled(service.demo.user.id, service.clock())
        answer = await service.refresh(token)
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")


class TestAuthority:
    async def test_the_tenant_and_scope_are_kept(self, service: Running) -> None:
        body = await service.exchange(tenant=service.acme, scope="assets:manage data:manage")
        told = claims(
            service, (await service.refresh(body["refresh_token"])).json()["access_token"]
        )
        assert told["tenant_id"] == service.acme
        assert told["scope"] == "assets:manage data:manage"

    async def test_scope_narrows_the_access_token_and_not_the_session(
        self, service: Running
    ) -> None:
        body = await service.exchange(tenant=service.acme)
        narrow = (await service.refresh(body["refresh_token"], scope="assets:manage")).json()
        assert narrow["scope"] == "assets:manage"
        wide = (await service.refresh(narrow["refresh_token"])).json()
        assert wide["scope"] == body["scope"]

    async def test_400_scope_never_widens_and_nothing_is_spent(self, service: Running) -> None:
        body = await service.exchange(tenant=service.acme, scope="assets:manage")
        answer = await service.refresh(body["refresh_token"], scope="data:manage")
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_scope")
        assert (await service.refresh(body["refresh_token"])).status_code == 200

    async def test_what_was_given_later_is_not_in_it(self, service: Running) -> None:
        body = await service.exchange()
        role: Role = await service.add_role(service.globex, "later", "system:manage")
        await service.give(service.demo.user.id, service.globex, role.id)
        refreshed = (await service.refresh(body["refresh_token"])).json()
        assert claims(service, refreshed["access_token"])["tenants"] == {
            service.acme: ["operator"],
            service.globex: ["viewer"],
        }
        told = claims(service, (await service.exchange())["access_token"])
        assert told["tenants"][service.globex] == ["later", "viewer"]

    async def test_what_was_taken_is_not_in_it(self, service: Running) -> None:
        body = await service.exchange()
        await service.suspend(service.acme)
        refreshed = (await service.refresh(body["refresh_token"])).json()
        told = claims(service, refreshed["access_token"])
        assert told["tenants"] == {service.globex: ["viewer"]}


class TestTenant:
    async def test_narrows_this_token_and_not_the_session(self, service: Running) -> None:
        body = await service.exchange()
        narrowed = await service.client.post(
            "/iam/auth/token",
            data={"grant_type": "refresh_token", "refresh_token": body["refresh_token"]},
            headers={"x-tenant-id": service.acme},
        )
        told = claims(service, narrowed.json()["access_token"])
        assert (told["tenant_id"], told["roles"]) == (service.acme, ["operator"])
        whole = (await service.refresh(narrowed.json()["refresh_token"])).json()
        assert len(claims(service, whole["access_token"])["tenants"]) == 2

    async def test_403_beyond_the_session_and_nothing_is_spent(self, service: Running) -> None:
        body = await service.exchange(tenant=service.acme)
        answer = await service.client.post(
            "/iam/auth/token",
            data={"grant_type": "refresh_token", "refresh_token": body["refresh_token"]},
            headers={"x-tenant-id": service.globex},
        )
        assert (answer.status_code, answer.json()["error"]) == (403, "access_denied")
        assert (await service.refresh(body["refresh_token"])).status_code == 200

    async def test_an_unlisted_session_ends_when_the_user_may_do_other_things(
        self, service: Running
    ) -> None:
        for number in range(25):
            await service.add_tenant(f"product {number}", parent_id=service.acme)
        body = await service.exchange()
        body = (await service.refresh(body["refresh_token"])).json()
        await service.reauthorise()
        assert (await service.refresh(body["refresh_token"])).status_code == 400


class TestClient:
    @pytest.mark.parametrize("secret", [True, False])
    async def test_200_as_the_key_it_was_given_to(self, service: Running, secret: bool) -> None:
        body = await service.exchange()
        params = {"client_id": service.demo.key.key_id}
        if secret:
            params["client_secret"] = service.api_key
        assert (await service.refresh(body["refresh_token"], **params)).status_code == 200

    async def test_401_as_another(self, service: Running) -> None:
        other = await service.add_key()
        body = await service.exchange()
        for params in (
            {"client_id": other.key_id},
            {"client_id": other.key_id, "client_secret": other.text},
            {"client_id": service.demo.key.key_id, "client_secret": "wrong"},
        ):
            answer = await service.refresh(body["refresh_token"], **params)
            assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")
        assert (await service.refresh(body["refresh_token"])).status_code == 200

    async def test_400_anything_that_is_no_refresh_token(self, service: Running) -> None:
        body = await service.exchange()
        token = body["refresh_token"]
        for text in (
            "x",
            "ktr_",
            body["access_token"],
            service.api_key,
            token[:-4],
            token + "A",
            token[:40] + ("A" if token[40] != "A" else "B") + token[41:],
            "ktr_" + "A" * 50_000,
        ):
            answer = await service.refresh(text)
            assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant"), text[:9]
