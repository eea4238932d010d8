"""Counts that nodes share in a real Redis, and what happens without it."""

import asyncio
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack

import pytest

from keyturn.server.limiting import open_counters
from keyturn.server.limiting.shared import SharedWindows, Sharing
from keyturn.server.services import ports
from keyturn.server.services.ports import Counters, Rate
from tests.servers import RedisServer, free_port

RATES: dict[str, Rate | None] = {
    "failures_per_username": Rate(10, 3_600),
    "exchanges_per_key": Rate(1_000, 3_600),
}


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not true():  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.02)


def failures(counters: Counters) -> ports.Counter:
    assert counters.failures_per_username is not None
    return counters.failures_per_username


@pytest.fixture
async def nodes(redis_server: RedisServer) -> AsyncIterator[list[Counters]]:
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(
                open_counters(RATES, redis_url=redis_server.url, timeout=1.0)
            )
            for _ in range(2)
        ]


class TestTogether:
    async def test_two_nodes_have_one_limit(self, nodes: list[Counters]) -> None:
        one, other = map(failures, nodes)
        name = secrets.token_hex(8)
        for _ in range(6):
            assert one.hit(name) == 0
        assert other.hit(name) == 0
        await until(lambda: other.left(name) == 3)
        for _ in range(3):
            assert other.hit(name) == 0
        assert other.hit(name) > 0
        # Either may have told first; the one hears of it with what it counts itself, at the latest.
        one.hit(name)
        await until(lambda: one.full(name) > 0)

    async def test_passwords_tried_from_everywhere_have_one_limit_too(
        self, nodes: list[Counters]
    ) -> None:
        one, other = (node.failures_per_username_anywhere for node in nodes)
        assert one is not None
        assert other is not None
        name = secrets.token_hex(8)
        for _ in range(60):
            assert one.hit(name) == 0
        for _ in range(2):
            assert other.hit(name) == 0
        await until(lambda: other.left(name) == 38)

    async def test_what_is_rare_is_not_told(self, nodes: list[Counters]) -> None:
        counters = [node.exchanges_per_key for node in nodes]
        name = secrets.token_hex(8)
        for counter in counters:
            assert counter is not None
            counter.hit(name)
        await asyncio.sleep(0.6)
        assert [counter.left(name) for counter in counters if counter] == [999, 999]


class Flaky:
    """A storage that is away, and comes back."""

    def __init__(self) -> None:
        self.away = True
        self.counts: Counter[str] = Counter()

    async def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        if self.away:
            raise ConnectionError
        self.counts[key] += amount
        return self.counts[key]

    async def get(self, key: str) -> int:
        if self.away:
            raise ConnectionError
        return self.counts[key]


class TestAway:
    async def test_what_could_not_be_told_is_told_later_and_once(self) -> None:
        storage, windows = Flaky(), SharedWindows(Rate(10_000, 86_400))
        sharing = Sharing(storage, {"failures": windows}, timeout=30.0)
        for name in ("a", "b"):
            for _ in range(300):
                windows.hit(name)
        with pytest.raises(ConnectionError):
            await sharing.round()
        storage.away = False
        for _ in range(3):
            await sharing.round()
        assert sorted(storage.counts.values()) == [300, 300]
        assert windows.left("a") == 10_000 - 300

    async def test_news_stay_bounded_meanwhile(self) -> None:
        storage, windows = Flaky(), SharedWindows(Rate(10, 86_400))
        sharing = Sharing(storage, {"failures": windows}, timeout=30.0)
        for number in range(70_000):
            windows.hit(str(number))
        with pytest.raises(ConnectionError):
            await sharing.round()
        assert len(windows.news) <= len(windows.now) <= 50_000


class TestWithout:
    async def test_each_counts_for_itself_and_says_so_once(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        url = f"redis://127.0.0.1:{free_port()}/0"
        async with open_counters(RATES, redis_url=url, timeout=0.1) as counters:
            counter = failures(counters)
            assert [counter.hit("a") == 0 for _ in range(11)] == [True] * 10 + [False]
            await until(lambda: "by this process alone" in caplog.text)
            await asyncio.sleep(1.6)
            assert caplog.text.count("by this process alone") == 1
            assert counter.hit("a") > 0

    async def test_a_redis_that_hangs_holds_nobody_up(self) -> None:
        async def silent(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                await asyncio.sleep(60)
            finally:
                writer.close()

        server = await asyncio.start_server(silent, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with open_counters(
            RATES, redis_url=f"redis://127.0.0.1:{port}/0", timeout=0.05
        ) as counters:
            counter = failures(counters)
            for _ in range(20):
                counter.hit("a")
            await asyncio.sleep(0.5)
            assert counter.hit("a") > 0
        server.close()
