"""One tenant floods a node with refreshes; another one's few are answered in their turn."""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import urlencode

import pytest

from .nodes import Node, Site

Measured = Callable[[str], None]

#: Connections of the flood, connections to the database, and calls of the other tenant.
FLOOD, POOL, CALLS = 200, 2, 12
#: Answers to the flood during half of the other's calls: far less than the flood has under way.
MOST_BETWEEN = FLOOD // 4


@dataclass
class Chain:
    """A session that is refreshed again and again, on a connection of its own.

    Not by httpx: with two hundred connections it would be what is waited for.
    """

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    token: str = ""

    @classmethod
    async def begun(cls, node: Node, username: str, key: str) -> Chain:
        chain = cls(*await asyncio.open_connection("127.0.0.1", node.server.port))
        assert await chain.post(grant_type="password", username=username, password=key) == 200
        return chain

    async def refresh(self) -> int:
        return await self.post(grant_type="refresh_token", refresh_token=self.token)

    async def post(self, **form: str) -> int:
        body = urlencode(form)
        self.writer.write(
            "POST /iam/auth/token HTTP/1.1\r\nHost: x\r\n"
            "Content-Type: application/x-www-form-urlencoded\r\n"
            f"Content-Length: {len(body)}\r\n\r\n{body}".encode()
        )
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        length = int(head.partition("content-length:")[2].partition("\r\n")[0])
        answer = json.loads(await self.reader.readexactly(length))
        self.token = answer.get("refresh_token", self.token)
        return int(head.split()[1])


@dataclass
class Seen:
    """What the other tenant saw: seconds of each call, and answers to the flood meanwhile."""

    seconds: list[float] = field(default_factory=list)
    between: list[int] = field(default_factory=list)

    @property
    def p99(self) -> float:
        return statistics.quantiles(self.seconds, n=100)[98]


async def flooded(node: Node, connections: int) -> Seen:
    """The other tenant's calls beside a flood of so many connections."""
    demo, seen, answers = node.demo, Seen(), 0
    chains = [await Chain.begun(node, demo.username, demo.api_key) for _ in range(connections)]
    other = await Chain.begun(node, demo.admin_username, demo.admin_api_key)

    async def go_on(chain: Chain) -> None:
        nonlocal answers
        while True:
            assert await chain.refresh() == 200
            answers += 1

    tasks = [asyncio.create_task(go_on(chain)) for chain in chains]
    try:
        while answers < connections:  # noqa: ASYNC110 - until all are at it
            await asyncio.sleep(0.02)
        for _ in range(CALLS):
            before, started = answers, time.monotonic()
            assert await other.refresh() == 200
            seen.seconds.append(time.monotonic() - started)
            seen.between.append(answers - before)
    finally:
        for task in tasks:
            task.cancel()
        for chain in (*chains, other):
            chain.writer.close()
        ends = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(end, asyncio.CancelledError) for end in ends)
    return seen


@asynccontextmanager
async def slow_writes(site: Site) -> AsyncIterator[None]:
    """Each refresh takes its connection for a while: so it is the database that is waited for."""
    connection = await site.postgres.connect()
    try:
        await connection.execute(
            """
            CREATE FUNCTION slowly() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN PERFORM pg_sleep(0.03); RETURN NEW; END $$;
            CREATE TRIGGER slowly BEFORE INSERT OR UPDATE ON sessions
            FOR EACH ROW EXECUTE FUNCTION slowly();
            """
        )
        yield
    finally:
        await connection.execute("DROP FUNCTION slowly CASCADE")
        await connection.close()


@pytest.mark.slow_fault
async def test_200_within_a_part_of_the_flood(site: Site, measured: Measured) -> None:
    with site.more_nodes(database_pool_size=POOL, database_wait=30) as (node,):
        async with slow_writes(site):
            alone = await flooded(node, 0)
            beside = await flooded(node, FLOOD)
    between = statistics.median(beside.between)
    measured(
        f"a tenant's refreshes: p99 {alone.p99 * 1e3:.0f} ms alone, {beside.p99 * 1e3:.0f} ms"
        f" beside another one's {FLOOD} connections, which get {between:.0f} answers meanwhile"
    )
    assert between <= MOST_BETWEEN
