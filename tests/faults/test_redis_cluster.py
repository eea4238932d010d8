"""Two nodes and a Redis Cluster: one process of it dies, and nothing revoked is accepted (P4)."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from keyturn.server.domain.model import RevocationKind
from keyturn.server.revocation.redis_entries import key
from tests.live_server import (
    SHARED_ISSUER,
    LiveServer,
    eventually,
    postgres_database,
    prepare,
    running,
)
from tests.servers import PostgresServer
from tests.unit.revocation.redis_cluster import Cluster, running_cluster

from .load import Load
from .nodes import GRACE, HEALING_SECONDS, Node, claim
from .proxy import Proxy

Measured = Callable[[str], None]

pytestmark = pytest.mark.slow_fault


@dataclass
class Clustered:
    """Two nodes that share a Cluster."""

    cluster: Cluster
    nodes: tuple[Node, ...]

    def until_ready(self) -> float:
        """How many seconds it took until all nodes said that all is well."""
        return sum(node.until_ready(HEALING_SECONDS) for node in self.nodes)

    def entry_is_there(self, access: str) -> bool:
        """Whether the Cluster knows that a token was revoked."""
        entry = key((RevocationKind.TOKEN, claim(access, "jti")))
        return bool(self.cluster.owner.do("EXISTS", entry))


@pytest.fixture
def clustered(postgres_server: PostgresServer, log_dir: Path) -> Iterator[Clustered]:
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="keyturn-")))
        cluster = stack.enter_context(running_cluster(directory))
        url = stack.enter_context(postgres_database(postgres_server))
        demo = prepare(url)
        nodes = []
        for _ in range(2):
            server = LiveServer(
                log_dir,
                url,
                demo.master_secret,
                redis_url=cluster.url,
                issuer=SHARED_ISSUER,
                refresh_grace=GRACE,
            )
            http = stack.enter_context(httpx.Client(timeout=30))
            # Nothing is broken between a node and its stores here.
            nothing = Proxy(0)
            stack.callback(nothing.close)
            nodes.append(Node(server, demo, http, nothing, nothing))
        stack.enter_context(running(*(node.server for node in nodes)))
        made = Clustered(cluster, tuple(nodes))
        made.until_ready()
        yield made


def revoked(node: Node, other: Node) -> str:
    """An access token that both have accepted, and that `node` has just revoked."""
    access: str = node.exchange()["access_token"]
    assert node.accepts(access)
    assert other.accepts(access)
    node.revoke(access)
    return access


def test_a_revocation_is_known_to_the_next_request(clustered: Clustered) -> None:
    here, there = clustered.nodes
    for revoker, other in ((here, there), (there, here)) * 5:
        access = revoked(revoker, other)
        assert not other.accepts(access)
        assert not revoker.accepts(access)
        assert clustered.entry_is_there(access)


@pytest.mark.parametrize("which", ["the owner", "another"])
def test_one_of_it_dies_and_nobody_notices_but_by_time(
    clustered: Clustered, which: str, measured: Measured
) -> None:
    here, there = clustered.nodes
    cluster = clustered.cluster
    victim = cluster.owner if which == "the owner" else cluster.others[0]
    dead = [revoked(here, there)]
    with Load(clustered.nodes, dead) as load:
        load.wait(100)
        mark = load.mark()
        victim.kill()
        load.wait(50)
        for revoker, other in ((here, there), (there, here)):
            access = revoked(revoker, other)
            assert not other.accepts(access)
            assert not revoker.accepts(access)
            dead.append(access)
        load.wait(50)
        during = load.since(mark)
        if which == "the owner":
            # It holds the slot of all keys: without it the database is asked.
            assert {node.status for node in clustered.nodes} == {"degraded"}
        else:
            assert {node.status for node in clustered.nodes} == {"ok"}
        victim.forget()
        victim.start()
        back = eventually(lambda: cluster.whole, HEALING_SECONDS) + clustered.until_ready()
        load.wait(50)

    assert set(load.verdicts()) == {"good"}, load.wrong
    slowest = max(answer.seconds for answer in during)
    measured(
        f"{which} of the Cluster killed: slowest of {len(during)} calls {slowest * 1000:.0f} ms,"
        f" whole {back:.2f} s after its return"
    )
    for node in clustered.nodes:
        assert not any(node.accepts(access) for access in dead)
    assert all(clustered.entry_is_there(access) for access in dead)
