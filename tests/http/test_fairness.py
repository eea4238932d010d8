"""One tenant sends more than the database takes: others are answered in their turn."""

import asyncio
from collections.abc import Awaitable, Callable

import httpx
import pytest

from tests.http.conftest import Running

Start = Callable[..., Awaitable[Running]]

FLOOD, FEW, POOL = 80, 4, 2
#: Answers to the flood that one of the others may have to see first: those at work when it comes,
#: and one between each two of its own steps.
MOST_BEFORE = 12


@pytest.fixture
async def small(start: Start) -> Running:
    return await start(database_pool_size=POOL, database_wait=60)


async def tokens(service: Running, count: int, *, admin: bool = False) -> list[str]:
    """Refresh tokens of the demo's tenant, or of the platform's administrator."""
    who = {"key": service.demo.platform.key, "user": service.admin[0]} if admin else {}
    return [(await service.exchange(**who))["refresh_token"] for _ in range(count)]  # type: ignore[arg-type]


class TestRefreshes:
    async def test_200_within_a_few_answers_to_others(self, small: Running) -> None:
        floods, few = await tokens(small, FLOOD), await tokens(small, FEW, admin=True)
        order: list[str] = []

        async def refresh(token: str, whose: str) -> httpx.Response:
            answer = await small.refresh(token)
            order.append(whose)
            return answer

        flood = [asyncio.create_task(refresh(token, "flood")) for token in floods]
        while not order:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0)
        waited = []
        for token in few:
            before = len(order)
            assert (await refresh(token, "few")).status_code == 200
            waited.append(len(order) - before - 1)
        assert len(order) < FLOOD, "the flood was over before the others were answered"
        assert max(waited) <= MOST_BEFORE
        assert {answer.status_code for answer in await asyncio.gather(*flood)} == {200}

    async def test_503_for_the_one_that_sends_too_many_alone(self, start: Start) -> None:
        # A quarter of the places in flight may wait for one kind of connection.
        service = await start(database_pool_size=1, database_wait=60, max_in_flight=40)
        floods, few = await tokens(service, 38), await tokens(service, 1, admin=True)
        flood = [asyncio.create_task(service.refresh(token)) for token in floods]
        done: list[httpx.Response] = []
        while not done:
            await asyncio.sleep(0)
            done = [task.result() for task in flood if task.done()]
        assert (await service.refresh(few[0])).status_code == 200
        statuses = [answer.status_code for answer in await asyncio.gather(*flood)]
        assert set(statuses) == {200, 503}
        assert statuses.count(200) >= 10


class TestManagement:
    async def test_200_within_a_few_answers_to_others(self, small: Running) -> None:
        body = await small.exchange(tenant=small.acme)
        other = await small.exchange(
            key=small.demo.platform.key,
            user=small.admin[0],
            tenant=small.demo.platform.tenant.id,
        )
        order: list[str] = []

        async def roles(token: str, tenant: str, whose: str) -> int:
            answer = await small.get("/iam/users/me/sessions", token, tenant)
            order.append(whose)
            return answer.status_code

        flood = [
            asyncio.create_task(roles(body["access_token"], small.acme, "flood"))
            for _ in range(FLOOD)
        ]
        while not order:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0)
        before, root = len(order), small.demo.platform.tenant.id
        assert await roles(other["access_token"], root, "few") == 200
        assert len(order) < FLOOD
        assert len(order) - before - 1 <= MOST_BEFORE
        assert set(await asyncio.gather(*flood)) == {200}

    async def test_200_however_many_keys_the_other_tenant_has(self, small: Running) -> None:
        """Its tokens name no tenant: whose they are is what is known of their keys."""
        keys = [await small.add_key() for _ in range(FLOOD // 2)]
        floods = [(await small.exchange(key=key))["access_token"] for key in keys]
        few = await small.exchange(key=small.demo.platform.key, user=small.admin[0])
        order: list[str] = []

        async def sessions(token: str, whose: str) -> int:
            answer = await small.get("/iam/users/me/sessions", token)
            order.append(whose)
            return answer.status_code

        flood = [asyncio.create_task(sessions(token, "flood")) for token in floods * 2]
        while not order:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0)
        before = len(order)
        assert await sessions(few["access_token"], "few") == 200
        assert len(order) < FLOOD
        assert len(order) - before - 1 <= MOST_BEFORE
        assert set(await asyncio.gather(*flood)) == {200}
