"""What a connection may do before its request is one."""

import os
import signal
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from keyturn.server.http.protocol import HEAD_WAIT, MAX_HEAD, SPARE
from tests.live_server import Live, eventually, live_service

LINE = b"GET /health/live HTTP/1.1\r\nHost: x\r\n"


@contextmanager
def connected(live: Live) -> Iterator[socket.socket]:
    url = urlsplit(live.server.base_url)
    with closing(socket.create_connection((url.hostname, url.port), timeout=30)) as sock:
        yield sock


def rest(sock: socket.socket) -> bytes:
    """What comes until the server closes."""
    parts = []
    try:
        while part := sock.recv(65_536):
            parts.append(part)
    except ConnectionResetError:
        pass
    return b"".join(parts)


def answer(sock: socket.socket) -> bytes:
    """One whole answer: all that are asked for here are a JSON object."""
    data = b""
    while not data.endswith(b"}"):
        part = sock.recv(65_536)
        assert part, data
        data += part
    return data


@contextmanager
def stopped(live: Live) -> Iterator[None]:
    """The server's process stands still: what is sent meanwhile, it reads in one piece."""
    pid = live.server.pid
    os.kill(pid, signal.SIGSTOP)
    try:
        os.waitid(os.P_PID, pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def test_400_what_is_no_request(live: Live) -> None:
    with connected(live) as sock:
        sock.sendall(b"NO REQUEST\r\n\r\n")
        head = rest(sock).partition(b"\r\n\r\n")[0].lower().split(b"\r\n")
    assert head[0] == b"http/1.1 400 bad request"
    assert {b"x-content-type-options: nosniff", b"cache-control: no-store"} <= set(head)


@pytest.mark.parametrize("kind", ["one long header", "many headers", "a long line"])
def test_400_headers_without_end(live: Live, kind: str) -> None:
    start, more = {
        "one long header": (LINE + b"X: ", b"x" * 4_096),
        "many headers": (LINE, b"X: yyyyyyyy\r\n" * 300),
        "a long line": (b"GET /", b"x" * 4_096),
    }[kind]
    with connected(live) as sock:
        sock.sendall(start)
        sent = 0
        try:
            while sent < 40 * MAX_HEAD:
                sock.sendall(more)
                sent += len(more)
        except (BrokenPipeError, ConnectionResetError):
            pass
        assert sent < 40 * MAX_HEAD or rest(sock).startswith(b"HTTP/1.1 400")


@pytest.mark.parametrize("start", [b"", LINE], ids=["nothing", "half a head"])
def test_a_silent_connection_is_closed(live: Live, start: bytes) -> None:
    with connected(live) as sock:
        begun = time.monotonic()
        sock.sendall(start)
        assert rest(sock) == b""
        assert time.monotonic() - begun < 6 * HEAD_WAIT


def test_200_long_bodies_slow_heads_and_several_requests(live: Live) -> None:
    body = b"a=" + b"x" * 60_000
    with connected(live) as sock:
        for _ in range(2):
            for letter in LINE:
                sock.sendall(bytes([letter]))
            sock.sendall(b"\r\n")
            assert answer(sock).startswith(b"HTTP/1.1 200")
        head = (
            b"POST /iam/auth/token HTTP/1.1\r\nHost: x\r\n"
            b"Content-Type: application/x-www-form-urlencoded\r\n"
        )
        sock.sendall(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        assert b"invalid_request" in answer(sock)
        sock.sendall(LINE + b"\r\n")
        assert answer(sock).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
def test_200_though_the_client_has_closed_its_side(live: Live, method: bytes) -> None:
    """It has asked, and listens (RFC 9112, 9.6)."""
    for _ in range(20):
        with connected(live) as sock:
            sock.sendall(LINE.replace(b"GET", method) + b"\r\n")
            sock.shutdown(socket.SHUT_WR)
            told = rest(sock)
        assert told.startswith(b"HTTP/1.1 200 OK"), told
        assert told.endswith(b"}" if method == b"GET" else b"\r\n\r\n")


def test_clients_that_reset_leave_no_trace_in_the_log(live: Live) -> None:
    for _ in range(50):
        with connected(live) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.sendall((LINE + b"\r\n") * 3)
    with connected(live) as sock:
        sock.sendall(LINE + b"\r\n")
        assert answer(sock).startswith(b"HTTP/1.1 200 OK")
    assert "Exception in callback" not in live.server.log.read_text(encoding="utf-8")


def test_the_end_of_a_body_is_not_a_long_head(live: Live) -> None:
    last = b"x" * (MAX_HEAD + 4_096)
    with connected(live) as sock:
        sock.sendall(
            b"POST /iam/auth/token HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
            b"Content-Type: application/x-www-form-urlencoded\r\n"
            b"Content-Length: %d\r\n\r\na=" % (len(last) + 2)
        )
        # So its head is read.
        assert sock.recv(65_536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        with stopped(live):
            sock.sendall(last)
        assert b"invalid_request" in answer(sock)
        sock.sendall(LINE + b"\r\n")
        assert answer(sock).startswith(b"HTTP/1.1 200")


def post(*headers: bytes) -> bytes:
    return b"\r\n".join([b"POST /iam/auth/token HTTP/1.1", b"Host: x", *headers, b"", b""])


def test_413_is_read_though_the_body_goes_on(live: Live) -> None:
    size = 4_000_000
    with connected(live) as sock:
        head = post(
            b"Connection: close",
            b"Content-Type: application/x-www-form-urlencoded",
            b"Content-Length: %d" % size,
        )
        # Without a reset, which would lose the answer.
        sock.sendall(head + b"x" * size)
        assert rest(sock).startswith(b"HTTP/1.1 413")


#: The connections that `small` takes.
LIMIT = 4


@pytest.fixture(scope="module")
def small(log_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A server that takes few connections."""
    url = f"sqlite:///{tmp_path_factory.mktemp('small')}/keyturn.db"
    with live_service(log_dir, url, max_connections=LIMIT) as live:
        live.http.close()
        yield live


@contextmanager
def full(small: Live) -> Iterator[None]:
    """As many connections as there may be, all in use."""
    with ExitStack() as stack:
        taken: list[socket.socket] = []

        def take() -> bool:
            sock = stack.enter_context(connected(small))
            sock.sendall(LINE + b"\r\n")
            # Those of the test before may not be gone yet.
            if b"connection: close" not in answer(sock).lower():
                taken.append(sock)
            return len(taken) == LIMIT

        eventually(take, 30)
        yield


class TestTooMany:
    @pytest.mark.parametrize(
        ("given", "form"),
        [
            (
                post(b"Content-Length: 200000") + b"x" * 200_000,
                b'"error":"temporarily_unavailable"',
            ),
            (b"GET /iam/users/me HTTP/1.1\r\nHost: x\r\n\r\n", b"application/problem+json"),
        ],
        ids=["OAuth", "elsewhere"],
    )
    def test_503_and_closed(self, small: Live, given: bytes, form: bytes) -> None:
        with full(small), connected(small) as sock:
            sock.sendall(given)
            said = rest(sock)
        assert said.startswith(b"HTTP/1.1 503")
        assert form in said
        for header in (b"retry-after: 1", b"connection: close"):
            assert b"\r\n" + header + b"\r\n" in said.lower()

    def test_200_health(self, small: Live) -> None:
        with full(small), connected(small) as sock:
            sock.sendall(LINE + b"\r\n")
            assert rest(sock).startswith(b"HTTP/1.1 200")

    def test_closed_when_there_are_far_more(self, small: Live) -> None:
        with full(small), ExitStack() as stack:
            silent = [stack.enter_context(connected(small)) for _ in range(SPARE + 20)]
            assert rest(silent[-1]) == b""

    def test_200_when_there_is_room_again(self, small: Live) -> None:
        for _ in range(2):
            with full(small):
                pass
