"""What a connection may do before its request is one."""

import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from urllib.parse import urlsplit

import pytest

from keyturn.server.http.protocol import HEAD_WAIT, MAX_HEAD
from tests.live_server import Live

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
        assert time.monotonic() - begun < 2 * HEAD_WAIT


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
