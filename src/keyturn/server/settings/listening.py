"""Where the service listens, and what it is called."""

import os
import re
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import field_validator

from .checks import check_http_url
from .fields import SettingsGroup, setting


def _listening_at(values: dict[str, Any]) -> str:
    scheme = "https" if values["tls_cert_file"] else "http"
    return f"{scheme}://127.0.0.1:{values['port']}"


def _origin(values: dict[str, Any]) -> str:
    url = urlsplit(values["public_url"])
    return f"{url.scheme}://{url.netloc}"


class Listening(SettingsGroup):
    """Addresses, TLS, and the names that tokens carry."""

    # Order matters: a derived default sees only the fields above it.
    host: str = setting("text", "127.0.0.1", "Address to listen on.", min_length=1)
    port: int = setting("integer", 8080, "TCP port to listen on.", ge=1, le=65_535)
    workers: int = setting(
        "integer", 1, "Worker processes. More than one needs PostgreSQL.", ge=1, le=256
    )
    tls_cert_file: Path | None = setting("path", None, "Certificate chain (PEM) to serve TLS.")
    tls_key_file: Path | None = setting("path", None, "The certificate's private key (PEM).")
    tls_min_version: Literal["1.2", "1.3"] = setting(
        "1.2, 1.3", "1.2", "Oldest TLS that is spoken."
    )
    allow_http: bool = setting(
        "true or false", False, "Allow a plain http public URL or issuer beyond loopback."
    )
    public_url: str = setting(
        "URL",
        _listening_at,
        "Where clients reach the service; a path is kept, for a proxy that adds one.",
        shown="http://127.0.0.1:8080",
    )
    issuer: str = setting(
        "URL",
        _origin,
        "The tokens' `iss`. Never taken from a request.",
        shown="public URL without its path",
    )
    audience: str = setting(
        "text", lambda v: v["issuer"], "The tokens' `aud`.", shown="the issuer", min_length=1
    )
    base_path: str = setting("path", "/iam", "What the routes stand below; `/` for nothing.")

    @field_validator("public_url", "issuer")
    @classmethod
    def _url(cls, value: str) -> str:
        check_http_url(value)
        return value

    @field_validator("base_path")
    @classmethod
    def _path(cls, value: str) -> str:
        if value == "/":
            return ""
        if not re.fullmatch(r"(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*", value):
            raise ValueError("must be a path such as /iam, without a final slash")
        if f"{value}/".startswith("/console/"):
            raise ValueError("must be another path than /console, where people sign in")
        return value

    @field_validator("tls_cert_file", "tls_key_file")
    @classmethod
    def _readable(cls, value: Path | None) -> Path | None:
        if value and not (os.access(value, os.R_OK) and value.is_file()):
            raise ValueError("no readable file there")
        return value
