"""TLS: what is spoken, and certificates that are renewed while the server runs."""

import asyncio
import logging
import os
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from keyturn.server.http import serving
from keyturn.server.http.tls import Certificates, serving_context
from tests.certificates import made, name_in

Write = Callable[[str], None]


class Files:
    """A certificate's two files."""

    def __init__(self, directory: Path) -> None:
        self.certificate, self.key = directory / "cert.pem", directory / "key.pem"
        self._writes = 0

    def write(self, certificate: bytes | None = None, key: bytes | None = None) -> None:
        """As a tool that renews does it. No two writes have one time."""
        self._writes += 1
        for path, content in ((self.certificate, certificate), (self.key, key)):
            if content is not None:
                path.write_bytes(content)
                at = 1_700_000_000 + self._writes
                os.utime(path, (at, at))


@pytest.fixture
def files(tmp_path: Path) -> Files:
    files = Files(tmp_path)
    files.write(*made("first"))
    return files


@asynccontextmanager
async def listening(context: ssl.SSLContext) -> AsyncIterator[int]:
    """A TLS server's port."""

    async def answer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def met(port: int, **options: Any) -> tuple[str, str, str]:
    """The name in the server's certificate, the version, and the cipher."""

    def shake() -> tuple[str, str, str]:
        client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
        if "ciphers" in options:
            client.set_ciphers(options["ciphers"])
        for name in ("minimum_version", "maximum_version"):
            if name in options:
                setattr(client, name, options[name])
        with (
            socket.create_connection(("127.0.0.1", port), timeout=10) as plain,
            client.wrap_socket(plain) as secured,
        ):
            der = secured.getpeercert(binary_form=True)
            assert der is not None
            cipher = secured.cipher()
            assert cipher is not None
            return name_in(der), secured.version() or "", cipher[0]

    return await asyncio.to_thread(shake)


def context_of(files: Files, minimum: Any = "1.2") -> Certificates:
    return Certificates.of(files.certificate, files.key, minimum)


class TestRenewal:
    async def test_the_next_connection_meets_the_new_certificate(self, files: Files) -> None:
        context = context_of(files)
        async with listening(context) as port:
            assert (await met(port))[0] == "first"
            assert not context.renew()
            files.write(*made("second"))
            assert (await met(port))[0] == "first"
            assert context.renew()
            assert (await met(port))[0] == "second"
            assert not context.renew()

    async def test_half_of_it_changes_nothing_until_the_rest_is_there(
        self, files: Files, caplog: pytest.LogCaptureFixture
    ) -> None:
        context = context_of(files)
        certificate, key = made("second")
        async with listening(context) as port:
            files.write(certificate)
            assert [context.renew() for _ in range(3)] == [False] * 3
            assert caplog.text.count("cannot be used") == 1
            assert (await met(port))[0] == "first"
            files.write(key=key)
            assert context.renew()
            assert (await met(port))[0] == "second"

    @pytest.mark.parametrize("garbage", [b"", b"no certificate"])
    async def test_garbage_and_no_file_change_nothing(self, files: Files, garbage: bytes) -> None:
        context = context_of(files)
        async with listening(context) as port:
            files.write(garbage)
            assert not context.renew()
            files.certificate.unlink()
            assert not context.renew()
            assert (await met(port))[0] == "first"
            files.write(*made("third"))
            assert context.renew()
            assert (await met(port))[0] == "third"

    async def test_the_server_looks_once_a_minute(
        self, files: Files, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(serving.StoppingServer, "handle_exit", lambda *_: None)

        def factory(config: object, default: object) -> ssl.SSLContext:
            return serving_context(
                config, default, certificate=files.certificate, key=files.key, minimum="1.2"
            )

        config = uvicorn.Config(
            "starlette.applications:Starlette",
            factory=True,
            ssl_context_factory=factory,
            log_config=None,
        )
        config.load()
        server = serving.StoppingServer(config)
        assert isinstance(config.ssl, Certificates)
        looked: list[int] = []
        tick = 0
        monkeypatch.setattr(Certificates, "renew", lambda _: looked.append(tick))
        for tick in range(1, 1_300):
            await server.on_tick(tick)
        assert looked == [600, 1_200]


class TestSpoken:
    async def test_tls_1_2_and_1_3(self, files: Files) -> None:
        async with listening(context_of(files)) as port:
            assert (await met(port))[1] == "TLSv1.3"
            _, version, cipher = await met(port, maximum_version=ssl.TLSVersion.TLSv1_2)
            assert version == "TLSv1.2"
            assert cipher.startswith("ECDHE-")

    async def test_1_3_alone_where_it_is_set(self, files: Files) -> None:
        async with listening(context_of(files, "1.3")) as port:
            assert (await met(port))[1] == "TLSv1.3"
            with pytest.raises(OSError):
                await met(port, maximum_version=ssl.TLSVersion.TLSv1_2)

    @pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
    async def test_nothing_older(self, files: Files) -> None:
        async with listening(context_of(files)) as port:
            with pytest.raises(OSError):
                await met(
                    port,
                    minimum_version=ssl.TLSVersion.TLSv1,
                    maximum_version=ssl.TLSVersion.TLSv1_1,
                    ciphers="ALL:@SECLEVEL=0",
                )

    def test_no_weak_cipher(self, files: Files) -> None:
        names = [cipher["name"] for cipher in context_of(files).get_ciphers()]
        assert names
        for name in names:
            assert name.startswith(("TLS_", "ECDHE-"))
            assert "GCM" in name or "CHACHA20" in name


class TestFiles:
    def test_a_key_of_another_certificate_is_refused(self, files: Files) -> None:
        files.write(key=made("other")[1])
        with pytest.raises(ssl.SSLError):
            context_of(files)

    def test_a_sealed_key_asks_nobody(self, files: Files) -> None:
        files.write(*made("sealed", password=b"pass phrase"))
        with pytest.raises(OSError):
            context_of(files)


def test_the_log_tells_of_no_file(files: Files, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    context = context_of(files)
    files.write(*made("second"))
    context.renew()
    assert "renewed" in caplog.text
    assert str(files.key) not in caplog.text
