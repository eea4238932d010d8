"""Mail to people, over SMTP.

A mail's text may hold a code, and a server's answers may quote the mail: neither is ever logged.
"""

import asyncio
import logging
import re
import ssl
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from email.header import Header
from email.mime.text import MIMEText
from email.policy import compat32
from email.utils import formataddr, formatdate, make_msgid, parseaddr
from smtplib import SMTP, SMTP_SSL, SMTPResponseException
from urllib.parse import unquote, urlsplit

from .services.ports import Mail
from .settings.checks import MAIL_ADDRESS, is_loopback

log = logging.getLogger(__name__)

#: Mails on their way at once; one more is not sent.
AT_ONCE = 4

# The headers of every mail, in their order: these, once each, and no other.
_HEADERS = [
    "Content-Type",
    "MIME-Version",
    "Content-Transfer-Encoding",
    "From",
    "To",
    "Subject",
    "Date",
    "Message-ID",
    "Auto-Submitted",
]
_LONGEST_ADDRESS = 254  # RFC 5321, 4.5.3.1.3
# All that anything along the way could take for the end of a line.
_BREAK = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


class SmtpMailer:
    """Hands mails to a mail server (port `Mailer`).

    `url` is smtp://user:password@host:587 (STARTTLS, but for a server on this machine) or
    smtps://user:password@host:465 (TLS from the start); the certificate must be trusted and name
    the host. `timeout`, in seconds, is for one mail.
    """

    def __init__(self, url: str, sender: str, timeout: float = 10.0) -> None:
        parts = urlsplit(url)
        self._host = parts.hostname or ""
        self._port = parts.port or (465 if parts.scheme == "smtps" else 587)
        self._login = (unquote(parts.username or ""), unquote(parts.password or ""))
        self._tls_first = parts.scheme == "smtps"
        self._starttls = not self._tls_first and not is_loopback(self._host)
        self._context = ssl.create_default_context()
        self._name, self._sender = parseaddr(sender)
        self._timeout = timeout
        self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="mail")
        self._under_way: set[asyncio.Future[str]] = set()

    async def send(self, mail: Mail) -> bool:
        """Whether the server took the mail. After `timeout` it counts as not taken, though the
        server may do so yet: a mail too many is better than a caller who waits.
        """
        problem = await self._problem(mail)
        if problem:
            log.warning("mail to %r not sent: %s", mail.to, problem)
        return not problem

    async def _problem(self, mail: Mail) -> str:
        if len(self._under_way) >= AT_ONCE:
            return "too many at once"
        try:
            message = self._message(mail)
            job = asyncio.get_running_loop().run_in_executor(
                self._pool, self._deliver, message, mail.to
            )
        except Exception as error:  # noqa: BLE001 - not a mail, no thread: no concern of the caller
            return _name(error)
        # A thread cannot be stopped: its place is free when it is done, whoever still waits.
        self._under_way.add(job)
        job.add_done_callback(self._under_way.discard)
        try:
            async with asyncio.timeout(self._timeout):
                return await asyncio.shield(job)
        except TimeoutError:
            return "the server took too long"

    def _message(self, mail: Mail) -> bytes:
        """The mail as it is sent. Raises Exception for what is not one."""
        odd = len(mail.to) > _LONGEST_ADDRESS or not mail.to.isascii() or "=?" in mail.to
        if odd or not MAIL_ADDRESS.fullmatch(mail.to):
            raise ValueError("not one mail address")
        if _BREAK.search(mail.subject):
            raise ValueError("not one line")
        mail.text.encode()  # MIMEText would let half a letter pass
        # The newer policies read a header that they are given, and decode what looks encoded in
        # it (RFC 2047), line ends and all. This one writes what it gets.
        message = MIMEText(mail.text, "plain", "utf-8", policy=compat32)
        message["From"] = formataddr((self._name, self._sender))
        message["To"] = mail.to
        # Encoded as a whole, whatever is in it: nothing of it is read as encoded by itself.
        message["Subject"] = Header(mail.subject, "utf-8", header_name="Subject").encode()
        message["Date"] = formatdate(localtime=True)
        message["Message-ID"] = make_msgid(domain=self._sender.rpartition("@")[2])
        message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no holiday notes, please
        data = message.as_bytes(policy=compat32.clone(linesep="\r\n"))
        if _names(data) != _HEADERS:
            raise ValueError("another head than was meant")
        return data

    def _deliver(self, message: bytes, to: str) -> str:
        """What went wrong, or nothing. Runs in a thread."""
        try:
            with closing(self._connected()) as smtp:
                smtp.sendmail(self._sender, [to], message)
                try:
                    smtp.quit()
                except OSError:
                    pass  # the mail is there
        except Exception as error:  # noqa: BLE001 - the mail is not there, whatever it was
            return _name(error)
        return ""

    def _connected(self) -> SMTP:
        smtp: SMTP
        if self._tls_first:
            smtp = SMTP_SSL(self._host, self._port, timeout=self._timeout, context=self._context)
        else:
            smtp = SMTP(self._host, self._port, timeout=self._timeout)
        try:
            if self._starttls:
                smtp.starttls(context=self._context)
            if any(self._login):
                smtp.login(*self._login)
        except BaseException:
            smtp.close()
            raise
        return smtp


def _names(message: bytes) -> list[str]:
    """Of its headers. A line that begins with white space goes on with the one before."""
    lines = message.partition(b"\r\n\r\n")[0].splitlines()
    return [line.partition(b":")[0].decode() for line in lines if line[:1] not in (b" ", b"\t")]


def _name(error: Exception) -> str:
    """An error without its text, which may quote what was sent."""
    code = f" {error.smtp_code}" if isinstance(error, SMTPResponseException) else ""
    return f"{type(error).__name__}{code}"
