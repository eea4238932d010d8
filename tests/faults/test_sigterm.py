"""SIGTERM under load: balancers hear of it first, and nobody who got through is dropped."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlencode

import pytest

from tests.live_server import LiveServer, eventually, prepare

PATIENCE = 60.0
READY = b"GET /health/ready HTTP/1.1\r\nHost: x\r\n\r\n"


@dataclass(frozen=True)
class Arrangement:
    """A migrated database with the demo, and how many workers serve it."""

    log_dir: Path
    database_url: str
    workers: int

    @contextmanager
    def serving(self, drain: int = 0) -> Iterator[tuple[LiveServer, bytes]]:
        """A server, and a request for a token."""
        demo = prepare(self.database_url)
        server = LiveServer(
            self.log_dir,
            self.database_url,
            demo.master_secret,
            workers=self.workers,
            shutdown_drain=drain,
        )
        form = {"grant_type": "password", "username": demo.username, "password": demo.api_key}
        server.start()
        try:
            yield server, post("/iam/auth/token", urlencode(form).encode())
        finally:
            server.kill()


@pytest.fixture(params=["sqlite", "postgres"])
def arrangement(request: pytest.FixtureRequest, log_dir: Path) -> Arrangement:
    """One worker on SQLite, and two on PostgreSQL."""
    url = request.getfixturevalue(f"{request.param}_url")
    return Arrangement(log_dir, url, 1 if request.param == "sqlite" else 2)


def post(path: str, body: bytes) -> bytes:
    return (
        f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode() + body


def ended(server: LiveServer) -> int:
    """The exit status, when it has ended by itself."""
    eventually(lambda: not server.alive, PATIENCE)
    return server.stop()


def connected(server: LiveServer) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE)


def whole(sock: socket.socket) -> bytes:
    """One answer whose body is a JSON object that ends with another."""
    data = b""
    while not data.endswith(b"}}") and (part := sock.recv(65_536)):
        data += part
    return data


def everything(sock: socket.socket) -> bytes:
    parts = []
    while part := sock.recv(65_536):
        parts.append(part)
    return b"".join(parts)


def ready(server: LiveServer) -> bytes:
    """The whole answer, on a connection of its own."""
    with closing(connected(server)) as sock:
        sock.sendall(READY)
        return whole(sock)


def all_stopping(server: LiveServer) -> bool:
    """Whether each worker says so, as far as chance tells."""
    return all(b'"stopping"' in ready(server) for _ in range(12))


def gone_round(server: LiveServer) -> None:
    """Each worker, as far as chance tells, has read what was sent before."""
    for _ in range(12):
        ready(server)


def refused(server: LiveServer) -> bool:
    """Whether connections are no longer accepted."""
    try:
        connected(server).close()
    except ConnectionError:
        return True
    return False


@dataclass
class Load:
    """Clients that go on, on new connections and on old ones, until connections are refused."""

    port: int
    request: bytes
    clients: int = 6
    keep_alive: bool = True
    heads: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    told: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Load:
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)
        self._thread.start()
        self.wait(50)
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()

    def wait(self, more: int) -> None:
        enough = len(self.heads) + more
        eventually(lambda: len(self.heads) >= enough or bool(self.faults), PATIENCE)

    async def _run(self) -> None:
        await asyncio.gather(
            *(
                self._client(keep_alive=self.keep_alive and number % 2 == 0)
                for number in range(self.clients)
            )
        )

    async def _client(self, *, keep_alive: bool) -> None:
        while True:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            except ConnectionRefusedError:
                return
            except OSError as error:
                self.faults.append(f"connecting: {error!r}")
                return
            try:
                while await self._answered(reader, writer) and keep_alive:
                    pass
            except (OSError, EOFError) as error:
                self.faults.append(f"{error!r}")
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    async def _answered(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Whether the connection may be used again."""
        last = self.told.is_set()
        writer.write(self.request)
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(head.partition("content-length: ")[2].partition("\r\n")[0])
        await reader.readexactly(length)
        self.heads.append(head)
        if not head.startswith("http/1.1 200 "):
            self.faults.append(head)
        if "connection: close" not in head:
            if last:
                self.faults.append("it says nothing of the end: " + head)
            return True
        if await reader.read():
            self.faults.append("there is more after the end")
        return False


