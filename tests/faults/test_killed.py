"""Processes killed without a farewell: what was answered holds, and nothing is half done."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests.live_server import Live, eventually, live_service

from .nodes import GRACE, Site

SESSIONS = 4
#: PostgreSQL ends a transaction that stands idle after 5 seconds; the rest is for a busy machine.
TAKEN_SECONDS = 20.0


def refresh_until_it_dies(url: str, chain: list[str]) -> None:
    """Adds a successor after the other, until nobody answers."""
    with httpx.Client(timeout=20) as client:
        while True:
            form = {"grant_type": "refresh_token", "refresh_token": chain[-1]}
            try:
                answer = client.post(url, data=form)
            except httpx.TransportError:
                return
            chain.append(answer.json()["refresh_token"])


def chains_of_the_killed(live: Live) -> list[list[str]]:
    """Sessions that were being refreshed when the server was killed: all that it answered."""
    chains = [[live.exchange()["refresh_token"]] for _ in range(SESSIONS)]
    threads = [
        threading.Thread(target=refresh_until_it_dies, args=(live.server.token_url, chain))
        for chain in chains
    ]
    for thread in threads:
        thread.start()
    eventually(lambda: all(len(chain) > 5 for chain in chains), 30)
    live.server.kill()
    for thread in threads:
        thread.join()
    return chains


def assert_spent_with_one_successor_or_unspent(live: Live, chain: list[str]) -> None:
    # Unspent, or spent without our hearing of it: either way the last one goes on.
    answer = live.refresh(chain[-1])
    assert answer.status_code == 200, answer.text
    successor = answer.json()["refresh_token"]
    assert successor not in chain
    assert live.refresh(chain[-1]).json()["refresh_token"] == successor
    newest = live.refresh(successor)
    assert newest.status_code == 200
    # And what was heard of was spent: it is reuse now.
    assert live.refresh(chain[-2]).json()["error"] == "invalid_grant"
    refused = live.refresh(newest.json()["refresh_token"])
    assert refused.json()["error"] == "invalid_grant"


class TestKilledWhileItRefreshes:
    @pytest.mark.slow_fault
    def test_and_started_again(self, log_dir: Path, database_url: str) -> None:
        # A grace that a restart on a slow machine does not outlast.
        with live_service(log_dir, database_url, refresh_grace=GRACE) as live:
            chains = chains_of_the_killed(live)
            live.server.start()
            for chain in chains:
                assert_spent_with_one_successor_or_unspent(live, chain)

    def test_the_other_node_goes_on(self, site: Site) -> None:
        here, there = site.nodes
        for chain in chains_of_the_killed(here):
            assert_spent_with_one_successor_or_unspent(there, chain)


class TestKilledAfterARevocation:
    @pytest.mark.slow_fault
    def test_embedded_it_stays_revoked(self, log_dir: Path, sqlite_url: str) -> None:
        with live_service(log_dir, sqlite_url) as live:
            for kind in ("access_token", "refresh_token"):
                tokens, other = live.exchange(), live.exchange()
                live.revoke(tokens[kind])
                live.server.kill()
                live.server.start()
                # With its first request after the start.
                assert live.me(tokens["access_token"]).status_code == 401
                assert live.introspect(tokens["access_token"]) == {"active": False}
                if kind == "refresh_token":
                    assert live.refresh(tokens[kind]).json()["error"] == "invalid_grant"
                assert live.me(other["access_token"]).status_code == 200
                assert live.refresh(other["refresh_token"]).status_code == 200

    @pytest.mark.parametrize("redis", ["is there", "is lost with it"])
    def test_it_stays_revoked_on_the_others(self, site: Site, redis: str) -> None:
        here, there = site.nodes
        tokens = here.exchange()
        assert there.accepts(tokens["access_token"])
        here.revoke(tokens["refresh_token"])
        here.server.kill()
        if redis == "is lost with it":
            site.redis.kill()
        assert not there.accepts(tokens["access_token"])
        assert there.refresh(tokens["refresh_token"]).json()["error"] == "invalid_grant"
        here.server.start()
        assert not here.accepts(tokens["access_token"])


class TestFrozen:
    def test_the_other_node_takes_its_refresh(
        self, site: Site, measured: Callable[[str], None]
    ) -> None:
        """SIGSTOP in the middle of refreshes: a process that holds its locks and does nothing."""
        here, there = site.nodes
        chain = [here.exchange()["refresh_token"]]
        thread = threading.Thread(target=refresh_until_it_dies, args=(here.server.token_url, chain))
        thread.start()
        eventually(lambda: len(chain) > 5, 30)
        here.server.freeze()
        answers: list[int] = []

        def taken() -> bool:
            answers.append(there.refresh(chain[-1]).status_code)
            return answers[-1] == 200

        try:
            took = eventually(taken, TAKEN_SECONDS)
        finally:
            here.server.kill()
            thread.join()
        assert set(answers) <= {200, 503}
        measured(f"the other node takes over {took:.2f} s after a node froze: {answers}")
