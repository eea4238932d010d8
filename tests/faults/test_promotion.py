"""The primary is gone and its replica is promoted: nothing acknowledged is lost (promises P4, P5).

The nodes know both addresses from the start. Commits wait for the replica, so the replica has all
that anybody was told.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from tests.live_server import SHARED_ISSUER, LiveServer, prepare, running
from tests.replicas import Pair, replicated

from .load import Load
from .nodes import GRACE, Node
from .proxy import Proxy

Measured = Callable[[str], None]

#: The promise is 5 seconds; the machines that test it are slow and shared.
RECOVERY_SECONDS = 20.0

pytestmark = pytest.mark.slow_fault


@contextmanager
def two_nodes(pair: Pair, log_dir: Path) -> Iterator[tuple[Node, Node]]:
    """Each reaches the primary through a proxy, and has no Redis: PostgreSQL alone remembers."""
    demo = prepare(pair.primary.url)
    first, second = urlsplit(pair.primary.url), urlsplit(pair.replica.url)
    with ExitStack() as stack:
        nodes = []
        for _ in range(2):
            proxy = Proxy(first.port or 0)
            stack.callback(proxy.close)
            addresses = f"127.0.0.1:{proxy.port},127.0.0.1:{second.port}"
            url = first._replace(netloc=f"postgres@{addresses}").geturl()
            server = LiveServer(
                log_dir, url, demo.master_secret, issuer=SHARED_ISSUER, refresh_grace=GRACE
            )
            http = stack.enter_context(httpx.Client(timeout=30))
            nodes.append(Node(server, demo, http, proxy, proxy))
        stack.enter_context(running(*(node.server for node in nodes)))
        yield nodes[0], nodes[1]


def revoke_some(nodes: tuple[Node, Node], count: int) -> list[str]:
    """Access tokens whose revocation was acknowledged, by each node in turn."""
    dead = []
    for number in range(count):
        node = nodes[number % 2]
        access = node.exchange()["access_token"]
        node.revoke(access)
        dead.append(access)
    return dead


@pytest.mark.parametrize("how", ["killed", "silent"])
def test_nothing_acknowledged_is_lost(log_dir: Path, how: str, measured: Measured) -> None:
    """`silent`: a machine that is gone, and whose address answers nothing at all."""
    with replicated() as pair, two_nodes(pair, log_dir) as nodes:
        dead = revoke_some(nodes, 2)
        for node in nodes:
            for access in dead:
                node.until_refused(access, RECOVERY_SECONDS)
        session = nodes[0].exchange()
        with Load(nodes, dead) as load:
            load.wait(200)
            # To the last moment: these are not among the load's, for the other node may take one
            # for a second.
            last = revoke_some(nodes, 10)
            if how == "silent":
                for node in nodes:
                    node.postgres.freeze()
            pair.primary.kill()
            fallen = time.monotonic()
            load.wait(10)
            pair.replica.promote()
            promoted, mark = time.monotonic(), load.mark()
            for node in nodes:
                node.until_exchanges(RECOVERY_SECONDS)
                node.until_ready(RECOVERY_SECONDS)
            took, away = time.monotonic() - promoted, promoted - fallen
            whole = load.mark()
            load.wait(200)

        assert load.wrong == []
        assert set(load.verdicts()) == {"good", "unavailable"}
        if how == "killed":
            assert set(load.verdicts(whole)) == {"good"}
        slowest = max(answer.seconds for answer in load.answers)
        measured(
            f"primary {how}: whole {took:.2f} s after the promotion ({away:.2f} s after the fall),"
            f" {dict(load.verdicts(mark))} since, {dict(load.verdicts())} in all,"
            f" slowest answer {slowest:.2f} s"
        )
        # Who has not been there before knows of them from the replica alone.
        nodes[1].server.stop()
        nodes[1].server.start()
        for node in nodes:
            assert not any(node.accepts(access) for access in (*dead, *last))
            assert node.accepts(session["access_token"])
        assert nodes[1].refresh(session["refresh_token"]).status_code == 200
        # It takes writes, and both hear of them.
        for access in revoke_some(nodes, 2):
            for node in nodes:
                node.until_refused(access, RECOVERY_SECONDS)
