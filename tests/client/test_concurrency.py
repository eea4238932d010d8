"""One exchange for everybody, whoever asks, fails or goes away."""

from __future__ import annotations

import asyncio
import os
import threading
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from keyturn.client import ApiKeyAuth, InvalidGrant, Network, Unavailable
from keyturn.client.steps import Answer, Send, Wait
from tests.client.conftest import FakeService, SetClock, oauth_error

ASSETS = "https://assets.example/assets"


def slowly(service: FakeService) -> Network:
    """Lets the event loop go on while the service thinks."""

    async def token(request: httpx.Request) -> httpx.Response:
        await asyncio.sleep(0.05)
        return service.token(request)

    return Network(transport=httpx.MockTransport(token))


def in_threads(count: int, work: Callable[[int], object]) -> list[object]:
    ready = threading.Barrier(count)

    def begin(number: int) -> object:
        ready.wait(20)
        return work(number)

    with ThreadPoolExecutor(count) as pool:
        return [done.result(30) for done in [pool.submit(begin, n) for n in range(count)]]


class TestOneExchange:
    def test_for_50_threads(self, service: FakeService) -> None:
        service.before = lambda: time.sleep(0.05)
        auth = service.auth()
        with service.client(auth) as client:
            tokens = in_threads(50, lambda _: client.get(ASSETS).json()["token"])
        assert tokens == service.issued * 50
        assert len(service.forms) == 1

    async def test_for_200_tasks(self, service: FakeService) -> None:
        auth = service.auth(network=slowly(service))
        async with service.async_client(auth) as client:
            answers = await asyncio.gather(*(client.get(ASSETS) for _ in range(200)))
        assert [answer.json()["token"] for answer in answers] == service.issued * 200
        assert len(service.forms) == 1

    def test_for_threads_and_event_loops(self, service: FakeService) -> None:
        service.before = lambda: time.sleep(0.05)
        auth = service.auth()

        async def tasks() -> list[str]:
            async with service.async_client(auth) as client:
                answers = await asyncio.gather(*(client.get(ASSETS) for _ in range(25)))
            return [answer.json()["token"] for answer in answers]

        def work(number: int) -> list[str]:
            if number % 2:
                return asyncio.run(tasks())
            with service.client(auth) as client:
                return [client.get(ASSETS).json()["token"]]

        assert {token for found in in_threads(16, work) for token in found} == {service.issued[0]}  # type: ignore[attr-defined]
        assert len(service.forms) == 1

    def test_for_many_that_hear_that_the_token_is_dead(self, service: FakeService) -> None:
        auth = service.auth()
        with service.client(auth) as client:
            client.get(ASSETS)
            service.dead.add(service.issued[0])
            statuses = in_threads(30, lambda _: client.get(ASSETS).status_code)
        assert statuses == [200] * 30
        assert service.grants == ["password", "refresh_token"]

    def test_not_dropped_by_who_still_had_the_one_before(
        self, service: FakeService, clock: SetClock
    ) -> None:
        auth = service.auth(clock=clock)
        with service.client(auth) as client:
            client.get(ASSETS)
            clock.tick(0.91 * 300)
            client.get(ASSETS)
        assert auth._keeper.drop(service.issued[0], "https://assets.example")
        assert auth._keeper.at_hand() == service.issued[1]

    def test_that_fails_for_all(self, service: FakeService) -> None:
        go_on = threading.Event()
        service.before = lambda: assert_set(go_on)
        service.replies = [oauth_error("invalid_grant")]
        auth = service.auth()
        errors: list[InvalidGrant] = []

        def work(_: int) -> None:
            with service.client(auth) as client, pytest.raises(InvalidGrant) as raised:
                client.get(ASSETS)
            errors.append(raised.value)

        with ThreadPoolExecutor(10) as pool:
            done = [pool.submit(work, n) for n in range(10)]
            until(lambda: waiting(auth) == 9)
            go_on.set()
            for each in done:
                each.result(20)
        assert len(service.forms) == 1
        assert len({id(error) for error in errors}) == 10