class TestUnderLoad:
    def test_nobody_is_reset_and_0(self, arrangement: Arrangement) -> None:
        with (
            arrangement.serving(drain=600) as (server, request),
            Load(server.port, request) as load,
        ):
            os.kill(server.pid, signal.SIGTERM)
            eventually(lambda: all_stopping(server), PATIENCE)
            load.told.set()
            load.wait(50)
            os.kill(server.pid, signal.SIGTERM)
            assert ended(server) == 0
        assert load.faults == []

    def test_nobody_new_is_reset_without_a_drain(self, arrangement: Arrangement) -> None:
        # Who uses a connection again has not been told, and may meet its end.
        with (
            arrangement.serving() as (server, request),
            Load(server.port, request, keep_alive=False) as load,
        ):
            os.kill(server.pid, signal.SIGTERM)
            assert ended(server) == 0
        assert load.faults == []


class TestDrain:
    def test_503_stopping_then_a_second_signal_ends_it(self, arrangement: Arrangement) -> None:
        with arrangement.serving(drain=600) as (server, _):
            os.kill(server.pid, signal.SIGTERM)
            eventually(lambda: all_stopping(server), PATIENCE)
            answer = ready(server).lower()
            assert answer.startswith(b"http/1.1 503 ")
            assert b"\r\nconnection: close\r\n" in answer
            os.kill(server.pid, signal.SIGINT)
            assert ended(server) == 0

    def test_it_ends_by_itself(self, arrangement: Arrangement) -> None:
        with arrangement.serving(drain=1) as (server, _):
            os.kill(server.pid, signal.SIGTERM)
            assert ended(server) == 0

    def test_sigint_does_not_wait(self, arrangement: Arrangement) -> None:
        with arrangement.serving(drain=600) as (server, _):
            os.kill(server.pid, signal.SIGINT)
            assert ended(server) == 0


class TestAtTheEnd:
    def test_200_what_was_under_way_and_idle_connections_are_closed(
        self, arrangement: Arrangement
    ) -> None:
        with arrangement.serving() as (server, request):
            half_head, half_body, idle = (connected(server) for _ in range(3))
            with closing(half_head), closing(half_body), closing(idle):
                idle.sendall(READY)
                assert whole(idle).startswith(b"HTTP/1.1 200")
                half_head.sendall(request[:40])
                half_body.sendall(request[:-10])
                gone_round(server)  # the halves are read before the signal is
                os.kill(server.pid, signal.SIGTERM)
                eventually(lambda: refused(server), PATIENCE)
                assert everything(idle) == b""
                half_head.sendall(request[40:])
                half_body.sendall(request[-10:])
                for sock in (half_head, half_body):
                    answer = everything(sock).lower()
                    assert answer.startswith(b"http/1.1 200")
                    assert b"\r\nconnection: close\r\n" in answer
            assert ended(server) == 0

    def test_200_who_waited_to_be_accepted(self, log_dir: Path, sqlite_url: str) -> None:
        with Arrangement(log_dir, sqlite_url, 1).serving() as (server, request):
            # It stands still while they connect and the signal comes.
            os.kill(server.pid, signal.SIGSTOP)
            os.waitid(os.P_PID, server.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
            socks = [connected(server) for _ in range(50)]
            for sock in socks:
                sock.sendall(request)
            os.kill(server.pid, signal.SIGTERM)
            os.kill(server.pid, signal.SIGCONT)
            for sock in socks:
                with closing(sock):
                    assert everything(sock).startswith(b"HTTP/1.1 200")
            assert ended(server) == 0
