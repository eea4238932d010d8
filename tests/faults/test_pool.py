"""All connections are taken: a bounded wait, then 503, and nothing piles up (promise P5)."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import asyncpg
import httpx
import pytest

from keyturn.server.services.recent_keys import GOOD_FOR

from .nodes import Node, Site

Measured = Callable[[str], None]

#: Clients at once, many times more than connections.
CLIENTS = 40
POOL = 2
WAIT = 0.5
#: A statement may take 5 s, a lookup 2; the rest is for a busy machine.
BOUND_SECONDS = 12.0


@asynccontextmanager
async def locked(site: Site, table: str) -> AsyncIterator[None]:
    """Nobody else can read or write that table."""
    connection = await site.postgres.connect()
    try:
        async with connection.transaction():
            await connection.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
            yield
    finally:
        await connection.close()


async def sent(
    node: Node, forms: list[dict[str, str]], *, at_once: int = CLIENTS
) -> tuple[Counter[int], float]:
    """How many answers of each status, and the seconds that all of it took."""
    started = time.monotonic()
    turns = asyncio.Semaphore(at_once)
    async with httpx.AsyncClient(timeout=60, limits=httpx.Limits(max_connections=None)) as http:

        async def send(form: dict[str, str]) -> httpx.Response:
            async with turns:
                return await http.post(node.server.token_url, data=form)

        answers = await asyncio.gather(*(send(form) for form in forms))
    for answer in answers:
        if answer.status_code != 200:
            assert answer.json()["error"] == "temporarily_unavailable", answer.text
            assert int(answer.headers["retry-after"]) >= 1
    return Counter(answer.status_code for answer in answers), time.monotonic() - started


def exchange_form(node: Node) -> dict[str, str]:
    return {
        "grant_type": "password",
        "username": node.demo.username,
        "password": node.demo.api_key,
    }


def refresh_form(refresh_token: str) -> dict[str, str]:
    return {"grant_type": "refresh_token", "refresh_token": refresh_token}


@pytest.mark.slow_fault
class TestPoolExhausted:
    async def test_for_refreshes(self, site: Site, measured: Measured) -> None:
        with site.more_nodes(database_pool_size=POOL, database_wait=WAIT) as (node,):
            before = site.postgres.connections()
            tokens = [node.exchange()["refresh_token"] for _ in range(CLIENTS)]
            async with locked(site, "sessions"):
                forms = [refresh_form(token) for token in tokens]
                got, seconds = await sent(node, forms)
                assert got == {503: CLIENTS}
                assert seconds < BOUND_SECONDS
                # What needs none of them goes on, and a second wave waits no longer.
                assert (await sent(node, [exchange_form(node)] * 5, at_once=1))[0] == {200: 5}
                assert (await sent(node, forms))[1] < BOUND_SECONDS
                assert site.postgres.connections() <= before + 3 * POOL
            # Nothing is left over, and none of the refresh tokens was spent.
            again, took = await sent(node, forms, at_once=POOL)
            assert again == {200: CLIENTS}
            measured(
                f"{CLIENTS} refreshes for {POOL} connections: all 503 within {seconds:.2f} s;"
                f" afterwards all 200 within {took:.2f} s"
            )

    async def test_for_exchanges(self, site: Site, measured: Measured) -> None:
        with site.more_nodes(database_pool_size=POOL, database_wait=WAIT) as (node,):
            forms = [exchange_form(node)] * CLIENTS
            assert (await sent(node, forms, at_once=POOL))[0] == {200: CLIENTS}
            async with locked(site, "api_keys"):
                await asyncio.sleep(GOOD_FOR)  # so long it goes on by what it has read
                got, seconds = await sent(node, forms)
                assert got == {503: CLIENTS}
                assert seconds < BOUND_SECONDS
                assert node.http.get(node.server.jwks_url).status_code == 200
            again, took = await sent(node, forms, at_once=POOL)
            assert again == {200: CLIENTS}
            measured(
                f"{CLIENTS} exchanges for {POOL} connections: all 503 within {seconds:.2f} s;"
                f" afterwards all 200 within {took:.2f} s"
            )

    async def test_for_connections_that_postgres_does_not_give(self, site: Site) -> None:
        """`max_connections` is reached by others: a fault like any other."""
        [row] = site.postgres.fetch("SHOW max_connections")
        with site.more_nodes(database_pool_size=POOL, database_wait=WAIT) as (node,):
            taken: list[asyncpg.Connection[asyncpg.Record]] = []

            async def take_all() -> None:
                with contextlib.suppress(asyncpg.TooManyConnectionsError):
                    for _ in range(int(row["max_connections"])):
                        taken.append(await site.postgres.connect())

            try:
                await take_all()
                node.postgres.reset()
                await asyncio.sleep(GOOD_FOR)
                await take_all()  # the places that were free for a moment
                got, seconds = await sent(node, [exchange_form(node)] * CLIENTS)
                assert got == {503: CLIENTS}
                assert seconds < BOUND_SECONDS
            finally:
                for connection in taken:
                    connection.terminate()
            forms = [exchange_form(node)] * CLIENTS
            assert (await sent(node, forms, at_once=POOL))[0] == {200: CLIENTS}
