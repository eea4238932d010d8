"""What settings are checked for, each by itself and all together."""

import re
from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pydantic import SecretStr

if TYPE_CHECKING:
    from .model import Settings

_DATABASE_URL = re.compile(r"sqlite(\+\w+)?:///(?!:memory:).|postgres(ql)?(\+\w+)?://.")

# One address and nothing else: a comma would make two of it, a line's end another header.
_IN_NAMES = r"[^\x00-\x1f\x7f@<>()\[\],;:\"\\]"
_IN_ADDRESSES = r"[^\s\x00-\x1f\x7f@<>()\[\],;:\"\\]"
MAIL_ADDRESS = re.compile(rf"{_IN_ADDRESSES}+@{_IN_ADDRESSES}+")
_SENDER = re.compile(rf"(?:{_IN_NAMES}+<{MAIL_ADDRESS.pattern}>|{MAIL_ADDRESS.pattern})")


def check_database_url(url: str) -> None:
    """Raises ValueError for what no database has. Its text never quotes the URL: a password."""
    if not _DATABASE_URL.match(url):
        raise ValueError("must be sqlite:///path/to/file or postgresql://user@host/name")
    if url.startswith("sqlite"):
        return
    try:
        # Several addresses may stand there: a primary and its replicas.
        addresses = urlsplit(url).netloc.rpartition("@")[2].split(",")
        odd = "#" in url or any(urlsplit(f"//{address}").port == 0 for address in addresses)
    except ValueError:
        odd = True
    if odd:
        raise ValueError("has an odd port: percent-encode / ? # @ in the password")
    if "" in addresses[1:]:
        raise ValueError("has an empty address: postgresql://user@a:5432,b:5432/name")


def check_http_url(url: str) -> None:
    """Raises ValueError for what cannot stand before a path."""
    odd = not re.fullmatch(r"https?://[^\s?#@\\]+[^\s?#@\\/]", url)
    try:
        odd = odd or not urlsplit(url).hostname or urlsplit(url).port == 0
    except ValueError:
        odd = True
    if odd:
        raise ValueError(
            "must be http(s)://host[:port][/path] without user, query, fragment or final slash"
        )


def check_smtp_url(url: str) -> None:
    """Raises ValueError for what no mail server has. Its text never quotes the URL: a password."""
    odd = not re.fullmatch(r"smtps?://[^\s/?#]+/?", url)
    try:
        parts = urlsplit(url)
        odd = odd or not parts.hostname or parts.port == 0
        odd = odd or bool(parts.username) != bool(parts.password)
    except ValueError:
        odd = True
    if odd:
        raise ValueError(
            "must be smtp://user:password@host:587 or smtps://user:password@host:465, with"
            " / ? # @ in the password percent-encoded"
        )


def check_mail_from(text: str) -> None:
    """Raises ValueError for what is not one mail address, with a plain name before it or not."""
    if not _SENDER.fullmatch(text):
        raise ValueError("must be an address such as iam@example.org, or Name <iam@example.org>")


def is_loopback(host: str) -> bool:
    """Whether nobody else can listen in on plain http to `host`."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def check_strength(secret: SecretStr) -> None:
    """Raises ValueError for what can hardly be a random secret."""
    text = secret.get_secret_value()
    advice = "make one with `openssl rand -base64 32`"
    if len(text) < 32:
        raise ValueError(f"must have at least 32 characters: {advice}")
    if len(set(text)) < 10:
        raise ValueError(f"is too regular to be a secret: {advice}")
    if not text.isprintable():  # a stray newline, or bytes that are not UTF-8
        raise ValueError(f"must be one line of printable text: {advice}")


def check_together(settings: "Settings") -> None:
    """Raises ValueError with a whole line for settings that contradict each other."""
    if (settings.tls_cert_file is None) != (settings.tls_key_file is None):
        raise ValueError(
            "KEYTURN_TLS_CERT_FILE and KEYTURN_TLS_KEY_FILE belong together: set both or none"
        )
    for variable, text in (
        ("KEYTURN_PUBLIC_URL", settings.public_url),
        ("KEYTURN_ISSUER", settings.issuer),
    ):
        url = urlsplit(text)
        if url.scheme == "http" and not (settings.allow_http or is_loopback(url.hostname or "")):
            raise ValueError(
                f"{variable} is plain http beyond loopback: use https, or set"
                " KEYTURN_ALLOW_HTTP=true if nobody can listen in"
            )
    if settings.workers > 1 and settings.on_sqlite:
        raise ValueError(
            "KEYTURN_WORKERS above 1 needs PostgreSQL: set KEYTURN_DATABASE_URL to"
            " postgresql://…, or KEYTURN_WORKERS=1"
        )
    if settings.refresh_token_lifetime < settings.access_token_lifetime:
        raise ValueError(
            "KEYTURN_REFRESH_TOKEN_LIFETIME must not be below KEYTURN_ACCESS_TOKEN_LIFETIME"
        )
    if settings.session_max_lifetime < settings.access_token_lifetime:
        raise ValueError(
            "KEYTURN_SESSION_MAX_LIFETIME must not be below KEYTURN_ACCESS_TOKEN_LIFETIME"
        )
    if not settings.grants - {"refresh_token", "token_exchange"}:
        raise ValueError(
            "KEYTURN_GRANTS must name password or client_credentials, or nobody gets a token"
        )
    if settings.smtp_url and not settings.mail_from:
        raise ValueError("KEYTURN_MAIL_FROM is not set: KEYTURN_SMTP_URL needs a sender")
    if settings.limits_in == "redis" and not settings.redis_url:
        raise ValueError("KEYTURN_REDIS_URL is not set: KEYTURN_LIMITS_IN=redis needs it")
