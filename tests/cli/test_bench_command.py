"""`keyturn bench`: the load that operators send."""

import itertools
import json
import signal
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from keyturn.cli.bench import What
from tests.cli.conftest import PATIENCE, Run, Running

SHORT = ("--seconds", "0.2", "--connections", "2")
TOKENS = {"access_token": "x", "refresh_token": "y", "expires_in": 300}


class TestBench:
    def test_0_every_call(self, answer: Callable[..., Any], who: dict[str, str]) -> None:
        told = answer("bench", who["url"], *SHORT, *(w for what in What for w in ("--what", what)))
        assert list(told["calls"]) == list(What)
        assert told["connections"] == 2
        for call in told["calls"].values():
            assert (call["errors"], call["without_answer"]) == ({}, 0)
            assert call["answers"] > 0
            assert 0 < call["p50_ms"] <= call["p90_ms"] <= call["p99_ms"] <= call["max_ms"]
            # Those on their way at the end have a latency, and are not in the rate.
            listed = sum(bar["answers"] for bar in call["histogram"])
            assert call["answers"] <= listed <= call["answers"] + 2

    def test_0_a_table_and_bars(self, admin: Run, who: dict[str, str]) -> None:
        done = admin("bench", who["url"], *SHORT)
        assert (done.returncode, done.stderr) == (0, "")
        head, row, _, *bars = done.stdout.splitlines()
        assert head.split()[:4] == ["call", "per", "second", "p50"]
        assert row.split()[0] == "exchange"
        assert any("█" * 40 in bar for bar in bars)

    def test_0_a_key_from_stdin(self, run: Run, served: Running) -> None:
        line = served.line
        user = ("--username", line["username"], "--api-key-stdin")
        done = run("bench", line["issuer"], *user, *SHORT, stdin=line["api_key"] + "\n")
        assert done.returncode == 0, done.stderr

    def test_1_refused_before_any_load(self, run: Run, who: dict[str, str]) -> None:
        done = run("bench", who["url"], **{**who, "api_key": "kt_wrong"})
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.count("\n") == 1
        assert "not valid" in done.stderr

    def test_1_introspection_without_the_permission(self, run: Run, served: Running) -> None:
        line = served.line
        user = {name: line[name] for name in ("username", "api_key")}
        done = run("bench", line["issuer"], "--what", "introspect", **user)
        assert done.returncode == 1
        assert "introspect" in done.stderr

    def test_2_another_service_is_asked_about(self, run: Run, who: dict[str, str]) -> None:
        done = run("bench", "https://iam.example", **{**who, "url": "https://iam.example"})
        assert done.returncode == 2
        assert "This loads a live service" in done.stderr
        assert "--yes" in done.stderr

    def test_2_a_key_of_another_service_is_asked_about(self, run: Run, who: dict[str, str]) -> None:
        done = run("bench", who["url"], **{**who, "url": "https://iam.example"})
        assert done.returncode == 2
        assert "which is for https://iam.example/iam" in done.stderr

    def test_3_nobody_there(self, run: Run, who: dict[str, str]) -> None:
        user = {**who, "url": "http://127.0.0.1:9"}
        assert run("bench", **user).returncode == 3


class _Busy(BaseHTTPRequestHandler):
    """Gives tokens to who asks first, and then what `statuses` says."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    statuses: Iterator[int]
    loaded: threading.Event
    answers = 0

    def do_POST(self) -> None:
        type(self).answers += 1
        if self.answers > 100:
            self.loaded.set()
        self.rfile.read(int(self.headers["Content-Length"]))
        text = json.dumps(TOKENS, separators=(",", ":")).encode()
        status = next(self.statuses)
        self.send_response(status)
        if status == 429:
            self.send_header("RateLimit", '"exchanges-per-key";r=0;t=9')
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def busy(
    *statuses: int, context: ssl.SSLContext | None = None
) -> Iterator[tuple[int, type[_Busy]]]:
    class Handler(_Busy):
        pass

    Handler.statuses = itertools.chain([200], itertools.cycle(statuses))
    Handler.loaded = threading.Event()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=[0.05])
    thread.start()
    try:
        yield server.server_address[1], Handler
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize("as_json", [True, False])
def test_1_what_was_not_the_answer_is_counted_by_status(
    run: Run, who: dict[str, str], as_json: bool
) -> None:
    with busy(200, 503, 429, 500) as (port, _):
        user = {**who, "url": f"http://127.0.0.1:{port}"}
        done = run("bench", *SHORT, *(["--json"] if as_json else []), **user)
    assert done.returncode == 1
    assert "the first: HTTP/1.1" in done.stderr
    assert "limited by its KEYTURN_LIMIT_EXCHANGES_PER_KEY" in done.stderr
    if as_json:
        call = json.loads(done.stdout)["calls"]["exchange"]
        assert set(call["errors"]) == {"429", "500", "503"}
        assert call["answers"] > 0
    else:
        *_, limited, unavailable, _, times, status = done.stdout.splitlines()[1].split()
        assert int(limited) > 0
        assert int(unavailable) > 0
        assert (times, status) == ("×", "500")


def test_1_what_was_limited_is_told_once_and_is_no_other_error(
    run: Run, who: dict[str, str]
) -> None:
    with busy(200, 429) as (port, _):
        done = run("bench", *SHORT, **{**who, "url": f"http://127.0.0.1:{port}"})
    assert done.returncode == 1
    assert "limited by its KEYTURN_LIMIT_EXCHANGES_PER_KEY" in done.stderr
    assert "errors" not in done.stderr


def test_0_interrupted_with_the_figures_so_far(
    who: dict[str, str], environment: dict[str, str]
) -> None:
    with busy(200) as (port, handler):
        user = {**who, "url": f"http://127.0.0.1:{port}"}
        calls = ["--what", "exchange", "--what", "me", "--seconds", "600"]
        process = subprocess.Popen(
            [sys.executable, "-m", "keyturn.cli", "bench", "--json", *calls],
            env={**environment, **{f"KEYTURN_{name.upper()}": of for name, of in user.items()}},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            assert handler.loaded.wait(PATIENCE)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=PATIENCE)
        finally:
            process.kill()
    assert process.returncode == 0, err
    told = json.loads(out)
    assert told["interrupted"]
    assert list(told["calls"]) == ["exchange"]
    assert told["calls"]["exchange"]["answers"] > 0
    assert "so far" in err


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """Of 127.0.0.1, by itself, with its key."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "bench")])
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    file = tmp_path / "certificate.pem"
    file.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return file


def test_https_with_certificates_that_are_trusted(
    run: Run, who: dict[str, str], environment: dict[str, str], certificate: Path
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with busy(200, context=context) as (port, _):
        user = {**who, "url": f"https://127.0.0.1:{port}"}
        stranger = run("bench", *SHORT, **user)
        environment["SSL_CERT_FILE"] = str(certificate)
        trusted = run("bench", *SHORT, "--json", **user)
    assert stranger.returncode == 3
    assert "certificate" in stranger.stderr.lower()
    assert trusted.returncode == 0, trusted.stderr
    assert json.loads(trusted.stdout)["calls"]["exchange"]["answers"] > 10
