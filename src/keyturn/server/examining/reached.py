"""The service as its clients reach it, and the mail server."""

import asyncio
import contextlib
import smtplib
import ssl
from collections.abc import Sequence
from datetime import UTC, datetime
from urllib.parse import urlsplit

from ..reasons import unreachable
from ..settings import Settings
from ..settings.checks import is_loopback
from .database import current_kids
from .findings import Finding, counted, ok, problem, warning
from .surroundings import days_left

#: Seconds for one answer, and the most of it that is read, in bytes.
ANSWER_SECONDS, ANSWER_BYTES = 4.0, 262_144


class _Odd(Exception):
    """What answers there is not what it should be. Its text is fit to be shown."""


async def issuer(settings: Settings) -> Sequence[Finding]:
    """Whether the metadata is found where the issuer says, and the keys where that says."""
    url = urlsplit(settings.issuer)
    where = f"{url.scheme}://{url.netloc}/.well-known/oauth-authorization-server{url.path}"
    try:
        told = await _document(where)
        if told.get("issuer") != settings.issuer:
            seen = f"{where} names another issuer than KEYTURN_ISSUER, {settings.issuer}"
            advice = "all nodes need one KEYTURN_ISSUER, to the letter; clients compare it"
            return [problem("issuer", seen, advice)]
        found = [ok("issuer", f"{settings.issuer}, as its metadata says")]
        keys = (await _document(str(told.get("jwks_uri")))).get("keys")
    except _Odd as odd:
        advice = "start the service, see its proxy; --offline leaves this out"
        return [problem("issuer", str(odd), advice)]
    kids = (
        {key.get("kid") for key in keys if isinstance(key, dict)}
        if isinstance(keys, list)
        else set()
    )
    missing = await current_kids(settings) - kids
    if missing:
        seen = f"the published keys lack the current one, {', '.join(sorted(missing))}"
        advice = "is that another installation, or a cache that does not heed max-age?"
        return [*found, problem("jwks", seen, advice)]
    return [*found, ok("jwks", f"{counted(len(kids), 'key')}, the current one among them")]


async def _document(url: str) -> dict[str, object]:
    """A JSON object. Raises _Odd for anything else."""
    import httpx

    body = b""
    try:
        async with (
            httpx.AsyncClient(timeout=ANSWER_SECONDS, follow_redirects=False) as client,
            client.stream("GET", url, headers={"Accept": "application/json"}) as answer,
        ):
            async for part in answer.aiter_bytes():
                body += part
                if len(body) > ANSWER_BYTES:
                    raise _Odd(f"{url} answers with more than {ANSWER_BYTES} bytes")
            document = httpx.Response(answer.status_code, content=body).json()
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise _Odd(unreachable(url, error) or f"{url} does not answer by HTTP") from error
    except ValueError as error:
        raise _Odd(f"{url} answers {answer.status_code}, and no JSON") from error
    if answer.status_code != 200 or not isinstance(document, dict):
        raise _Odd(f"{url} answers {answer.status_code}")
    return document


async def public_tls(settings: Settings) -> Sequence[Finding]:
    """The certificate that clients see, as one that trusts what this machine trusts."""
    url = urlsplit(settings.public_url)
    if url.scheme != "https" or not url.hostname:
        return []
    check, context = "public_tls", ssl.create_default_context()
    try:
        _, writer = await asyncio.open_connection(
            url.hostname, url.port or 443, ssl=context, server_hostname=url.hostname
        )
    except ssl.SSLCertVerificationError as error:
        seen = f"clients do not trust the certificate: {error.verify_message}"
        return [problem(check, seen, "serve the whole chain, for that host, and renew it in time")]
    except OSError as error:
        seen = unreachable(url.netloc, error) or f"no TLS at {url.netloc}"
        return [problem(check, seen, "see the proxy")]
    try:
        shown = writer.get_extra_info("ssl_object").getpeercert()
    finally:
        writer.close()
        with contextlib.suppress(OSError, ssl.SSLError):
            await writer.wait_closed()
    end = datetime.fromtimestamp(ssl.cert_time_to_seconds(shown["notAfter"]), UTC)
    return [days_left(check, end)]


async def mail(settings: Settings) -> Sequence[Finding]:
    """Whether the mail server greets; nothing is sent, and nobody signs in."""
    if settings.smtp_url is None:
        return []
    return [await asyncio.to_thread(_mail, settings.smtp_url.get_secret_value())]


def _mail(smtp_url: str) -> Finding:
    url = urlsplit(smtp_url)
    host, tls_first = url.hostname or "", url.scheme == "smtps"
    port = url.port or (465 if tls_first else 587)
    where = f"{host}:{port}"
    try:
        if tls_first:
            context = ssl.create_default_context()
            smtp: smtplib.SMTP = smtplib.SMTP_SSL(
                host, port, timeout=ANSWER_SECONDS, context=context
            )
        else:
            smtp = smtplib.SMTP(host, port, timeout=ANSWER_SECONDS)
        with contextlib.closing(smtp):
            code, _ = smtp.ehlo()
            starttls = smtp.has_extn("starttls")
    except (OSError, smtplib.SMTPException) as error:
        seen = unreachable(where, error) or f"{where} does not greet as a mail server"
        return problem("mail", seen, "see KEYTURN_SMTP_URL; invitations go without mail until then")
    if code != 250:
        return problem("mail", f"{where} answers EHLO by {code}", "see the mail server")
    if not (tls_first or starttls or is_loopback(host)):
        return warning("mail", f"{where} offers no STARTTLS: no mail goes there", "use smtps://")
    return ok("mail", f"{where} greets")
