"""Mail over SMTP, against a real if small server on this machine."""

import asyncio
import base64
import email
import email.policy
import logging
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from keyturn.server import smtp
from keyturn.server.mail import LogMailer, open_mailer
from keyturn.server.services.ports import Mail
from keyturn.server.smtp import AT_ONCE, SmtpMailer

SENDER = "Keyturn <iam@example.org>"
CODE = "the code is 4711-0815"
MAIL = Mail("ada@example.org", "Your invitation", f"Dear Ada,\n.\n{CODE}, naïvely\n")


@dataclass
class Sink:
    """A mail server that keeps what it gets.

    `tls` is its certificate: from the start, or (`starttls`) when it is asked. `refuse` and
    `ignore` name a command that it answers with an error that quotes it, or not at all.
    """

    tls: ssl.SSLContext | None = None
    starttls: bool = False
    refuse: str = ""
    ignore: str = ""
    port: int = 0
    #: What was said to it, command by command; `TLS` where encryption began.
    heard: list[str] = field(default_factory=list)
    recipients: list[str] = field(default_factory=list)
    mails: list[bytes] = field(default_factory=list)

    @property
    def mail(self) -> EmailMessage:
        """The one mail that it got."""
        [data] = self.mails
        message = email.message_from_bytes(data, policy=email.policy.default)
        assert isinstance(message, EmailMessage)
        return message

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        try:
            writer.write(b"220 sink\r\n")
            while line := (await reader.readline()).decode().rstrip("\r\n"):
                self.heard.append(line)
                command = line.partition(" ")[0].upper()
                if command == self.ignore:
                    await reader.read()
                elif command == self.refuse:
                    writer.write(f"550 no {line}\r\n".encode())
                elif command == "EHLO":
                    writer.write(b"250-sink\r\n250-AUTH PLAIN\r\n")
                    writer.write(b"250 STARTTLS\r\n" if self.starttls else b"250 HELP\r\n")
                elif command == "STARTTLS" and self.tls:
                    writer.write(b"220 go on\r\n")
                    await writer.start_tls(self.tls)
                    self.heard.append("TLS")
                elif command == "DATA":
                    writer.write(b"354 go on\r\n")
                    data = await reader.readuntil(b"\r\n.\r\n")
                    self.mails.append(
                        data[:-3].replace(b"\r\n..", b"\r\n.").replace(b"\r\n", b"\n")
                    )
                    writer.write(b"250 taken\r\n")
                else:
                    if command == "RCPT":
                        self.recipients.append(line.partition(":")[2])
                    writer.write(b"235 ok\r\n" if command == "AUTH" else b"250 ok\r\n")
        except OSError:
            pass  # the mailer went away
        finally:
            writer.close()


@asynccontextmanager
async def running(sink: Sink, host: str = "127.0.0.1") -> AsyncIterator[Sink]:
    server = await asyncio.start_server(
        sink.serve, host, 0, ssl=None if sink.starttls else sink.tls
    )
    sink.port = server.sockets[0].getsockname()[1]
    try:
        yield sink
    finally:
        server.close()


@dataclass(frozen=True)
class Certificate:
    """A self-signed one for this machine's addresses."""

    path: Path
    context: ssl.SSLContext


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    directory = tmp_path_factory.mktemp("mail")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "sink")])
    addresses = [x509.IPAddress(ip_address(host)) for host in ("127.0.0.1", "0.0.0.0")]
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName(addresses), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    (directory / "cert.pem").write_bytes(made.public_bytes(Encoding.PEM))
    (directory / "key.pem").write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "cert.pem", directory / "key.pem")
    return Certificate(directory / "cert.pem", context)


