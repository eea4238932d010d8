"""A primary, a replica and a Sentinel that promotes it: nothing revoked comes alive by that.

A replica has what the primary had sent it, and its marker. It must not be believed.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import ExitStack
from pathlib import Path

import pytest

from keyturn.server.revocation import KeptList
from keyturn.server.revocation.redis_entries import MARKER, key
from keyturn.server.revocation.shared import PAUSE
from tests.contracts.revocation.memory_store import MemoryStore

from .conftest import House, of, session
from .redis_process import RedisProcess
from .test_redis_faults import until_ok

NAME = "keyturn-primary"
FAILOVER_SECONDS = 40.0


class SentinelProcess(RedisProcess):
    """One Sentinel, which is enough for a quorum of one."""

    def __init__(self, directory: Path, primary: RedisProcess) -> None:
        super().__init__(directory)
        self.url = f"redis+sentinel://127.0.0.1:{self.port}/{NAME}"
        self._config = directory / "sentinel.conf"
        self._config.write_text(
            f"port {self.port}\nbind 127.0.0.1\ndir {directory}\n"
            f"sentinel monitor {NAME} 127.0.0.1 {primary.port} 1\n"
            f"sentinel down-after-milliseconds {NAME} 500\n"
            f"sentinel failover-timeout {NAME} 4000\n"
        )

    def ask(self, *command: str | int) -> list[bytes]:
        """The answer to one of its commands."""
        url, self.url = self.url, f"redis://127.0.0.1:{self.port}"
        try:
            answer: list[bytes] = self.do("SENTINEL", *command)
        finally:
            self.url = url
        return answer

    def _command(self, binary: str) -> list[str]:
        return [binary, str(self._config), "--sentinel"]


class Trio:
    """The three, and nodes that look for the primary by the Sentinel."""

    def __init__(self, stack: ExitStack, directory: Path) -> None:
        self.primary, self.replica = (self._redis(directory / name) for name in ("one", "two"))
        for process in (self.primary, self.replica):
            process.start()
            stack.callback(process.kill)
        self.replica.do("REPLICAOF", "127.0.0.1", self.primary.port)
        home = directory / "sentinel"
        home.mkdir()
        self.sentinel = SentinelProcess(home, self.primary)
        self.sentinel.start()
        stack.callback(self.sentinel.kill)

    async def whole(self) -> None:
        """Waits until the replica follows, and the Sentinel knows of it."""

        def follows() -> bool:
            return bool(self.replica.do("INFO", "replication").get("master_link_status") == "up")

        await self.eventually(follows)
        await self.eventually(lambda: bool(self.sentinel.ask("REPLICAS", NAME)))

    async def promoted(self) -> None:
        """Waits until the Sentinel names the replica."""
        port = str(self.replica.port).encode()
        await self.eventually(lambda: self.sentinel.ask("GET-MASTER-ADDR-BY-NAME", NAME)[1] == port)

    async def eventually(self, holds: Callable[[], bool]) -> None:
        started = time.monotonic()
        while not holds():
            assert time.monotonic() - started < FAILOVER_SECONDS
            await asyncio.sleep(0.05)

    @staticmethod
    def _redis(directory: Path) -> RedisProcess:
        directory.mkdir()
        return RedisProcess(directory, "--repl-diskless-sync-delay", "0")


@pytest.fixture
async def trio(tmp_path: Path) -> AsyncIterator[Trio]:
    with ExitStack() as stack:
        made = Trio(stack, tmp_path)
        await made.whole()
        yield made


@pytest.fixture
async def house(trio: Trio) -> AsyncIterator[House]:
    house = House(trio.sentinel.url)
    async with house.stack:
        yield house


async def node_and_blind(house: House) -> tuple[KeptList, KeptList, MemoryStore]:
    node, _ = await house.open(redis_timeout=0.5)
    blind, view = await house.open(redis_timeout=0.5)
    await until_ok(node, blind)
    view.deaf = True
    await asyncio.sleep(0.05)
    return node, blind, view


async def test_the_primary_is_found(trio: Trio, house: House) -> None:
    node, blind, view = await node_and_blind(house)
    await house.revoke(node, session("dead"))
    assert await blind.find([of(session("dead"))])
    assert view.finds == 0
    assert trio.primary.do("EXISTS", key(of(session("dead")))) == 1


@pytest.mark.slow_fault
@pytest.mark.parametrize("busy", [True, False])
@pytest.mark.parametrize("fault", ["kill", "freeze"])
async def test_nothing_revoked_is_accepted_through_a_failover(
    trio: Trio, house: House, fault: str, busy: bool
) -> None:
    node, blind, view = await node_and_blind(house)
    dead = ["before"]

    async def refused_until(end: Coroutine[None, None, None]) -> None:
        async with asyncio.TaskGroup() as group:
            ending = group.create_task(end)
            while not ending.done():
                if busy:
                    dead.append(f"dead {len(dead)}")
                    await house.revoke(node, session(dead[-1]))
                for each in (node, blind):
                    for subject in dead:
                        assert await each.find([of(session(subject))]), subject
                await asyncio.sleep(0.1)

    await house.revoke(node, session("before"))
    await trio.eventually(
        lambda: trio.replica.do("EXISTS", MARKER, key(of(session("before")))) == 2
    )
    # This one the replica never gets.
    trio.replica.freeze()
    trio.primary.do("CLIENT", "KILL", "TYPE", "replica")
    dead.append("late")
    await house.revoke(node, session("late"))
    assert trio.primary.do("EXISTS", key(of(session("late")))) == 1
    getattr(trio.primary, fault)()
    trio.replica.go_on()

    # From the first moment on, and whoever is the primary meanwhile.
    await refused_until(trio.promoted())
    await refused_until(trio.eventually(lambda: "Redis" not in node.state().reason))
    # `blind`, too, has looked at the new one by then.
    await refused_until(asyncio.sleep(3 * PAUSE))
    view.deaf = False
    await trio.eventually(lambda: all(one.state().status == "ok" for one in (node, blind)))
    for each in (node, blind):
        for subject in dead:
            assert await each.find([of(session(subject))]), subject
    assert trio.replica.do("EXISTS", *(key(of(session(subject))) for subject in dead)) == len(dead)

    # The old one comes back, and believes for a while that it is still the primary.
    if fault == "freeze":
        trio.primary.go_on()
    else:
        trio.primary.start()
    await house.revoke(node, session("after"))
    for each in (node, blind):
        for subject in (*dead, "after"):
            assert await each.find([of(session(subject))]), subject
    assert trio.replica.do("EXISTS", key(of(session("after")))) == 1