class TestEarlyRefresh:
    def test_others_go_on_with_the_good_token(self, service: FakeService, clock: SetClock) -> None:
        auth = service.auth(clock=clock)
        with service.client(auth) as client:
            client.get(ASSETS)
            clock.tick(0.91 * 300)
            entered, go_on = threading.Event(), threading.Event()

            def hold() -> None:
                entered.set()
                assert_set(go_on)

            service.before = hold
            with ThreadPoolExecutor(1) as pool:
                leader = pool.submit(client.get, ASSETS)
                assert_set(entered)
                try:
                    others = [client.get(ASSETS).json()["token"] for _ in range(5)]
                finally:
                    go_on.set()
                assert leader.result(20).json()["token"] == service.issued[1]
        assert others == [service.issued[0]] * 5
        assert service.grants == ["password", "refresh_token"]

    async def test_who_waits_for_one_that_fails_leads_the_next(
        self, service: FakeService, clock: SetClock
    ) -> None:
        auth = service.auth(clock=clock, network=slowly(service))
        async with service.async_client(auth) as client:
            await client.get(ASSETS)
            clock.tick(0.91 * 300)
            service.replies = [httpx.Response(500)]
            leader = asyncio.create_task(client.get(ASSETS))
            await asyncio.sleep(0.01)
            service.dead.add(service.issued[0])
            # The leader goes on with the token it had, hears that it is dead, and asks anew.
            answers = await asyncio.gather(leader, *(client.get(ASSETS) for _ in range(5)))
        assert {answer.json()["token"] for answer in answers} == {service.issued[1]}
        assert len(service.forms) == 3


