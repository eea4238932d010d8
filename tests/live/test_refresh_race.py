"""One refresh token, many at once, two processes: one live successor (promise P3)."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from tests.live_server import (
    Live,
    eventually,
    postgres_database,
    redis_database,
    run,
    several_nodes,
)
from tests.servers import PostgresServer, RedisServer

RACERS = 50


@pytest.fixture(scope="module")
def strict_nodes(
    log_dir: Path, postgres_server: PostgresServer, redis_server: RedisServer
) -> Iterator[tuple[Live, ...]]:
    """Two nodes that know no grace."""
    redis_url = redis_database(redis_server)
    with (
        postgres_database(postgres_server) as url,
        several_nodes(log_dir, url, (redis_url, redis_url), refresh_grace=0) as nodes,
    ):
        yield nodes


async def _race(nodes: tuple[Live, ...], refresh_token: str) -> list[httpx.Response]:
    """Sends one refresh token `RACERS` times at once, to the nodes in turn."""
    form = {"grant_type": "refresh_token", "refresh_token": refresh_token}
    limits = httpx.Limits(max_connections=RACERS)
    async with httpx.AsyncClient(timeout=30, limits=limits) as client:
        # Every racer has its connection before the start.
        urls = [nodes[number % len(nodes)].server for number in range(RACERS)]
        await asyncio.gather(*(client.get(f"{url.base_url}/health/live") for url in urls))
        return await asyncio.gather(*(client.post(url.token_url, data=form) for url in urls))


def _outcomes(answers: list[httpx.Response]) -> Counter[str]:
    """How many answers of each kind; nothing of them that is secret."""
    return Counter(
        f"{answer.status_code} {answer.json().get('error', '')}".strip() for answer in answers
    )


def _rows(live: Live, query: str, *parameters: object) -> list[dict[str, Any]]:
    async def fetch() -> list[dict[str, Any]]:
        connection = await asyncpg.connect(live.server.database_url)
        try:
            return [dict(row) for row in await connection.fetch(query, *parameters)]
        finally:
            await connection.close()

    return run(fetch())


def _session_id(live: Live, access_token: str) -> str:
    body = live.introspect(access_token)
    assert body["active"] is True
    sid: str = body["sid"]
    return sid


def _session(live: Live, sid: str) -> dict[str, Any]:
    [row] = _rows(live, "SELECT * FROM sessions WHERE id = $1", sid)
    return row


def _reuse_events(live: Live, sid: str) -> list[dict[str, Any]]:
    found = _rows(
        live,
        "SELECT * FROM audit_events WHERE action = 'session.reuse_detected' AND target = $1",
        sid,
    )
    return [{**event, "data": json.loads(event["data"])} for event in found]


def _is_refused(live: Live, access_token: str) -> bool:
    return live.me(access_token).status_code == 401


def _assert_dead(nodes: tuple[Live, ...], *refresh_tokens: str) -> None:
    for live in nodes:
        for token in refresh_tokens:
            answer = live.refresh(token)
            assert answer.status_code == 400
            assert answer.json()["error"] == "invalid_grant"


class TestWithinTheGrace:
    async def test_all_get_the_same_successor(self, two_nodes: tuple[Live, ...]) -> None:
        first, second = two_nodes
        exchanged = first.exchange()
        sid = _session_id(first, exchanged["access_token"])

        answers = await _race(two_nodes, exchanged["refresh_token"])

        assert _outcomes(answers) == {"200": RACERS}
        successors = {answer.json()["refresh_token"] for answer in answers}
        assert len(successors) == 1
        assert exchanged["refresh_token"] not in successors
        # One row, one step, one live refresh token.
        assert _session(first, sid)["generation"] == 1
        [successor] = successors
        for live in two_nodes:
            assert live.introspect(successor)["active"] is True
            assert live.introspect(exchanged["refresh_token"]) == {"active": False}

        answer = second.refresh(successor)
        assert answer.status_code == 200
        newest = answer.json()

        # The successor was used: now the old one is reuse, however early it comes.
        answer = first.refresh(exchanged["refresh_token"])
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")
        _assert_dead(two_nodes, successor, newest["refresh_token"])
        assert _session(first, sid)["end_reason"] == "reuse"
        for access in (exchanged["access_token"], newest["access_token"]):
            for live in two_nodes:
                eventually(partial(_is_refused, live, access), 1.0)
        [event] = _reuse_events(first, sid)
        assert event["outcome"] == "session_ended"
        assert event["address"] == "127.0.0.1"
        assert event["data"] == {"presented_generation": 0, "live_generation": 2}

    async def test_later_generations_too(self, two_nodes: tuple[Live, ...]) -> None:
        token = two_nodes[0].exchange()["refresh_token"]
        for _ in range(2):
            answers = await _race(two_nodes, token)
            assert _outcomes(answers) == {"200": RACERS}
            [token] = {answer.json()["refresh_token"] for answer in answers}
        assert two_nodes[1].refresh(token).status_code == 200

    async def test_a_session_ended_meanwhile_stays_ended(self, two_nodes: tuple[Live, ...]) -> None:
        exchanged = two_nodes[0].exchange()
        revoking = asyncio.to_thread(two_nodes[1].revoke, exchanged["refresh_token"])
        answers, _ = await asyncio.gather(_race(two_nodes, exchanged["refresh_token"]), revoking)
        assert _outcomes(answers).keys() <= {"200", "400 invalid_grant"}
        won = {a.json()["refresh_token"] for a in answers if a.status_code == 200}
        assert len(won) <= 1
        _assert_dead(two_nodes, exchanged["refresh_token"], *won)


class TestWithoutGrace:
    async def test_one_wins_and_the_session_dies(self, strict_nodes: tuple[Live, ...]) -> None:
        exchanged = strict_nodes[0].exchange()
        sid = _session_id(strict_nodes[0], exchanged["access_token"])

        answers = await _race(strict_nodes, exchanged["refresh_token"])

        assert _outcomes(answers) == {"200": 1, "400 invalid_grant": RACERS - 1}
        won = [answer.json() for answer in answers if answer.status_code == 200]
        _assert_dead(strict_nodes, exchanged["refresh_token"], won[0]["refresh_token"])
        for live in strict_nodes:
            for access in (exchanged["access_token"], won[0]["access_token"]):
                eventually(partial(_is_refused, live, access), 1.0)
        assert _session(strict_nodes[0], sid)["generation"] == 1
        # Told once, although 49 saw it.
        [event] = _reuse_events(strict_nodes[0], sid)
        assert event["data"] == {"presented_generation": 0, "live_generation": 1}

    def test_one_after_the_other(self, strict_nodes: tuple[Live, ...]) -> None:
        first, second = strict_nodes
        token = first.exchange()["refresh_token"]
        for live in (first, second, first):
            answer = live.refresh(token)
            assert answer.status_code == 200
            token = answer.json()["refresh_token"]


class TestRevocationCrossesNodes:
    @pytest.mark.parametrize("kind", ["access_token", "refresh_token"])
    def test_refused_elsewhere_within_a_second(
        self, two_nodes: tuple[Live, ...], kind: str
    ) -> None:
        here, there = two_nodes
        tokens = here.exchange()
        access = tokens["access_token"]
        assert there.me(access).status_code == 200
        started = time.monotonic()
        here.revoke(tokens[kind])
        # The node that revoked needs no time at all.
        assert here.me(access).status_code == 401
        eventually(partial(_is_refused, there, access), 1.0)
        eventually(lambda: there.introspect(access) == {"active": False}, 1.0)
        assert time.monotonic() - started < 2.0
        if kind == "refresh_token":
            _assert_dead((there, here), tokens["refresh_token"])
        else:
            assert there.refresh(tokens["refresh_token"]).status_code == 200

    def test_a_revoker_that_cannot_reach_redis_is_heard(
        self, log_dir: Path, postgres_server: PostgresServer, redis_server: RedisServer
    ) -> None:
        redis_url = redis_database(redis_server)
        with (
            postgres_database(postgres_server) as url,
            several_nodes(log_dir, url, (None, redis_url)) as (without, others),
        ):
            for here, there in ((without, others), (others, without)):
                access = here.exchange()["access_token"]
                assert there.me(access).status_code == 200
                here.revoke(access)
                assert here.me(access).status_code == 401
                eventually(partial(_is_refused, there, access), 1.0)