@pytest.fixture
def trusted(certificate: Certificate, monkeypatch: pytest.MonkeyPatch) -> Certificate:
    """The certificate, which the system trusts."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.path))
    return certificate


class TestPlainOnLoopback:
    async def test_the_server_has_the_mail(self) -> None:
        async with running(Sink()) as sink:
            assert await SmtpMailer(f"smtp://127.0.0.1:{sink.port}", SENDER).send(MAIL)
        assert sink.recipients == ["<ada@example.org>"]
        assert any(line.upper().startswith("MAIL FROM:<IAM@EXAMPLE.ORG>") for line in sink.heard)
        assert sink.mail["From"] == SENDER
        assert sink.mail["To"] == MAIL.to
        assert sink.mail["Subject"] == MAIL.subject
        assert sink.mail["Date"]
        assert sink.mail["Message-ID"].endswith("@example.org>")
        assert sink.mail.get_content() == MAIL.text

    async def test_a_subject_in_any_script(self) -> None:
        async with running(Sink()) as sink:
            subject = "Einladung für Zoë: приглашение"
            mailer = SmtpMailer(f"smtp://127.0.0.1:{sink.port}", SENDER)
            assert await mailer.send(Mail(MAIL.to, subject, "x"))
        assert sink.mail["Subject"] == subject

    async def test_logs_in(self) -> None:
        async with running(Sink()) as sink:
            url = f"smtp://keyturn:p%40ss%2Fword@127.0.0.1:{sink.port}"
            assert await SmtpMailer(url, SENDER).send(MAIL)
        [login] = [line for line in sink.heard if line.startswith("AUTH")]
        assert base64.b64decode(login.split()[-1]) == b"\0keyturn\0p@ss/word"

    async def test_several_at_once(self) -> None:
        async with running(Sink()) as sink:
            mailer = SmtpMailer(f"smtp://127.0.0.1:{sink.port}", SENDER)
            for _ in range(3):
                assert all(await asyncio.gather(*(mailer.send(MAIL) for _ in range(AT_ONCE))))
        assert len(sink.mails) == 3 * AT_ONCE

    async def test_sent_whatever_comes_after(self) -> None:
        async with running(Sink(refuse="QUIT")) as sink:
            assert await SmtpMailer(f"smtp://127.0.0.1:{sink.port}", SENDER).send(MAIL)


class TestTls:
    async def test_from_the_start(self, trusted: Certificate) -> None:
        async with running(Sink(trusted.context)) as sink:
            assert await SmtpMailer(f"smtps://127.0.0.1:{sink.port}", SENDER).send(MAIL)
        assert sink.mail.get_content() == MAIL.text

    async def test_nothing_is_said_to_a_server_with_an_unknown_certificate(
        self, certificate: Certificate
    ) -> None:
        async with running(Sink(certificate.context)) as sink:
            url = f"smtps://keyturn:password@127.0.0.1:{sink.port}"
            assert not await SmtpMailer(url, SENDER).send(MAIL)
        assert (sink.heard, sink.mails) == ([], [])

    async def test_nothing_is_said_to_a_server_of_another_name(self, trusted: Certificate) -> None:
        async with running(Sink(trusted.context), "127.0.0.2") as sink:
            assert not await SmtpMailer(f"smtps://127.0.0.2:{sink.port}", SENDER).send(MAIL)
        assert (sink.heard, sink.mails) == ([], [])


# 0.0.0.0 leads to this machine, and is no loopback address.
class TestStartTls:
    async def test_before_anything_of_worth(self, trusted: Certificate) -> None:
        async with running(Sink(trusted.context, starttls=True), "0.0.0.0") as sink:
            url = f"smtp://keyturn:password@0.0.0.0:{sink.port}"
            assert await SmtpMailer(url, SENDER).send(MAIL)
        commands = [line.split()[0].upper() for line in sink.heard]
        assert commands[:4] == ["EHLO", "STARTTLS", "TLS", "EHLO"]
        assert sink.mail.get_content() == MAIL.text

    @pytest.mark.parametrize("refuse", ["", "STARTTLS"])
    async def test_nothing_without_it(self, refuse: str) -> None:
        async with running(Sink(starttls=bool(refuse), refuse=refuse), "0.0.0.0") as sink:
            url = f"smtp://keyturn:password@0.0.0.0:{sink.port}"
            assert not await SmtpMailer(url, SENDER).send(MAIL)
        assert {line.split()[0].upper() for line in sink.heard} <= {"EHLO", "STARTTLS", "QUIT"}
        assert sink.mails == []

    async def test_nothing_under_an_unknown_certificate(self, certificate: Certificate) -> None:
        async with running(Sink(certificate.context, starttls=True), "0.0.0.0") as sink:
            url = f"smtp://keyturn:password@0.0.0.0:{sink.port}"
            assert not await SmtpMailer(url, SENDER).send(MAIL)
        assert [line.split()[0].upper() for line in sink.heard] == ["EHLO", "STARTTLS"]


class TestNotSent:
    async def test_no_server_there(self) -> None:
        async with running(Sink()) as sink:
            pass
        assert not await SmtpMailer(f"smtp://127.0.0.1:{sink.port}", SENDER).send(MAIL)

    async def test_no_such_host(self) -> None:
        # Longer than a name's part may be: nobody needs to be asked.
        assert not await SmtpMailer(f"smtps://{'x' * 80}.invalid", SENDER).send(MAIL)

    @pytest.mark.parametrize("command", ["EHLO", "AUTH", "MAIL", "RCPT", "DATA"])
    async def test_refused_and_the_log_quotes_nothing(
        self, command: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with running(Sink(refuse=command)) as sink:
            url = f"smtp://keyturn:hidden-password@127.0.0.1:{sink.port}"
            done = await SmtpMailer(url, SENDER).send(MAIL)
        if command == "EHLO":  # then it says HELO, which knows no login
            assert "HELO" in {line.split()[0].upper() for line in sink.heard}
        assert not done
        assert sink.mails == []
        [record] = [r for r in caplog.records if r.name == "keyturn.server.smtp"]
        line = record.getMessage()
        assert line.startswith("mail to 'ada@example.org' not sent: SMTP")
        assert record.levelno == logging.WARNING
        assert record.exc_info is None
        secret = base64.b64encode(b"\0keyturn\0hidden-password").decode()
        assert not [word for word in ("hidden", secret, CODE, "550 no") if word in line]

    @pytest.mark.parametrize("command", ["EHLO", "MAIL"])
    async def test_a_server_that_falls_silent(self, command: str) -> None:
        async with running(Sink(ignore=command)) as sink:
            mailer = SmtpMailer(f"smtp://127.0.0.1:{sink.port}", SENDER, timeout=0.2)
            assert not await mailer.send(MAIL)
        assert sink.mails == []

    async def test_more_than_four_at_once(self) -> None:
        async with running(Sink(ignore="MAIL")) as sink:
            mailer = SmtpMailer(f"smtp://127.0.0.1:{sink.port}", SENDER, timeout=1)
            first = [asyncio.create_task(mailer.send(MAIL)) for _ in range(AT_ONCE)]
            await asyncio.sleep(0)
            assert not await mailer.send(MAIL)
            assert not any(task.done() for task in first)
            assert await asyncio.gather(*first) == [False] * AT_ONCE

    async def test_who_goes_away_leaves_the_place_when_the_thread_is_done(self) -> None:
        async with running(Sink(ignore="MAIL")) as sink:
            mailer = SmtpMailer(f"smtp://127.0.0.1:{sink.port}", SENDER, timeout=0.5)
            first = [asyncio.create_task(mailer.send(MAIL)) for _ in range(AT_ONCE)]
            await asyncio.sleep(0)
            for task in first:
                task.cancel()
            await asyncio.gather(*first, return_exceptions=True)
            assert not await mailer.send(MAIL)
            await asyncio.wait(set(mailer._under_way), timeout=30)
            sink.ignore = ""
            assert await mailer.send(MAIL)
        assert len(sink.mails) == 1


class TestInjection:
    @pytest.mark.parametrize(
        "to",
        [
            "",
            "ada",
            "ada@",
            "@example.org",
            "ada@example.org, eve@example.org",
            "ada@example.org,eve@example.org",
            "ada@example.org;eve@example.org",
            "Ada <ada@example.org>",
            "ada@example.org\r\nBcc: eve@example.org",
            "ada@example.org>\r\nRCPT TO:<eve@example.org",
            "ada@example.org\n",
            "ada@example.org\0",
            "ada@@example.org",
            '"ada eve"@example.org',
            "ada@example.org (eve)",
            f"{'a' * 250}@example.org",
        ],
    )
    async def test_an_address_that_is_not_one(self, to: str) -> None:
        async with running(Sink()) as sink:
            mailer = SmtpMailer(f"smtp://127.0.0.1:{sink.port}", SENDER)
            assert not await mailer.send(Mail(to, "x", "x"))
        assert sink.heard == []

    @pytest.mark.parametrize("end", ["\r\n", "\n", "\r", "\v", "\f", "\x1c", "\x85", "\u2028"])
    async def test_a_subject_of_two_lines(self, end: str) -> None:
        async with running(Sink()) as sink:
            mailer = SmtpMailer(f"smtp://127.0.0.1:{sink.port}", SENDER)
            assert not await mailer.send(Mail(MAIL.to, f"x{end}Bcc: eve@example.org", "x"))
            assert not await mailer.send(Mail(MAIL.to, f"x{end}", "x"))
        assert sink.heard == []

    @pytest.mark.parametrize(
        "name",
        [
            "=?utf-8?q?x=0d=0aReply-To:_evil=40x.org=0d=0aContent-Type:_text/html=0d=0a=0d=0a<b>Pay?=",
            "=?utf-8?b?eA0KQmNjOiBldmVAZXhhbXBsZS5vcmcNCg0KPGI+?=",
            "=?utf-8?q?x=0aBcc:_eve=40example.org?= =?utf-8?q?=0a=0a?=",
            "=?iso-8859-1?q?=0d=0aBcc:_eve=40example.org?=",
            "=?utf-8?q??=",
            "=?",
            "Bcc: eve@example.org, " + "long " * 60,
        ],
    )
    async def test_a_subject_with_encoded_words_is_text(self, name: str) -> None:
        async with running(Sink()) as sink:
            mailer = SmtpMailer(f"smtp://127.0.0.1:{sink.port}", SENDER)
            assert await mailer.send(Mail(MAIL.to, f"Invitation to {name}", MAIL.text))
        [data] = sink.mails
        head = data.partition(b"\n\n")[0]
        names = [line.partition(b":")[0] for line in head.split(b"\n") if line[:1] not in b" \t"]
        assert sorted(names) == sorted(
            (
                b"From",
                b"To",
                b"Subject",
                b"Date",
                b"Message-ID",
                b"Auto-Submitted",
                b"MIME-Version",
                b"Content-Type",
                b"Content-Transfer-Encoding",
            )
        )
        assert (sink.mail["Subject"]).strip() == f"Invitation to {name}".strip()
        assert sink.mail.get_content_type() == "text/plain"
        assert sink.mail.get_content() == MAIL.text
        assert len(sink.recipients) == 1

    @pytest.mark.parametrize(
        "to", ["=?utf-8?q??=@example.org", "=?utf-8?q?x=0aBcc:_eve?=@example.org", "x@=?a?="]
    )
    async def test_an_address_with_encoded_words(self, to: str) -> None:
        async with running(Sink()) as sink:
            mailer = SmtpMailer(f"smtp://127.0.0.1:{sink.port}", SENDER)
            assert not await mailer.send(Mail(to, "x", "x"))
        assert sink.heard == []

    async def test_a_head_that_is_not_what_was_meant(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(smtp, "make_msgid", lambda domain: f"<1@{domain}>\r\n\r\n<b>")
        async with running(Sink()) as sink:
            mailer = SmtpMailer(f"smtp://127.0.0.1:{sink.port}", SENDER)
            assert not await mailer.send(MAIL)
        assert sink.heard == []

    async def test_whatever_fails_is_no_concern_of_who_sends(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        def odd(*_: object, **__: object) -> str:
            raise IndexError(CODE)

        async with running(Sink()) as sink:
            mailer = SmtpMailer(f"smtp://127.0.0.1:{sink.port}", SENDER)
            for name in ("make_msgid", "SMTP"):
                with monkeypatch.context() as patch:
                    patch.setattr(smtp, name, odd)
                    assert not await mailer.send(MAIL)
        lines = [r.getMessage() for r in caplog.records if r.name == "keyturn.server.smtp"]
        assert lines == ["mail to 'ada@example.org' not sent: IndexError"] * 2

    async def test_a_text_that_looks_like_an_end_or_like_headers(self) -> None:
        text = "Bcc: eve@example.org\n\n.\nQUIT\n..\nand so on\n"
        async with running(Sink()) as sink:
            mailer = SmtpMailer(f"smtp://127.0.0.1:{sink.port}", SENDER)
            assert await mailer.send(Mail(MAIL.to, "x", text))
        assert sink.mail.get_content() == text
        assert "Bcc" not in sink.mail
        assert len(sink.recipients) == 1

    async def test_a_text_that_cannot_be_sent(self) -> None:
        async with running(Sink()) as sink:
            mailer = SmtpMailer(f"smtp://127.0.0.1:{sink.port}", SENDER)
            assert not await mailer.send(Mail(MAIL.to, "x", "\ud800"))
            assert not await mailer.send(Mail("\ud800@example.org", "x", "x"))
            assert not await mailer.send(Mail(MAIL.to, "\ud800", "x"))
        assert sink.mails == []


class TestLogMailer:
    async def test_tells_the_recipient_and_not_the_text(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        assert not await LogMailer().send(MAIL)
        [line] = [r.getMessage() for r in caplog.records if r.name == "keyturn.server.mail"]
        assert line == "mail to 'ada@example.org' not sent: no mail server is configured"


class TestOpenMailer:
    def test_picks(self) -> None:
        assert isinstance(open_mailer(None, ""), LogMailer)
        assert isinstance(open_mailer("smtps://mail.example", SENDER), SmtpMailer)

    def test_no_repr_has_a_secret(self) -> None:
        mailer = open_mailer("smtps://keyturn:hidden@mail.example", SENDER)
        assert "hidden" not in repr(mailer)
        assert CODE not in repr(MAIL)
