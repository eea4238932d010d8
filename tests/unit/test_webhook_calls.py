"""Calls to webhooks, against a receiver on this machine: what goes out, and what does not."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from keyturn.server.domain.errors import Refusal, Unavailable
from keyturn.server.services.ports import Answered
from keyturn.server.webhook_calls import MAX_HEAD
from keyturn.server.webhook_names import EACH
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
    return await sender.post(url, {"x-one": "1"}, b"{}", "somebody")


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
        assert answered.error in {"timeout", "connection_lost", "answer_unreadable"}

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
                await sender.check(url, "somebody")
            assert await posted(sender, url) == Answered(None, "address_not_allowed")
            await sender.close()

    @pytest.mark.parametrize(
        "host", ["127.0.0.1", "2130706433", "0177.0.0.1", "127.1", "0x7f.1", "localhost", "[::1]"]
    )
    async def test_this_machine_however_written(self, host: str) -> None:
        sender = HttpWebhooks()
        with pytest.raises(Refusal):
            await sender.check(f"https://{host}/", "somebody")
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
            raise socket.gaierror(socket.EAI_NONAME, "no such name")

        sender = HttpWebhooks(resolve=fails)
        with pytest.raises(Refusal):
            await sender.check("https://x.example/", "somebody")
        assert (await posted(sender, "https://x.example/")).error == "address_not_allowed"
        await sender.close()


class TestHostileReceivers:
    """They may send for as long as they like: it is over soon, and nobody else is kept waiting."""

    @pytest.mark.parametrize(
        ("said", "again"),
        [
            (b"", b"HTTP/1.1 100 C\r\n\r\n"),
            (b"HTTP/1.1 200 OK\r\n", b"X: y\r\n"),
            (b"HTTP/1.1 200 OK\r\nX: ", b"y" * 1_000_000),
            (b"", b"\r\n"),
            (b"HTTP/1.1 100 C\r\nX: " + b"y" * (MAX_HEAD // 2) + b"\r\n\r\n", b""),
        ],
        ids=["news without end", "fields without end", "a long line", "empty lines", "long news"],
    )
    async def test_without_end(self, said: bytes, again: bytes) -> None:
        sent = 0

        async def floods(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal sent
            writer.write(said)
            chunk = (again or said) * max(1, 60_000 // len(again or said))
            while True:
                writer.write(chunk)
                await writer.drain()
                sent += len(chunk)

        answered, turns = await called(floods)
        assert answered == Answered(None, "answer_unreadable")
        assert turns > 2
        assert sent < 20_000_000  # what fits into buffers on the way

    @pytest.mark.parametrize(
        "status", [b"200", b"099", b"2000", b"600", b"20", b"-20", b"\xb2\xb2\xb2"]
    )
    async def test_no_status(self, status: bytes) -> None:
        async def odd(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 " + status + b"\r\n\r\n")

        answered, _ = await called(odd)
        wanted = Answered(200) if status == b"200" else Answered(None, "answer_unreadable")
        assert answered == wanted

    async def test_byte_by_byte(self) -> None:
        async def drips(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            for byte in b"HTTP/1.1 200 OK\r\nX: " + b"y" * 10 * MAX_HEAD:
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(0)

        answered, turns = await called(drips)
        assert answered.error in {"answer_unreadable", "timeout"}
        assert turns > 100

    async def test_some_news_before_the_answer(self) -> None:
        async def late(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" * 5)
            writer.write(b"HTTP/1.0 503 X\r\nRETRY-AFTER:  7 \r\n\r\n")

        answered, _ = await called(late)
        assert answered == Answered(503, None, 7)


async def called(serve: Any) -> tuple[Answered, int]:
    """What a call to that server came to, and how many turns the loop made meanwhile."""
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n{}")
            with contextlib.suppress(OSError):
                await serve(reader, writer)
        finally:
            writer.close()
            ended.set()

    ended = asyncio.Event()
    server = await asyncio.start_server(answers, "127.0.0.1", 0)
    sender = HttpWebhooks(HERE, timeout=5)
    counting = asyncio.create_task(count())
    answered = await posted(sender, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
    counting.cancel()
    await ended.wait()
    server.close()
    await sender.close()
    return answered, turns


class TestResolver:
    @pytest.mark.parametrize(
        "fault",
        [socket.gaierror(socket.EAI_AGAIN, "x"), socket.gaierror(socket.EAI_FAIL, "x"), OSError()],
        ids=["again", "fail", "system"],
    )
    async def test_its_fault_is_nobody_elses(self, fault: OSError) -> None:
        def fails(host: str, port: int) -> Sequence[str]:
            raise fault

        sender = HttpWebhooks(resolve=fails)
        with pytest.raises(Unavailable):
            await sender.check("https://x.example/", "somebody")
        answered = await posted(sender, "https://x.example/")
        assert answered == Answered(None, "name_lookup_failed")
        await sender.close()

    async def test_slow_names_keep_their_owner_waiting_alone(self, receiver: Receiver) -> None:
        slow, asked = threading.Event(), threading.Semaphore(0)

        def resolve(host: str, port: int) -> Sequence[str]:
            if host == "slow.example":
                asked.release()
                slow.wait(20)
            return ["127.0.0.1"]

        sender = HttpWebhooks(HERE, resolve=resolve, timeout=0.4)
        try:
            url, good = "https://slow.example/", f"http://good.example:{receiver.port}/"
            checks = [sender.check(url, "evil") for _ in range(3 * EACH)]
            posts = [sender.post(url, {}, b"", "evil") for _ in range(3 * EACH)]
            refused, answers = await asyncio.gather(
                asyncio.gather(*checks, return_exceptions=True), asyncio.gather(*posts)
            )
            assert {type(one) for one in refused} == {Unavailable}
            assert {one.error for one in answers} == {"name_lookup_failed"}
            assert [one.begun for one in answers].count(True) == EACH
            # The threads are still at it: their owner has no more of them, others have.
            assert not (await sender.post(good, {}, b"", "evil")).begun
            await sender.check(good, "good")
            assert await sender.post(good, {}, b"", "good") == Answered(204)
            slow.set()
            await sender.check(good, "evil")
            assert sum(asked.acquire(blocking=False) for _ in range(9 * EACH)) == 2 * EACH
        finally:
            slow.set()
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
