"""The processes of the day: two nodes behind nginx, a primary and its replica, and Redis."""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.deploy.gateway import arrange, certificate, running_nginx
from tests.faults.rotation import QuickServer
from tests.live_server import LiveServer
from tests.servers import PostgresServer, free_port


class Node(QuickServer):
    """One node, of one version or another. Its signing keys live for minutes instead of weeks."""

    def __init__(
        self,
        root: Path,
        log_dir: Path,
        database_url: str,
        master_secret: str,
        redis_url: str,
        **settings: Any,
    ) -> None:
        """`root`: the checkout that it runs."""
        self.metrics_port = free_port()
        super().__init__(
            log_dir,
            database_url,
            master_secret,
            redis_url=redis_url,
            metrics_port=self.metrics_port,
            **settings,
        )
        self.root = root

    def run(self, *words: str) -> None:
        """One command of its version, with its settings. Raises AssertionError when it fails."""
        mark = self.log.stat().st_size if self.log.exists() else 0
        status = self.command(*words).wait(120)
        said = self.log.read_bytes()[mark:].decode(errors="replace")
        assert status == 0, f"keyturn {' '.join(words)}: {status}: {said[-2000:]}"

    def turn_to(self, database_url: str) -> None:
        """Another database, from its next start on."""
        self.database_url = database_url
        self._settings["database_url"] = database_url


@dataclass(frozen=True)
class Gateway:
    """nginx before the nodes, as deploy/nginx ships it."""

    port: int
    certificate: Path

    @property
    def url(self) -> str:
        """What clients know the service by."""
        return f"https://127.0.0.1:{self.port}"

    @property
    def tls(self) -> ssl.SSLContext:
        """What trusts it."""
        return ssl.create_default_context(cafile=str(self.certificate))

    @contextmanager
    def running(self, prefix: Path, nodes: Sequence[LiveServer]) -> Iterator[None]:
        """At work."""
        first, second = nodes
        changes = {
            "listen 443 ssl": f"listen 127.0.0.1:{self.port} ssl",
            "listen 8090": f"listen 127.0.0.1:{free_port()}",
            "server_name iam.example": "server_name 127.0.0.1",
            "/etc/nginx/tls": str(self.certificate.parent),
            "127.0.0.1:8081": f"127.0.0.1:{first.port}",
            "127.0.0.1:8082": f"127.0.0.1:{second.port}",
        }
        with running_nginx(arrange(prefix, changes)):
            yield


def make_gateway(directory: Path) -> Gateway:
    """A port and a certificate for it."""
    crt, _ = certificate(directory, "127.0.0.1")
    return Gateway(free_port(), crt)


def status(node: LiveServer) -> str:
    """What a node says of itself."""
    try:
        answer = httpx.get(f"{node.base_url}/health/ready", timeout=5)
    except httpx.TransportError:
        return "gone"
    told: str = answer.json()["status"]
    return told


def pg_tool(server: PostgresServer, name: str) -> Path:
    """pg_dump and the like, from where the server is: a newer one writes what an older refuses."""
    assert server.binary is not None
    return server.binary.path.resolve().with_name(name)
