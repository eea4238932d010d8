"""The connection is lost at the COMMIT of a refresh: it has happened, or not (promise P3)."""

from __future__ import annotations

import uuid
from collections.abc import Callable

import pytest

from .nodes import Node, Site, claim
from .test_postgres import assert_unavailable

#: Before it arrives, PostgreSQL rolls back; before its answer comes back, it has committed.
ARRIVES = pytest.mark.parametrize("arrives", [False, True], ids=["not arrived", "not answered"])
#: For how long a retry gets the same successor unless the setting says other (seconds).
DEFAULT_GRACE = 10


def live_refresh_tokens(node: Node, *refresh_tokens: str) -> list[str]:
    """Those of them that introspection calls active."""
    return [token for token in refresh_tokens if node.introspect(token)["active"]]


class TestCutAtTheCommit:
    @ARRIVES
    @pytest.mark.parametrize("retried_on", ["the same node", "the other node"])
    @pytest.mark.parametrize("generation", [0, 1])
    def test_503_and_the_retry_gets_the_same_successor(
        self, site: Site, arrives: bool, retried_on: str, generation: int
    ) -> None:
        here, there = site.nodes
        tokens = here.exchange()
        session = claim(tokens["access_token"], "sid")
        for _ in range(generation):
            tokens = here.refresh(tokens["refresh_token"]).json()
        token = tokens["refresh_token"]
        cut = here.postgres.cut_at_commit(uuid.UUID(session).bytes, arrives=arrives)

        assert_unavailable(lambda: here.refresh(token))

        assert cut.done.is_set()
        here.postgres.mend()
        step = generation + 1 if arrives else generation
        assert self._generation(site, session) == (step or None)
        retry_on = here if retried_on == "the same node" else there
        answer = retry_on.refresh(token)
        assert answer.status_code == 200, answer.text
        successor = answer.json()["refresh_token"]
        for node in site.nodes:
            assert node.refresh(token).json()["refresh_token"] == successor
            assert live_refresh_tokens(node, token, successor) == [successor]
        assert self._generation(site, session) == generation + 1
        newest = there.refresh(successor)
        assert newest.status_code == 200
        # It was one step: its successor's use makes the spent one reuse.
        assert here.refresh(token).json()["error"] == "invalid_grant"

    @staticmethod
    def _generation(site: Site, session: str) -> int | None:
        rows = site.postgres.fetch("SELECT generation FROM sessions WHERE id = $1", session)
        return rows[0]["generation"] if rows else None


@pytest.mark.slow_fault
class TestSilenceAtTheCommit:
    """No reset: the answer never comes. The waits are bounded, and shorter than the grace."""

    @ARRIVES
    def test_503_in_time_for_a_retry_within_the_grace(
        self, site: Site, arrives: bool, measured: Callable[[str], None]
    ) -> None:
        with site.more_nodes(refresh_grace=DEFAULT_GRACE) as (here,):
            tokens = here.exchange()
            token, session = tokens["refresh_token"], claim(tokens["access_token"], "sid")
            needle = uuid.UUID(session).bytes
            cut = here.postgres.cut_at_commit(needle, arrives=arrives, silent=True)

            answer = here.refresh(token)
            assert cut.done.is_set()
            assert answer.status_code == 503
            assert int(answer.headers["retry-after"]) == 1
            measured(f"503 after {answer.elapsed.total_seconds():.2f} s of silence")

            # From another connection: the one in question is not used again.
            retried = here.refresh(token)
            assert retried.status_code == 200, retried.text
            successor = retried.json()["refresh_token"]
            assert here.refresh(token).json()["refresh_token"] == successor
            assert live_refresh_tokens(here, token, successor) == [successor]
            assert here.refresh(successor).status_code == 200


class TestRevocationCutAtTheCommit:
    @ARRIVES
    def test_503_and_the_retry_revokes(self, site: Site, arrives: bool) -> None:
        here, there = site.nodes
        access = here.exchange()["access_token"]
        cut = here.postgres.cut_at_commit(claim(access, "jti").encode(), arrives=arrives)

        form = {"token": access}
        assert_unavailable(lambda: here.http.post(here.server.revoke_url, data=form))

        assert cut.done.is_set()
        here.postgres.mend()
        here.revoke(access)
        for node in (there, here):
            assert not node.accepts(access)
