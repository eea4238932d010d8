"""At most one valid access token at a time, where user or policy ask for it."""

import asyncio
from dataclasses import replace
from typing import Any

import httpx

from keyturn.server.domain.model import Rotation
from keyturn.server.domain.permissions import VIEWER
from keyturn.server.domain.policy import Policy
from tests.http.conftest import Running
from tests.http.test_exchange import claims


async def lives(service: Running, *bodies: dict[str, Any]) -> list[bool]:
    """Which of these answers' access tokens are good."""
    answers = [await service.get("/iam/users/me", body["access_token"]) for body in bodies]
    assert {a.status_code for a in answers} <= {200, 401}
    return [a.status_code == 200 for a in answers]


async def settle(service: Running, tenant_id: str) -> None:
    async with service.service.parts.store.transaction() as tx:
        tenant = await tx.tenants.get(tenant_id)
        assert tenant is not None
        await tx.tenants.save(replace(tenant, policy=Policy(single_token=True)))


async def mark(service: Running) -> None:
    """The demo's user, by itself."""
    async with service.service.parts.store.transaction() as tx:
        user = await tx.users.get(service.demo.user.id)
        assert user is not None
        await tx.users.save(replace(user, single_token=True))


class TestP2SingleToken:
    async def test_without_it_both_live(self, service: Running) -> None:
        first, second = await service.exchange(), await service.exchange()
        assert await lives(service, first, second) == [True, True]

    async def test_p2_the_users_new_token_ends_the_one_before(self, service: Running) -> None:
        await mark(service)
        first, second = await service.exchange(), await service.exchange()
        assert await lives(service, first, second) == [False, True]

    async def test_p2_by_the_policy_of_a_tenant_above_the_users(self, service: Running) -> None:
        await settle(service, service.demo.platform.tenant.id)
        first, second = await service.exchange(), await service.exchange()
        assert await lives(service, first, second) == [False, True]

    async def test_p2_by_another_key_of_the_user(self, service: Running) -> None:
        await mark(service)
        first = await service.exchange()
        second = await service.exchange(key=await service.add_key())
        assert await lives(service, first, second) == [False, True]

    async def test_another_users_token_lives_on(self, service: Running) -> None:
        await mark(service)
        other = await service.add_user()
        await service.give(other.id, service.acme, VIEWER.id)
        held = await service.exchange_for(other)
        await service.exchange()
        assert await lives(service, held) == [True]

    async def test_p2_an_exchange_ends_the_sessions_before(self, service: Running) -> None:
        await mark(service)
        first = await service.exchange()
        await service.exchange()
        answer = await service.refresh(first["refresh_token"])
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")

    async def test_p2_a_refresh_ends_the_access_token_before(self, service: Running) -> None:
        await mark(service)
        first = await service.exchange()
        second = (await service.refresh(first["refresh_token"])).json()
        third = (await service.refresh(second["refresh_token"])).json()
        assert await lives(service, first, second, third) == [False, False, True]

    async def test_p2_client_credentials_too(self, service: Running) -> None:
        await mark(service)
        first = await service.exchange()
        answer = await service.token(
            grant_type="client_credentials",
            client_id=service.username,
            client_secret=service.api_key,
        )
        assert await lives(service, first, answer.json()) == [False, True]

    async def test_p2_of_twenty_at_once_one_lives(self, service: Running) -> None:
        await mark(service)
        bodies = await asyncio.gather(*(service.exchange() for _ in range(20)))
        assert sum(await lives(service, *bodies)) == 1
        epochs = {claims(service, body["access_token"])["epoch"] for body in bodies}
        assert len(epochs) == 20

    async def test_a_change_meanwhile_is_seen(self, service: Running) -> None:
        """An exchange that waits for its turn gives nothing that was taken before it."""
        await mark(service)
        before = await service.exchange()
        await service.reauthorise()
        after = await service.exchange()
        assert await lives(service, before, after) == [False, True]

    async def test_an_exchange_that_waited_for_a_rotation_has_the_wrong_secret(
        self, service: Running
    ) -> None:
        await mark(service)
        store, key_id = service.service.parts.store, service.demo.key.key_id
        new = service.service.parts.key_format.new(key_id)
        async with store.transaction() as tx:
            await tx.users.raise_epochs([service.demo.user.id], end_sessions=True)
            waiting = asyncio.create_task(self.tried(service))
            await asyncio.sleep(0.5)
            now = await tx.now()
            await tx.api_keys.rotate(key_id, new.hash, Rotation(now, now, False))
        answer = await waiting
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")

    async def test_a_refresh_that_waited_for_the_end_of_all_sessions(
        self, service: Running
    ) -> None:
        await mark(service)
        body = await service.exchange()
        async with service.service.parts.store.transaction() as tx:
            await tx.users.raise_epochs([service.demo.user.id], end_sessions=True)
            waiting = asyncio.create_task(service.refresh(body["refresh_token"]))
            await asyncio.sleep(0.5)
        answer = await waiting
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")

    async def test_an_exchange_that_waited_while_networks_were_narrowed(
        self, service: Running
    ) -> None:
        await mark(service)
        store, key_id = service.service.parts.store, service.demo.key.key_id
        async with store.transaction() as tx:
            await tx.users.raise_epochs([service.demo.user.id])
            waiting = asyncio.create_task(self.tried(service))
            await asyncio.sleep(0.5)
            key = await tx.api_keys.get(key_id)
            assert key is not None
            await tx.api_keys.save(replace(key, networks=("203.0.113.0/24",)))
        assert (await waiting).status_code == 400

    async def tried(self, service: Running) -> httpx.Response:
        return await service.token(
            grant_type="password", username=service.username, password=service.api_key
        )

    async def test_to_switch_it_on_ends_what_there_is(self, service: Running) -> None:
        before = [await service.exchange() for _ in range(2)]
        path = f"/service-users/{service.demo.user.id}"
        await service.administer("PATCH", path, service.acme, {"single_token": True})
        assert await lives(service, *before) == [False, False]

    async def test_it_is_refused_for_a_key_that_ended(self, service: Running) -> None:
        await mark(service)
        key = await service.add_key()
        await service.revoke_key(key.key_id)
        answer = await service.token(
            grant_type="password", username=service.username, password=key.text
        )
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")
