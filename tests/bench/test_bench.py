"""The bench itself works: its generator counts rightly, and a short run of all of it succeeds."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.bench.generator import Generator, Job
from tests.bench.measure import SIGNATURES, all_figures, choose
from tests.bench.wire import FORM, BenchError, Request


class _Chained(BaseHTTPRequestHandler):
    """Refreshes `t0` to `t1` and so on, each once; refuses what it has seen."""

    protocol_version = "HTTP/1.1"
    seen: set[str]
    links = 0

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        token = body.rpartition("=")[2]
        if body.startswith("grant_type=password"):
            type(self).links += 1
            token = f"{self.links}t0"
        fresh = token not in self.seen
        self.seen.add(token)
        link, _, generation = token.partition("t")
        answer = f'{{"refresh_token":"{link}t{int(generation) + 1}"}}' if fresh else "{}"
        self.send_response(200 if fresh else 400)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer.encode())

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def _server() -> Iterator[tuple[int, type[_Chained]]]:
    class Handler(_Chained):
        seen: set[str] = set()  # noqa: RUF012

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_address[1], Handler
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _job(port: int, body: str, *, chain: bool) -> Job:
    request = Request("POST", "/", {"Content-Type": FORM}, body).wire(port)
    head = Request("POST", "/", {"Content-Type": FORM}).wire(port).removesuffix("\r\n\r\n")
    return Job(port, 2, 0.2, 0, head if chain else request, request if chain else "")


class TestGenerator:
    def test_each_connection_walks_its_own_chain(self) -> None:
        with _server() as (port, handler):
            done = Generator(_job(port, "grant_type=password", chain=True)).run()
        assert done.errors == 0
        assert done.requests > 2
        assert handler.links == 2

    def test_answers_that_are_not_200_are_errors(self) -> None:
        with _server() as (port, handler):
            handler.seen.add("7t7")
            done = Generator(_job(port, "token=7t7", chain=False)).run()
        assert done.requests == 0
        assert done.errors > 0
        assert "400" in done.first_error


class TestChoose:
    def test_nothing_means_all(self) -> None:
        assert choose([]) == all_figures()

    def test_parts_of_a_name(self) -> None:
        assert choose(["sqlite.me", "signatures"]) == (SIGNATURES, "me.es256.sqlite")

    def test_unknown(self) -> None:
        with pytest.raises(BenchError, match="mysql"):
            choose(["mysql"])


def test_a_short_run(tmp_path: Path) -> None:
    file = tmp_path / "bench.json"
    short = ["--only", "exchange.sqlite,refresh.sqlite", "--seconds", "0.5", "--rounds", "1"]
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench", *short, "--json", str(file)],
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    figures = json.loads(file.read_text())["figures"]
    assert list(figures) == ["bare", "exchange.es256.sqlite", "refresh.es256.sqlite"]
    assert all(figure["per_second"] > 0 and figure["errors"] == 0 for figure in figures.values())
    assert "| exchange.es256.sqlite |" in done.stdout
