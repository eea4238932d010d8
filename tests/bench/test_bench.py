"""The bench itself works: its generator counts rightly, and a short run of all of it succeeds."""

from __future__ import annotations

import itertools
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from keyturn.cli.load.generator import Generator
from keyturn.cli.load.jobs import Job, Round
from keyturn.cli.load.latencies import Latencies
from keyturn.cli.load.requests import FORM, Request
from tests.bench.figures import MACHINE, all_figures, choose
from tests.bench.whole import scaling, shared_lines
from tests.bench.wire import BenchError
from tests.bench.wire import Round as Measured


class _Chained(BaseHTTPRequestHandler):
    """Refreshes `t0` to `t1` and so on, each once; refuses what it has seen."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    seen: set[str]
    links: itertools.count[int]
    connections = 0
    closes = False
    chunks = False

    def setup(self) -> None:
        type(self).connections += 1
        super().setup()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        token = body.rpartition("=")[2]
        if body.startswith("grant_type=password"):
            token = f"{next(self.links)}t0"
        fresh = token not in self.seen
        self.seen.add(token)
        link, _, generation = token.partition("t")
        answer = f'{{"refresh_token":"{link}t{int(generation) + 1}"}}' if fresh else "{}"
        self.send_response(200 if fresh else 400)
        if self.closes:
            self.send_header("Connection", "close")
        if self.chunks:
            self.send_header("Transfer-Encoding", "chunked")
            parts = answer[:25], answer[25:], ""
            answer = "".join(f"{len(part):x}\r\n{part}\r\n" for part in parts)
        else:
            self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer.encode())

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def _server() -> Iterator[tuple[int, type[_Chained]]]:
    class Handler(_Chained):
        seen: set[str] = set()  # noqa: RUF012
        links = itertools.count(1)

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


def _form(body: str = "") -> Request:
    return Request("POST", "/", {"Content-Type": FORM}, body)


def _run(port: int, *bodies: str, first: str = "", expect: str = "") -> Round:
    requests = tuple(_form(body).wire(port) for body in bodies)
    if first:
        requests, first = (_form().head(port),), _form(first).wire(port)
    return Generator(Job("127.0.0.1", port, 2, 0.2, requests, first, expect)).run()


class TestGenerator:
    def test_each_connection_walks_its_own_chain(self) -> None:
        with _server() as (port, handler):
            done = _run(port, first="grant_type=password")
        assert done.errors == 0
        assert done.requests > 2
        assert next(handler.links) == 3
        # What opens a chain is not counted; each answer since is a refresh, counted once.
        assert len(handler.seen) == 2 + done.latencies.number

    def test_a_broken_chain_begins_anew(self) -> None:
        with _server() as (port, handler):
            handler.seen |= {"1t2", "2t2"}
            done = _run(port, first="grant_type=password")
        assert done.statuses == {400: 2}
        assert next(handler.links) == 5

    def test_requests_are_sent_in_turn(self) -> None:
        bodies = [f"token={number}t0" for number in range(5000)]
        with _server() as (port, handler):
            done = _run(port, *bodies)
        assert done.errors == 0  # each is good once
        assert len(handler.seen) == done.latencies.number > 2

    def test_answers_that_are_not_200_are_errors(self) -> None:
        with _server() as (port, handler):
            handler.seen.add("7t7")
            done = _run(port, "token=7t7")
        assert done.requests == 0
        assert done.statuses[400] == done.errors > 0
        assert "400" in done.first_error

    def test_a_200_that_says_something_else_is_an_error(self) -> None:
        bodies = [f"token={number}t0" for number in range(5000)]
        with _server() as (port, _):
            done = _run(port, *bodies, expect='"active":true')
        assert done.requests == 0
        assert done.statuses[200] == done.errors > 0
        assert "not what was asked" in done.first_error

    def test_a_connection_that_a_proxy_ends_is_opened_again(self) -> None:
        with _server() as (port, handler):
            handler.closes = True
            done = _run(port, first="grant_type=password")
        assert done.errors == 0
        assert next(handler.links) == 3
        assert handler.connections >= done.requests > 2

    def test_chunks_are_put_together(self) -> None:
        with _server() as (port, handler):
            handler.chunks = True
            done = _run(port, first="grant_type=password")
        assert done.errors == 0
        assert done.requests > 2

    def test_a_server_that_goes_away(self) -> None:
        answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        with socket.create_server(("127.0.0.1", 0), backlog=2) as listener:
            links: list[socket.socket] = []

            def serve() -> None:
                links.extend(listener.accept()[0] for _ in range(2))
                listener.close()
                for link in links:
                    link.recv(1000)
                    link.sendall(answer)

            thread = threading.Thread(target=serve)
            thread.start()
            done = _run(listener.getsockname()[1], "token=7t7")
            thread.join()
            for link in links:
                link.close()
        assert done.requests == 2
        assert done.lost == 4  # what was asked next, and the connection for it
        assert "refused" in done.first_error

    def test_nobody_there(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as unused:
            port = unused.getsockname()[1]
        with pytest.raises(OSError, match="refused"):
            _run(port, "token=7t7")

    def test_a_round_survives_its_journey(self) -> None:
        with _server() as (port, handler):
            handler.seen.add("7t7")
            done = _run(port, "token=7t7", *(f"token={number}t0" for number in range(5000)))
        assert Round.loads(done.dumps()) == done


class TestLatencies:
    def test_quantiles_to_one_percent(self) -> None:
        latencies = Latencies()
        for number in range(1, 1001):
            latencies.add(number / 1000)
        for share in (0.5, 0.9, 0.99):
            assert latencies.quantile(share) == pytest.approx(share, rel=0.011)
        assert latencies.quantile(1.0) == pytest.approx(1.0, rel=0.011)
        assert latencies.longest == 1.0

    def test_none_at_all(self) -> None:
        assert Latencies().quantile(0.5) == 0
        assert Latencies().bars(10) == []

    @pytest.mark.parametrize("times", [[0.001], [0.001, 0.004, 0.004, 0.2], [0.0, 600.0]])
    def test_bars_have_all(self, times: list[float]) -> None:
        latencies = Latencies()
        for time in times:
            latencies.add(time)
        bars = latencies.bars(12)
        assert len(bars) <= 12
        assert sum(count for _, count in bars) == len(times)
        for index, (bound, count) in enumerate(bars):
            below = bars[index - 1][0] if index else 0
            assert count == sum(below <= max(t, 1e-6) < bound for t in times)


class TestChoose:
    def test_nothing_means_all(self) -> None:
        assert choose([]) == all_figures()

    def test_parts_of_a_name(self) -> None:
        found = choose(["sqlite.me", "signatures.es256", "machine"])
        assert found == ("signatures.es256", "me.es256.sqlite", MACHINE)

    def test_unknown(self) -> None:
        with pytest.raises(BenchError, match="mysql"):
            choose(["mysql"])


def test_scaling_deducts_what_is_not_the_workers() -> None:
    def half(requests: int, workers: float) -> list[Measured]:
        cpu = {"service": workers, "db": 0.3}
        return [Measured(requests, 1.0, 0.001, 0.002, 0, "", 0.5, cpu)]

    rounds = {"exchange, 1 worker": half(1000, 0.8), "exchange, 2 workers": half(1200, 1.2)}
    assert scaling(shared_lines(rounds)) == {"rate": 1.2, "per_worker_cpu": 0.8}


def test_a_short_run(tmp_path: Path) -> None:
    file = tmp_path / "bench.json"
    only = f"exchange-many.sqlite,refresh.sqlite,signatures.es256,{MACHINE}"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "tests.bench", "--quick", "--only", only),
            *("--seconds", "0.5", "--rounds", "1", "--json", str(file)),
        ],
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(file.read_text())
    figures, whole = said["figures"], said["whole_machine"]
    service = ["exchange-many.es256.sqlite", "refresh.es256.sqlite"]
    assert list(figures) == ["signatures.es256", "bare", *service]
    assert list(whole) == ["bare, 2 workers", "exchange, 2 workers"]
    for name, figure in {**figures, **whole}.items():
        assert figure["per_second"] > 0
        assert not figure["errors"]
        assert f"| {name} " in done.stdout
    assert all(figures[name]["vs_raw"] > 0 and figures[name]["rss_mb"] > 0 for name in service)
    last = json.loads(done.stdout.splitlines()[-1])
    told = {f"{name}.{what}" for name in service for what in ("vs_bare", "p99_over_p50")}
    assert told | {f"{MACHINE}.per_second", f"{MACHINE}.vs_bare"} <= last.keys()
