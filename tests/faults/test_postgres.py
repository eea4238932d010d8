"""PostgreSQL fails: 503 in a bounded time until it is back, never the client's fault (P5)."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import httpx
import jwt
import pytest

from keyturn.server.services.recent_keys import GOOD_FOR

from .load import Load
from .nodes import Node, Site

Measured = Callable[[str], None]

#: The promise is 5 seconds; the machines that test it are slow and shared.
RECOVERY_SECONDS = 10.0
#: No answer may take longer while the database is away: a connection is waited for 3 s, an answer
#: 2 s, a whole transaction 8 s.
PATIENCE_SECONDS = 10.0


def assert_unavailable(call: Callable[[], httpx.Response]) -> None:
    """The one answer to a fault on an OAuth route."""
    started = time.monotonic()
    answer = call()
    assert time.monotonic() - started < PATIENCE_SECONDS
    assert answer.status_code == 503, answer.text
    assert int(answer.headers["retry-after"]) >= 1
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert set(body) == {"error", "error_description"}
    assert body["error"] == "temporarily_unavailable"


def calls(node: Node, tokens: dict[str, Any]) -> list[Callable[[], httpx.Response]]:
    """A call of each OAuth operation that needs the database."""
    admin = (node.demo.admin_username, node.demo.admin_api_key)
    refresh_token, access = tokens["refresh_token"], {"token": tokens["access_token"]}
    return [
        node.try_exchange,
        lambda: node.refresh(refresh_token),
        lambda: node.http.post(node.server.introspect_url, data=access, auth=admin),
        lambda: node.http.post(node.server.revoke_url, data={"token": refresh_token}),
    ]


def assert_all_is_well(nodes: tuple[Node, ...], tokens: dict[str, Any], dead: str) -> None:
    """What was given out before is good, what was revoked is not, and there are new ones."""
    for node in nodes:
        node.until_ready(RECOVERY_SECONDS)
        assert node.try_exchange().status_code == 200
        assert node.accepts(tokens["access_token"])
        assert not node.accepts(dead)
        answer = node.refresh(tokens["refresh_token"])
        assert answer.status_code == 200, answer.text
        tokens = {**tokens, **answer.json()}


def until_exchanges(nodes: tuple[Node, ...]) -> float:
    """How many seconds until all nodes give out tokens again."""
    return sum(node.until_exchanges(RECOVERY_SECONDS) for node in nodes)


def revoked(node: Node) -> str:
    access: str = node.exchange()["access_token"]
    node.revoke(access)
    return access


class TestStoppedHard:
    @pytest.mark.parametrize("how", ["stop_immediately", "kill"])
    def test_503_until_it_is_back(self, site: Site, how: str, measured: Measured) -> None:
        here, there = site.nodes
        tokens, dead = here.exchange(), revoked(there)

        getattr(site.postgres, how)()
        time.sleep(GOOD_FOR)  # so long a node goes on by what it has read

        for node in site.nodes:
            for call in calls(node, tokens):
                assert_unavailable(call)
            # Not accepted and not refused: nobody knows now.
            answer = node.me(tokens["access_token"])
            assert answer.status_code == 503
            assert answer.headers["content-type"] == "application/problem+json"
            assert node.me(dead).status_code in {401, 503}
            assert node.ready.status_code == 503
            assert node.ready.json()["checks"]["database"] == "unavailable"
            # What needs no database is answered, so that tokens can be checked offline.
            for path in (
                "/.well-known/oauth-authorization-server",
                "/.well-known/openid-configuration",
                "/health/live",
            ):
                assert node.http.get(node.server.base_url + path).status_code == 200
            keys = jwt.PyJWKSet.from_dict(node.http.get(node.server.jwks_url).json())
            claims = jwt.decode(
                tokens["access_token"],
                keys[jwt.get_unverified_header(tokens["access_token"])["kid"]],
                algorithms=["ES256"],
                options={"verify_aud": False},
            )
            assert claims["client_id"] == node.demo.key_id
            # What is wrong whatever the database says is still the client's fault.
            answer = node.post(grant_type="password", username="a", password="kt_wrong")
            assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")

        site.postgres.start()

        took = until_exchanges(site.nodes)
        measured(f"exchanges again {took:.2f} s after PostgreSQL's return")
        assert_all_is_well(site.nodes, tokens, dead)

    @pytest.mark.slow_fault
    def test_under_load_nobody_is_blamed(self, site: Site, measured: Measured) -> None:
        dead = revoked(site.nodes[0])
        with Load(site.nodes, [dead]) as load:
            for stop in (site.postgres.stop_immediately, site.postgres.kill) * 2:
                load.wait(100)
                stop()
                load.wait(100)
                site.postgres.start()
                until_exchanges(site.nodes)
            site.until_ready()
            mark = load.mark()
            load.wait(200)
        assert load.wrong == []
        assert set(load.verdicts(mark)) == {"good"}
        assert load.verdicts()["unavailable"] > 0
        slowest = max(answer.seconds for answer in load.answers)
        assert slowest < PATIENCE_SECONDS
        measured(f"4 crashes: {dict(load.verdicts())}, slowest answer {slowest:.2f} s")


class TestConnectionsEnded:
    def test_is_not_noticed(self, site: Site) -> None:
        """`pg_terminate_backend`, as an administrator or a failover does it."""
        here, there = site.nodes
        tokens, dead = here.exchange(), revoked(there)
        for _ in range(3):
            assert site.postgres.end_connections() > 0
            assert_all_is_well(site.nodes, tokens, dead)
            tokens = here.exchange()

    def test_under_load_nobody_is_blamed(self, site: Site, measured: Measured) -> None:
        dead = revoked(site.nodes[0])
        with Load(site.nodes, [dead]) as load:
            for _ in range(5):
                site.postgres.end_connections()
                load.wait(20)
        assert load.wrong == []
        measured(f"connections ended 5 times: {dict(load.verdicts())}")


class TestOneNodeCutOff:
    @pytest.mark.parametrize(
        "how", ["refuse", pytest.param("freeze", marks=pytest.mark.slow_fault)]
    )
    def test_503_there_and_nowhere_else(self, site: Site, how: str, measured: Measured) -> None:
        here, there = site.nodes
        tokens, dead = here.exchange(), revoked(there)
        getattr(here.postgres, how)()
        time.sleep(GOOD_FOR)  # so long a node goes on by what it has read

        for call in calls(here, tokens):
            assert_unavailable(call)
        assert here.me(tokens["access_token"]).status_code == 503
        assert here.me(dead).status_code in {401, 503}
        assert here.http.get(here.server.jwks_url).status_code == 200
        assert_all_is_well((there,), tokens, dead)
        later = there.exchange()["access_token"]
        there.revoke(later)
        # It never heard of this one, and cannot ask.
        assert here.me(later).status_code in {401, 503}

        here.postgres.mend()
        took = until_exchanges((here,))
        measured(f"PostgreSQL {how}s one node: exchanges there {took:.2f} s after its return")
        assert not here.accepts(later)
        site.until_ready()


class TestReadOnly:
    def test_503_until_writes_are_taken(self, site: Site, measured: Measured) -> None:
        here, there = site.nodes
        tokens, dead = here.exchange(), revoked(there)
        site.postgres.refuse_writes()
        self._assert_503(site, tokens, dead)
        site.postgres.refuse_writes(False)
        took = until_exchanges(site.nodes)
        measured(f"read-only by its settings: exchanges {took:.2f} s after its end")
        assert_all_is_well(site.nodes, tokens, dead)

    def test_503_from_a_replica_until_it_is_promoted(self, site: Site, measured: Measured) -> None:
        here, there = site.nodes
        tokens, dead = here.exchange(), revoked(there)
        site.postgres.stop_immediately()
        site.postgres.start_as_replica()
        self._assert_503(site, tokens, dead)
        site.postgres.promote()
        took = until_exchanges(site.nodes)
        measured(f"failover: exchanges {took:.2f} s after the promotion")
        assert_all_is_well(site.nodes, tokens, dead)

    @staticmethod
    def _assert_503(site: Site, tokens: dict[str, Any], dead: str) -> None:
        time.sleep(GOOD_FOR)  # so long a node goes on by what it has read
        for node in site.nodes:
            for call in calls(node, tokens):
                assert_unavailable(call)
            for token in (tokens["access_token"], dead):
                assert node.me(token).status_code in {401, 503}
            assert node.me(tokens["access_token"]).status_code == 503
            assert node.ready.status_code == 503
            assert node.http.get(node.server.jwks_url).status_code == 200


class TestAwayAtTheStart:
    @pytest.mark.slow_fault
    def test_ends_and_says_so(self, site: Site) -> None:
        node = site.nodes[0]
        node.server.stop()
        node.postgres.refuse()
        with pytest.raises(RuntimeError, match=r"(?s)exit status 3.*a store is unavailable"):
            node.server.start()
        node.postgres.mend()
        node.server.start()
        node.exchange()
