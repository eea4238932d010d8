"""Two nodes of one service, the stores they share, and between each node and store a proxy.

A `Site` is expensive to start and cheap to heal: tests share one, break it in any way they like,
and the next one finds it whole. That every node becomes ready again, by itself, is thus asserted
after each test.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import jwt

from tests.live_server import (
    SHARED_ISSUER,
    Demo,
    Live,
    LiveServer,
    eventually,
    prepare,
    running,
)
from tests.unit.revocation.redis_process import RedisProcess

from .proxy import Proxy
from .stores import PostgresProcess

#: A grace that no fault here outlasts, however slow the machine (seconds).
GRACE = 120
#: How long a node may take to be whole again (seconds). The promise is 5; the machine is shared.
HEALING_SECONDS = 15.0


@dataclass
class Node(Live):
    """One node, and the proxies through which it reaches the stores."""

    postgres: Proxy
    redis: Proxy

    @property
    def ready(self) -> httpx.Response:
        """What it says of itself."""
        return self.http.get(f"{self.server.base_url}/health/ready")

    @property
    def status(self) -> str:
        """`ok`, `degraded` or `unavailable`."""
        status: str = self.ready.json()["status"]
        return status

    def accepts(self, access_token: str) -> bool:
        """Whether it takes a token, now. Fails the test when it cannot say."""
        answer = self.me(access_token)
        assert answer.status_code in {200, 401}, answer.text
        return answer.status_code == 200

    def until_refused(self, access_token: str, seconds: float) -> float:
        """How many seconds it took until a revoked token was. Fails after `seconds`."""
        return eventually(lambda: not self.accepts(access_token), seconds)

    def until_exchanges(self, seconds: float) -> float:
        """How many seconds it took until it gave out tokens. Fails after `seconds`."""
        return eventually(lambda: self.try_exchange().status_code == 200, seconds)

    def until_ready(self, seconds: float) -> float:
        """How many seconds it took until it said that all is well. Fails after `seconds`."""
        return eventually(lambda: self.status == "ok", seconds)

    def post(self, **form: str) -> httpx.Response:
        """A call of the token endpoint."""
        return self.http.post(self.server.token_url, data=form)

    def try_exchange(self) -> httpx.Response:
        """The answer to an exchange, whatever it is."""
        return self.post(
            grant_type="password", username=self.demo.username, password=self.demo.api_key
        )


@dataclass
class Site:
    """Two nodes, one PostgreSQL, one Redis."""

    postgres: PostgresProcess
    redis: RedisProcess
    demo: Demo
    log_dir: Path
    nodes: tuple[Node, ...] = ()

    def heal(self) -> None:
        """Ends every fault and waits until all nodes are ready again."""
        for node in self.nodes:
            node.postgres.mend()
            node.redis.mend()
        self.postgres.heal()
        self.redis.heal()
        for node in self.nodes:
            if not node.server.alive:
                node.server.stop()
                node.server.start()
        self.until_ready()

    def until_ready(self) -> float:
        """How many seconds it took until all nodes said that all is well."""
        return sum(node.until_ready(HEALING_SECONDS) for node in self.nodes)

    @contextmanager
    def more_nodes(self, count: int = 1, **settings: Any) -> Iterator[tuple[Node, ...]]:
        """Nodes of the same service with settings of their own."""
        with ExitStack() as stack:
            nodes = []
            for _ in range(count):
                postgres, redis = Proxy(_port(self.postgres.url)), Proxy(self.redis.port)
                stack.callback(postgres.close)
                stack.callback(redis.close)
                server = LiveServer(
                    self.log_dir,
                    _through(self.postgres.url, postgres),
                    self.demo.master_secret,
                    **{
                        "redis_url": _through(self.redis.url, redis),
                        "issuer": SHARED_ISSUER,
                        "refresh_grace": GRACE,
                        **settings,
                    },
                )
                http = stack.enter_context(httpx.Client(timeout=30))
                nodes.append(Node(server, self.demo, http, postgres, redis))
            with running(*(node.server for node in nodes)):
                yield tuple(nodes)


def claim(access_token: str, name: str) -> str:
    """One claim of a token of ours; its signature is not what is tested here."""
    value: str = jwt.decode(access_token, options={"verify_signature": False})[name]
    return value


@contextmanager
def open_site(log_dir: Path) -> Iterator[Site]:
    """A site of its own; the stores stop with it."""
    with ExitStack() as stack:
        postgres = PostgresProcess()
        stack.callback(postgres.close)
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="keyturn-redis-"))
        redis = RedisProcess(Path(directory))
        redis.start()
        stack.callback(redis.kill)
        site = Site(postgres, redis, prepare(postgres.url), log_dir)
        site.nodes = stack.enter_context(site.more_nodes(2))
        site.until_ready()
        yield site


def _port(url: str) -> int:
    port = urlsplit(url).port
    assert port is not None
    return port


def _through(url: str, proxy: Proxy) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.replace(str(parts.port), str(proxy.port))).geturl()
