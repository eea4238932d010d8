"""What single settings are checked for."""

import re
from ipaddress import ip_address
from urllib.parse import urlsplit

from pydantic import SecretStr

_DATABASE_URL = re.compile(r"sqlite(\+\w+)?:///(?!:memory:).|postgres(ql)?(\+\w+)?://.")


def check_database_url(url: str) -> None:
    """Raises ValueError for what no database has. Its text never quotes the URL: a password."""
    if not _DATABASE_URL.match(url):
        raise ValueError("must be sqlite:///path/to/file or postgresql://user@host/name")
    if url.startswith("sqlite"):
        return
    try:
        odd = urlsplit(url).port == 0 or "#" in url
    except ValueError:
        odd = True
    if odd:
        raise ValueError("has an odd port: percent-encode / ? # @ in the password")


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
