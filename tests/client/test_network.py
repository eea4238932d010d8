"""Real connections: TLS that is checked, and servers that do not answer."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from keyturn.client import AsyncTokenClient, Network, TokenClient, Tokens, Unavailable
from tests.client.conftest import API_KEY, USERNAME, FakeService

Exchange = Callable[..., Tokens]


@pytest.fixture(params=["sync", "async"])
def exchange(request: pytest.FixtureRequest) -> Exchange:
    def sync_exchange(url: str, network: Network | None = None, deadline: float = 10) -> Tokens:
        with TokenClient(url, USERNAME, API_KEY, network=network, deadline=deadline) as client:
            return client.exchange()

    def async_exchange(url: str, network: Network | None = None, deadline: float = 10) -> Tokens:
        async def run() -> Tokens:
            async with AsyncTokenClient(
                url, USERNAME, API_KEY, network=network, deadline=deadline
            ) as client:
                return await client.exchange()

        return asyncio.run(run())

    return sync_exchange if request.param == "sync" else async_exchange


class Handler(BaseHTTPRequestHandler):
    seen: list[bytes] = []  # noqa: RUF012

    def do_POST(self) -> None:
        self.seen.append(self.rfile.read(int(self.headers["content-length"])))
        body = json.dumps(FakeService().tokens()).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate for 127.0.0.1 that nobody signed but itself, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    day = datetime.timedelta(days=1)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - day)
        .not_valid_after(now + day)
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / "certificate.pem"
    path.write_bytes(
        signed.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return path


@pytest.fixture
def https(certificate: Path) -> Iterator[str]:
    Handler.seen.clear()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"https://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def silent() -> Iterator[str]:
    """Takes connections, and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


@pytest.fixture
def trickling() -> Iterator[str]:
    """Never ends its answer, and always says a little more."""
    stop = threading.Event()

    def serve() -> None:
        while not stop.is_set():
            try:
                connection, _ = listening.accept()
            except TimeoutError:
                continue
            with connection:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n")
                try:
                    while not stop.wait(0.01):
                        connection.sendall(b" ")
                except OSError:
                    continue

    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(0.05)
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            stop.set()
            thread.join()


class TestTls:
    def test_who_is_not_trusted_learns_no_key(self, exchange: Exchange, https: str) -> None:
        with pytest.raises(Unavailable, match="CERTIFICATE_VERIFY_FAILED"):
            exchange(https, deadline=0.5)
        assert Handler.seen == []

    def test_a_context_of_the_callers_is_not_weakened(self, exchange: Exchange, https: str) -> None:
        with pytest.raises(Unavailable, match="CERTIFICATE_VERIFY_FAILED"):
            exchange(https, Network(verify=ssl.create_default_context()), deadline=0.5)
        assert Handler.seen == []

    def test_a_context_of_the_callers_is_used(
        self, exchange: Exchange, https: str, certificate: Path
    ) -> None:
        context = ssl.create_default_context(cafile=str(certificate))
        assert exchange(https, Network(verify=context)).access_token
        assert API_KEY in Handler.seen[0].decode()

    def test_trusted_certificates_are_loaded_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        used = [Network()._verify("https://iam.example") for _ in range(2)]
        assert isinstance(used[0], ssl.SSLContext)
        assert used[0] is used[1]
        assert used[0].verify_mode is ssl.CERT_REQUIRED


class TestNoAnswer:
    def test_of_a_silent_server_is_unavailable(self, exchange: Exchange, silent: str) -> None:
        with pytest.raises(Unavailable):
            exchange(silent, deadline=0.3)

    def test_of_a_trickling_server_is_unavailable(self, exchange: Exchange, trickling: str) -> None:
        with pytest.raises(Unavailable):
            exchange(trickling, deadline=0.3)

    def test_of_nobody_is_unavailable(self, exchange: Exchange) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        with pytest.raises(Unavailable):
            exchange(url, deadline=0.3)
