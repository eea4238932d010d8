"""Who guesses one person's password shuts themselves out, and not that person."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import httpx
import pytest

from tests.http.conftest import Running
from tests.http.console.conftest import PASSWORD, SAME_ORIGIN, Console, sign_in

Start = Callable[..., Awaitable[Running]]
#: A browser at an address, which the proxy tells.
At = Callable[[str], Awaitable[httpx.AsyncClient]]

GUESSER = "198.51.100.9"
OWNER = "203.0.113.7"
#: Tries of one person from one network. (`console` signed in from another.)
TRIES = 3


@pytest.fixture
async def service(start: Start) -> Running:
    return await start(
        limit_failures_per_username=f"{TRIES}/hour",
        limit_failures_per_address="8/hour",
        trusted_proxies="127.0.0.0/8",
    )


@pytest.fixture
async def at(service: Running) -> AsyncIterator[At]:
    async with AsyncExitStack() as stack:

        async def browser(address: str) -> httpx.AsyncClient:
            return await stack.enter_async_context(
                httpx.AsyncClient(
                    transport=service.client._transport,
                    base_url=service.settings.public_url,
                    headers={"X-Forwarded-For": address},
                )
            )

        yield browser


async def guess(client: httpx.AsyncClient, username: str, times: int) -> list[int]:
    """The statuses of so many wrong passwords."""
    return [(await sign_in(client, username, "wrong")).status_code for _ in range(times)]


async def first(client: httpx.AsyncClient, username: str, key: str) -> int:
    """The status of a first password."""
    shown = await client.get("/console/first-password")
    csrf = shown.text.split('name="csrf" value="')[1].split('"')[0]
    fields = {"csrf": csrf, "username": username, "api_key": key}
    fields |= {"new_password": PASSWORD, "again": PASSWORD}
    answer = await client.post("/console/first-password", data=fields, headers=SAME_ORIGIN)
    return answer.status_code


class TestFromOneAddress:
    async def test_the_owner_comes_in_from_elsewhere(self, console: Console, at: At) -> None:
        name = console.user.username
        guesser = await at(GUESSER)
        assert await guess(guesser, name, TRIES + 1) == [401] * TRIES + [429]
        assert (await sign_in(guesser, name, PASSWORD)).status_code == 429
        owner = await at(OWNER)
        # With a mistake of their own, which is told as one.
        assert await guess(owner, name, 1) == [401]
        assert (await sign_in(owner, name, PASSWORD)).status_code == 303

    async def test_a_first_password_is_set_from_elsewhere(self, service: Running, at: At) -> None:
        name, key = service.admin
        guesser = await at(GUESSER)
        statuses = [await first(guesser, name, "kt_x") for _ in range(TRIES + 1)]
        assert statuses == [400] * TRIES + [429]
        assert await first(await at(OWNER), name, key) == 303

    async def test_a_subscriber_of_ipv6_is_one_address(self, console: Console, at: At) -> None:
        name = console.user.username
        statuses = []
        for number in range(TRIES + 1):
            statuses += await guess(await at(f"2001:db8::{number + 1:x}"), name, 1)
        assert statuses == [401] * TRIES + [429]
        assert await guess(await at("2001:db8:0:1::1"), name, 1) == [401]

    async def test_who_does_not_stop_is_shut_out(self, console: Console, at: At) -> None:
        guesser = await at(GUESSER)
        # Five of the eight are tries that were not judged.
        assert await guess(guesser, console.user.username, 8) == [401] * TRIES + [429] * 5
        answer = await guesser.post("/console/sign-in")
        assert answer.status_code == 429
        assert "failures-per-address" in answer.headers["ratelimit"]
        assert (await guesser.get("/console/sign-in")).status_code == 429
        assert (await sign_in(await at(OWNER), "somebody-else", "x")).status_code == 401

    async def test_a_few_tries_too_many_leave_other_people_alone(
        self, console: Console, at: At
    ) -> None:
        office = await at(OWNER)
        await guess(office, "ada@example.org", TRIES + 2)
        assert (await sign_in(office, console.user.username, PASSWORD)).status_code == 303

    async def test_no_username_is_the_name_of_another_count(
        self, console: Console, service: Running, at: At
    ) -> None:
        """Those of failures are whatever callers say."""
        name = console.user.username
        for forged in (f"{OWNER} console {name}", f"password {OWNER} console {name}"):
            for _ in range(TRIES):
                answer = await service.token(
                    grant_type="password",
                    username=forged,
                    password="kt_x",
                    headers={"X-Forwarded-For": GUESSER},
                )
                assert answer.status_code == 400
        assert (await sign_in(await at(OWNER), name, PASSWORD)).status_code == 303


class TestFromManyAddresses:
    async def test_all_together_have_a_ceiling(self, console: Console, at: At) -> None:
        name = console.user.username
        # To sign in was one.
        statuses = []
        for number in range(10):
            statuses += await guess(await at(f"192.0.2.{number}"), name, TRIES)
        assert statuses == [401] * (10 * TRIES - 1) + [429]
        answer = await sign_in(await at(OWNER), name, PASSWORD)
        assert answer.status_code == 429
        assert 'failures-per-username";q=30;' in answer.headers["ratelimit-policy"]
        assert (await sign_in(await at(OWNER), "somebody-else", "x")).status_code == 401

    async def test_what_one_tries_in_vain_takes_nothing_from_it(
        self, console: Console, at: At
    ) -> None:
        name = console.user.username
        for number in range(9):
            await guess(await at(f"192.0.2.{number}"), name, TRIES + 1)
        assert (await sign_in(await at(OWNER), name, PASSWORD)).status_code == 303
