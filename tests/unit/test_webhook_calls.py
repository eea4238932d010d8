"""Calls to webhooks, against a receiver on this machine: what goes out, and what does not."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from keyturn.server.domain.errors import Refusal
from keyturn.server.services.ports import Answered
from keyturn.server.webhooks import HttpWebhooks
from tests.receiver import Receiver, receiving, status

HERE = [ip_network("127.0.0.0/8")]


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as found:
        yield found


@pytest.fixture
async def sender() -> AsyncIterator[HttpWebhooks]:
    found = HttpWebhooks(HERE, timeout=0.5)
    yield found
    await found.close()


def leads_to(*addresses: str) -> Any:
    def resolve(host: str, port: int) -> Sequence[str]:
        return addresses

    return resolve


async def posted(sender: HttpWebhooks, url: str) -> Answered:
    return await sender.post(url, {"x-one": "1"}, b"{}")


class TestPost:
    async def test_goes_there(self, sender: HttpWebhooks, receiver: Receiver) -> None:
        assert await posted(sender, receiver.url) == Answered(204)
        [got] = receiver.got
        assert (got.line, got.body) == ("POST /hooks?key=1 HTTP/1.1", b"{}")
        assert (got.headers["x-one"], got.headers["host"]) == ("1", f"127.0.0.1:{receiver.port}")

    @pytest.mark.parametrize("code", [200, 299, 400, 404, 410, 500])
    async def test_status(self, sender: HttpWebhooks, receiver: Receiver, code: int) -> None:
        receiver.usual = status(code)
        assert await posted(sender, receiver.url) == Answered(code)

    async def test_no_redirect_is_followed(self, sender: HttpWebhooks, receiver: Receiver) -> None:
        receiver.usual = status(307, f"Location: {receiver.url}")
        assert await posted(sender, receiver.url) == Answered(307)
        assert len(receiver.got) == 1

    @pytest.mark.parametrize(
        ("said", "seconds"), [("7", 7), ("x", None), ("Mon, 01 Jan 2024 00:00:00 GMT", 0)]
    )
    async def test_retry_after(
        self, sender: HttpWebhooks, receiver: Receiver, said: str, seconds: int | None
    ) -> None:
        receiver.usual = status(503, f"Retry-After: {said}")
        assert await posted(sender, receiver.url) == Answered(503, None, seconds)

    async def test_the_body_is_not_read(self, sender: HttpWebhooks, receiver: Receiver) -> None:
        receiver.usual = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\nxxx"
        assert await posted(sender, receiver.url) == Answered(200)

    @pytest.mark.parametrize(
        "said",
        [b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 3, b"HTTP/1.1 200 OK\r\nX: " + b"y" * 300_000],
        ids=["nothing", "only news", "a head without end"],
    )
    async def test_bounded(self, sender: HttpWebhooks, receiver: Receiver, said: bytes) -> None:
        receiver.usual = said
        async with asyncio.timeout(5):
            answered = await posted(sender, receiver.url)
        assert answered.status is None
        assert answered.error in {"timeout", "connection_lost"}

    async def test_nobody_there(self, sender: HttpWebhooks) -> None:
        assert await posted(sender, "http://127.0.0.1:1/") == Answered(None, "connection_failed")

    async def test_the_environments_proxies_are_not_asked(
        self, receiver: Receiver, sender: HttpWebhooks, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
        monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
        assert await posted(sender, receiver.url) == Answered(204)


class TestWhereTo:
    @pytest.mark.parametrize(
        "address", ["10.0.0.1", "169.254.169.254", "::1", "::ffff:10.0.0.1", "64:ff9b::a00:1"]
    )
    async def test_a_name_that_leads_inside(self, address: str, receiver: Receiver) -> None:
        for addresses in ([address], ["8.8.8.8", address]):
            sender = HttpWebhooks(HERE, resolve=leads_to(*addresses))
            url = f"https://hooks.example:{receiver.port}/"
            with pytest.raises(Refusal):
                await sender.check(url)
            assert await posted(sender, url) == Answered(None, "address_not_allowed")
            await sender.close()

    @pytest.mark.parametrize(
        "host", ["127.0.0.1", "2130706433", "0177.0.0.1", "127.1", "0x7f.1", "localhost", "[::1]"]
    )
    async def test_this_machine_however_written(self, host: str) -> None:
        sender = HttpWebhooks()
        with pytest.raises(Refusal):
            await sender.check(f"https://{host}/")
        await sender.close()

    async def test_the_call_goes_to_the_address_that_was_checked(self, receiver: Receiver) -> None:
        """A name that leads elsewhere the next time it is asked for is asked for once."""
        answers = [["127.0.0.1"], ["10.0.0.1"]]
        sender = HttpWebhooks(HERE, resolve=lambda *_: answers.pop(0))
        url = f"http://hooks.example:{receiver.port}/x"
        assert await posted(sender, url) == Answered(204)
        assert receiver.got[0].headers["host"] == f"hooks.example:{receiver.port}"
        assert await posted(sender, url) == Answered(None, "address_not_allowed")
        await sender.close()

    async def test_the_next_address_when_the_first_is_not_there(self, receiver: Receiver) -> None:
        sender = HttpWebhooks(HERE, resolve=leads_to("127.0.0.77", "127.0.0.1"))
        assert await posted(sender, f"http://x.example:{receiver.port}/") == Answered(204)
        assert len(receiver.got) == 1
        await sender.close()

    async def test_names_that_nobody_has(self) -> None:
        def fails(host: str, port: int) -> Sequence[str]:
            raise OSError

        sender = HttpWebhooks(resolve=fails)
        with pytest.raises(Refusal):
            await sender.check("https://x.example/")
        assert (await posted(sender, "https://x.example/")).error == "address_not_allowed"
        await sender.close()


class TestTls:
    """The certificate must be trusted, and name the host, not the address."""

    @pytest.mark.parametrize(
        ("host", "wanted"),
        [("hooks.example", Answered(204)), ("other.example", Answered(None, "tls_failed"))],
    )
    async def test_by_name(self, tmp_path: Path, host: str, wanted: Answered) -> None:
        theirs, ours = contexts(tmp_path, "hooks.example")
        async with receiving(theirs) as receiver:
            sender = HttpWebhooks(HERE, resolve=leads_to("127.0.0.1"), context=ours)
            assert await posted(sender, f"https://{host}:{receiver.port}/") == wanted
            await sender.close()

    async def test_untrusted(self, tmp_path: Path) -> None:
        theirs, _ = contexts(tmp_path, "hooks.example")
        async with receiving(theirs) as receiver:
            sender = HttpWebhooks(HERE, resolve=leads_to("127.0.0.1"))
            url = f"https://hooks.example:{receiver.port}/"
            assert await posted(sender, url) == Answered(None, "tls_failed")
            assert receiver.got == []
            await sender.close()


def contexts(path: Path, name: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Of a server with a certificate for that name, and of a client that trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    called = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(called)
        .issuer_name(called)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    file = path / "server.pem"
    file.write_bytes(pem + certificate.public_bytes(serialization.Encoding.PEM))
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    theirs.load_cert_chain(file)
    ours = ssl.create_default_context(
        cadata=certificate.public_bytes(serialization.Encoding.PEM).decode()
    )
    return theirs, ours
