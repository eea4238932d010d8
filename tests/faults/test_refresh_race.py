"""One refresh token, many at once, one or two processes: one live successor (promise P3)."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.live_server import Live, eventually, live_service, rows

from .nodes import GRACE, Site

RACERS = 20
#: The promise is 1 second, which test_propagation.py measures; the rest is for a busy machine.
HEARD_SECONDS = 15.0


def _nodes(
    request: pytest.FixtureRequest, directory: Path, grace: int
) -> Iterator[tuple[Live, ...]]:
    """One node on SQLite with the list in process; two on one PostgreSQL and one Redis."""
    with ExitStack() as stack:
        if request.param == "sqlite":
            log_dir = request.getfixturevalue("log_dir")
            url = f"sqlite:///{directory}/keyturn.db"
            yield (stack.enter_context(live_service(log_dir, url, refresh_grace=grace)),)
            return
        site: Site = request.getfixturevalue("shared_site")
        site.heal()
        if grace == GRACE:
            yield site.nodes
        else:
            yield stack.enter_context(site.more_nodes(2, refresh_grace=grace))


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def nodes(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Live, ...]]:
    """Nodes whose grace nothing here outlasts."""
    yield from _nodes(request, tmp_path_factory.mktemp("graceful"), GRACE)


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def strict_nodes(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Live, ...]]:
    """Nodes that know no grace."""
    yield from _nodes(request, tmp_path_factory.mktemp("strict"), 0)


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def impatient_nodes(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Live, ...]]:
    """Nodes whose grace is over in a moment."""
    yield from _nodes(request, tmp_path_factory.mktemp("impatient"), 1)


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


def _session_id(live: Live, access_token: str) -> str:
    body = live.introspect(access_token)
    assert body["active"] is True
    sid: str = body["sid"]
    return sid


def _session(live: Live, sid: str) -> dict[str, Any]:
    [row] = rows(live.server.database_url, f"SELECT * FROM sessions WHERE id = '{sid}'")
    return row


def _reuse_events(live: Live, sid: str) -> list[dict[str, Any]]:
    found = rows(
        live.server.database_url,
        f"SELECT * FROM audit_events WHERE action = 'session.reuse_detected' AND target = '{sid}'",
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
    async def test_all_get_the_same_successor(self, nodes: tuple[Live, ...]) -> None:
        first, second = nodes[0], nodes[-1]
        exchanged = first.exchange()
        sid = _session_id(first, exchanged["access_token"])

        answers = await _race(nodes, exchanged["refresh_token"])

        assert _outcomes(answers) == {"200": RACERS}
        successors = {answer.json()["refresh_token"] for answer in answers}
        assert len(successors) == 1
        assert exchanged["refresh_token"] not in successors
        # One row, one step, one live refresh token.
        assert _session(first, sid)["generation"] == 1
        [successor] = successors
        for live in nodes:
            assert live.introspect(successor)["active"] is True
            assert live.introspect(exchanged["refresh_token"]) == {"active": False}

        answer = second.refresh(successor)
        assert answer.status_code == 200
        newest = answer.json()

        # The successor was used: now the old one is reuse, however early it comes.
        answer = first.refresh(exchanged["refresh_token"])
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")
        _assert_dead(nodes, successor, newest["refresh_token"])
        assert _session(first, sid)["end_reason"] == "reuse"
        for access in (exchanged["access_token"], newest["access_token"]):
            for live in nodes:
                eventually(partial(_is_refused, live, access), HEARD_SECONDS)
        [event] = _reuse_events(first, sid)
        assert event["outcome"] == "session_ended"
        assert event["address"] == "127.0.0.1"
        assert event["data"] == {"presented_generation": 0, "live_generation": 2}

    async def test_later_generations_too(self, nodes: tuple[Live, ...]) -> None:
        token = nodes[0].exchange()["refresh_token"]
        for _ in range(2):
            answers = await _race(nodes, token)
            assert _outcomes(answers) == {"200": RACERS}
            [token] = {answer.json()["refresh_token"] for answer in answers}
        assert nodes[-1].refresh(token).status_code == 200

    async def test_a_session_ended_meanwhile_stays_ended(self, nodes: tuple[Live, ...]) -> None:
        exchanged = nodes[0].exchange()
        revoking = asyncio.to_thread(nodes[-1].revoke, exchanged["refresh_token"])
        answers, _ = await asyncio.gather(_race(nodes, exchanged["refresh_token"]), revoking)
        assert _outcomes(answers).keys() <= {"200", "400 invalid_grant"}
        won = {a.json()["refresh_token"] for a in answers if a.status_code == 200}
        assert len(won) <= 1
        _assert_dead(nodes, exchanged["refresh_token"], *won)


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
                eventually(partial(_is_refused, live, access), HEARD_SECONDS)
        assert _session(strict_nodes[0], sid)["generation"] == 1
        # Told once, although 19 saw it.
        [event] = _reuse_events(strict_nodes[0], sid)
        assert event["data"] == {"presented_generation": 0, "live_generation": 1}

    def test_one_after_the_other(self, strict_nodes: tuple[Live, ...]) -> None:
        first, second = strict_nodes[0], strict_nodes[-1]
        token = first.exchange()["refresh_token"]
        for live in (first, second, first):
            answer = live.refresh(token)
            assert answer.status_code == 200
            token = answer.json()["refresh_token"]


@pytest.mark.slow_fault
class TestAfterTheGrace:
    def test_the_session_dies_and_it_is_told(self, impatient_nodes: tuple[Live, ...]) -> None:
        first, second = impatient_nodes[0], impatient_nodes[-1]
        exchanged = first.exchange()
        sid = _session_id(first, exchanged["access_token"])
        spent = exchanged["refresh_token"]
        successor = first.refresh(spent).json()
        time.sleep(1.1)

        answer = second.refresh(spent)

        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")
        _assert_dead(impatient_nodes, successor["refresh_token"], spent)
        assert _session(first, sid)["end_reason"] == "reuse"
        for access in (exchanged["access_token"], successor["access_token"]):
            for live in impatient_nodes:
                eventually(partial(_is_refused, live, access), HEARD_SECONDS)
        [event] = _reuse_events(first, sid)
        assert event["outcome"] == "session_ended"
        assert event["data"] == {"presented_generation": 0, "live_generation": 1}