class TestLeaderGoesAway:
    async def test_cancelled_the_next_one_leads(self, service: FakeService) -> None:
        auth = service.auth(network=slowly(service))
        async with service.async_client(auth) as client:
            leader = asyncio.create_task(client.get(ASSETS))
            await asyncio.sleep(0.01)
            others = [asyncio.create_task(client.get(ASSETS)) for _ in range(20)]
            await asyncio.sleep(0.01)
            leader.cancel()
            answers = await asyncio.wait_for(asyncio.gather(*others), 5)
            with pytest.raises(asyncio.CancelledError):
                await leader
        assert {answer.json()["token"] for answer in answers} == {service.issued[0]}
        # The first was cancelled before the service counted it.
        assert len(service.forms) == 1

    async def test_cancelled_a_thread_leads(self, service: FakeService) -> None:
        auth = service.auth(network=Network(transport=BothWays(service)))

        def get() -> int:
            with service.client(auth) as client:
                return client.get(ASSETS).status_code

        async with service.async_client(auth) as client:
            leader = asyncio.create_task(client.get(ASSETS))
            await asyncio.sleep(0.01)
            thread = asyncio.create_task(asyncio.to_thread(get))
            await asyncio.to_thread(until, lambda: waiting(auth) == 1)
            leader.cancel()
            assert await asyncio.wait_for(thread, 5) == 200

    async def test_its_event_loop_ended_a_task_elsewhere_leads(self, service: FakeService) -> None:
        auth = service.auth(network=slowly(service))
        started = threading.Event()

        async def leave() -> None:
            async with service.async_client(auth) as client:
                leader = asyncio.create_task(client.get(ASSETS))
                await asyncio.sleep(0)
                await asyncio.sleep(0)
                assert auth._keeper._flight is not None
                started.set()
                await asyncio.sleep(0.02)
                del leader  # asyncio.run cancels it

        with ThreadPoolExecutor(1) as pool:
            gone = pool.submit(asyncio.run, leave())
            await asyncio.to_thread(started.wait, 5)
            async with service.async_client(auth) as client:
                answer = await asyncio.wait_for(client.get(ASSETS), 5)
            gone.result(5)
        assert answer.status_code == 200

    async def test_a_cancelled_follower_takes_nobody_along(self, service: FakeService) -> None:
        auth = service.auth(network=slowly(service))
        async with service.async_client(auth) as client:
            leader = asyncio.create_task(client.get(ASSETS))
            await asyncio.sleep(0.01)
            followers = [asyncio.create_task(client.get(ASSETS)) for _ in range(3)]
            await asyncio.sleep(0.01)
            followers[0].cancel()
            answers = await asyncio.gather(leader, *followers[1:])
        assert {answer.status_code for answer in answers} == {200}
        assert len(service.forms) == 1

    def test_never_to_return_nobody_waits_for_ever(
        self, service: FakeService, clock: SetClock
    ) -> None:
        auth = service.auth(clock=clock)
        lost = auth._keeper.token()
        assert isinstance(next(lost), Send)
        follower = auth._keeper.token()
        step = next(follower)
        assert isinstance(step, Wait)
        assert step.seconds == pytest.approx(20)
        clock.tick(20)
        with pytest.raises(Unavailable):
            follower.send(None)
        with service.client(auth) as client:
            assert client.get(ASSETS).status_code == 200
        lost.close()
        with service.client(auth) as client:
            client.get(ASSETS)
        assert len(service.forms) == 1

    def test_late_to_return_its_token_is_used(self, service: FakeService, clock: SetClock) -> None:
        auth = service.auth(clock=clock)
        late = auth._keeper.token()
        next(late)
        follower = auth._keeper.token()
        next(follower)
        clock.tick(20)
        with pytest.raises(Unavailable):
            follower.send(None)
        answer = httpx.Response(200, json=service.tokens())
        with pytest.raises(StopIteration):
            late.send(Answer(200, {}, answer.content))
        with service.client(auth) as client:
            client.get(ASSETS)
        assert service.forms == []

    @pytest.mark.parametrize("kind", ["thread", "task"])
    def test_a_wait_is_bounded_for_every_kind(self, service: FakeService, kind: str) -> None:
        auth = service.auth(deadline=0.02)
        lost = auth._keeper.token()
        with ThreadPoolExecutor(1) as pool:
            pool.submit(next, lost).result(5)

        async def get() -> None:
            async with service.async_client(auth) as client:
                await client.get(ASSETS)

        with service.client(auth) as client, pytest.raises(Unavailable):
            asyncio.run(get()) if kind == "task" else client.get(ASSETS)
        lost.close()

    async def test_behind_a_caller_that_keeps_its_event_loop_from_going_on(
        self, service: FakeService
    ) -> None:
        auth = service.auth(network=Network(transport=BothWays(service)))
        async with service.async_client(auth) as client:
            leader = asyncio.create_task(client.get(ASSETS))
            await asyncio.sleep(0.01)
            with service.client(auth) as blocking:
                assert blocking.get(ASSETS).status_code == 200
            leader.cancel()
        assert len(service.forms) == 1

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
    @pytest.mark.parametrize("parent", ["idle", "leading"])
    def test_in_a_forked_child_nobody_waits_and_no_refresh_token_is_spent(
        self, service: FakeService, clock: SetClock, parent: str
    ) -> None:
        auth = service.auth(clock=clock, deadline=0.2)
        service.client(auth).get(ASSETS)
        clock.tick(299)
        leading = auth._keeper.token()
        if parent == "leading":
            with ThreadPoolExecutor(1) as pool:
                pool.submit(next, leading).result(5)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # threads of other tests
            with auth._keeper._lock:
                child = os.fork()
                if child == 0:
                    status = 1
                    try:
                        service.client(auth).get(ASSETS)
                        status = 0 if service.grants == ["password", "password"] else 2
                    finally:
                        os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        leading.close()


class BothWays(httpx.BaseTransport, httpx.AsyncBaseTransport):
    """Slow for tasks, quick for threads."""

    def __init__(self, service: FakeService) -> None:
        self._service = service

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        request.read()
        return self._service.token(request)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await request.aread()
        await asyncio.sleep(10)
        return self._service.token(request)


def waiting(auth: ApiKeyAuth) -> int:
    """How many threads wait for the token."""
    flight = auth._keeper._flight
    return 0 if flight is None else len(flight._condition._waiters)  # type: ignore[attr-defined]


def until(check: Callable[[], bool]) -> None:
    ends = time.monotonic() + 10
    while not check():
        assert time.monotonic() < ends
        time.sleep(0.002)


def assert_set(event: threading.Event) -> None:
    assert event.wait(10)
