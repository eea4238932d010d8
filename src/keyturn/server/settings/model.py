"""All settings: one frozen object, read once, refusing to be half-configured.

`Settings(…)` by itself reads nothing but its arguments, so tests and embedders get exactly what
they say; `load_settings` (sources.py) reads the environment and the file.
"""

import os
import re
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, SecretStr, field_validator, model_validator

from ..domain.sessions import Lifetimes
from .checks import (
    check_database_url,
    check_http_url,
    check_mail_from,
    check_smtp_url,
    check_strength,
    check_together,
)
from .fields import setting

PREFIX = "KEYTURN_"
CONFIG = "KEYTURN_CONFIG"

#: Settings that may come from a file, named by the variable with `_FILE` appended.
FROM_FILE = ("master_secret", "previous_master_secrets", "database_url", "redis_url", "smtp_url")


Grant = Literal["password", "client_credentials", "refresh_token", "token_exchange"]


class SettingsError(Exception):
    """The settings are incomplete, contradictory or unreadable. Its text is one line."""


def env_name(name: str) -> str:
    """The environment variable of a setting."""
    return PREFIX + name.upper()


def _listening_at(values: dict[str, Any]) -> str:
    scheme = "https" if values["tls_cert_file"] else "http"
    return f"{scheme}://127.0.0.1:{values['port']}"


def _origin(values: dict[str, Any]) -> str:
    url = urlsplit(values["public_url"])
    return f"{url.scheme}://{url.netloc}"


class Settings(BaseModel):
    """The server's settings. Times are in seconds, sizes in bytes."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        validate_default=True,
        hide_input_in_errors=True,
    )

    # Order matters: a derived default sees only the fields above it.
    host: str = setting("text", "127.0.0.1", "Address to listen on.", min_length=1)
    port: int = setting("integer", 8080, "TCP port to listen on.", ge=1, le=65_535)
    workers: int = setting(
        "integer", 1, "Worker processes. More than one needs PostgreSQL.", ge=1, le=256
    )
    tls_cert_file: Path | None = setting("path", None, "Certificate chain (PEM) to serve TLS.")
    tls_key_file: Path | None = setting("path", None, "The certificate's private key (PEM).")
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

    database_url: SecretStr = setting(
        "secret URL", SecretStr(""), "`sqlite:///file` or `postgresql://user@host/name`. Required."
    )
    database_pool_size: int = setting(
        "integer", 10, "Connections each for lookups, refreshes, the rest.", ge=1, le=1_000
    )
    database_wait: float = setting(
        "seconds", 2.0, "Longest wait for a connection or an answer, then 503.", gt=0, le=60
    )
    redis_url: SecretStr | None = setting(
        "secret URL", None, "Redis or Valkey for the revocation list; without it in process."
    )
    redis_timeout: float = setting(
        "seconds", 0.1, "Longest wait for Redis, then the database is asked.", gt=0, le=10
    )
    redis_allow_eviction: bool = setting(
        "true or false", False, "Start on a Redis that drops entries when its memory is full."
    )

    master_secret: SecretStr = setting(
        "secret", SecretStr(""), "What all keys derive from: 32 characters or more. Required."
    )
    previous_master_secrets: tuple[SecretStr, ...] = setting(
        "secrets, one a line", (), "Earlier master secrets, newest first: still read, never used."
    )
    signing_algorithm: Literal["ES256", "RS256", "Ed25519"] = setting(
        "ES256, RS256, Ed25519", "ES256", "How access tokens are signed."
    )
    eddsa_header: Literal["EdDSA", "Ed25519"] = setting(
        "EdDSA, Ed25519", "EdDSA", "The `alg` of Ed25519: the name that all know, or RFC 9864's."
    )
    signing_key_max_age: int = setting(
        "seconds", 2_592_000, "How old a signing key gets before the next one signs; 0: any age.",
        ge=0, le=315_360_000,
    )  # fmt: skip
    access_token_lifetime: int = setting(
        "seconds", 300, "Life of an access token.", ge=1, le=86_400
    )
    refresh_token_lifetime: int = setting(
        "seconds", 1_800, "Life of each refresh token.", ge=1, le=31_536_000
    )
    session_max_lifetime: int = setting(
        "seconds", 36_000, "Absolute end of a session, however often refreshed.",
        ge=1, le=31_536_000,
    )  # fmt: skip
    refresh_grace: int = setting(
        "seconds", 10, "How long a spent refresh token gets the same successor; 0 is strict.",
        ge=0, le=300,
    )  # fmt: skip
    grants: frozenset[Grant] = setting(
        "list",
        frozenset({"password", "client_credentials", "refresh_token", "token_exchange"}),
        "Grants that are answered, separated by commas.",
        shown="password,client_credentials,refresh_token,token_exchange",
    )

    smtp_url: SecretStr | None = setting(
        "secret URL", None, "Mail server: `smtp://user:password@host:587` or `smtps://…:465`."
    )
    mail_from: str = setting(
        "text", "", "Sender of mails: an address, or `Name <address>`. Needed for SMTP."
    )

    max_body: int = setting(
        "bytes", 65_536, "Largest request body; above it 413.", ge=1_024, le=16_777_216
    )
    max_in_flight: int = setting(
        "integer", 1_024, "Requests answered at once by one process; above it 503.", ge=1
    )
    max_connections: int = setting(
        "integer", 4_096, "Open connections of one process; above it 503.", ge=1, le=1_000_000
    )
    max_followers: int = setting(
        "integer",
        1024,
        "Resource servers of one process that wait for revocations at once; above it 503.",
        ge=1,
        le=100_000,
    )
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = setting(
        "list", (), "Networks (CIDR, by commas) whose `X-Forwarded-For` is believed."
    )
    shutdown_drain: int = setting(
        "seconds", 5, "After SIGTERM, how long connections are still accepted.", ge=0, le=600
    )
    shutdown_grace: int = setting(
        "seconds", 20, "How long requests in flight may finish after that.", ge=0, le=3_600
    )

    log_level: Literal["debug", "info", "warning", "error"] = setting(
        "debug, info, warning, error", "info", "What is logged, from this level on."
    )
    log_format: Literal["json", "console"] = setting(
        "json, console", "json", "One JSON object a line, or text for people."
    )
    access_log: Literal["off", "errors", "all"] = setting(
        "off, errors, all", "errors", "Which requests are logged; errors: status 400 and above."
    )

    @field_validator("grants", "trusted_proxies", mode="before")
    @classmethod
    def _commas(cls, value: object) -> object:
        if isinstance(value, str):
            return [part.strip() for part in value.split(",") if part.strip()]
        return value

    @field_validator("previous_master_secrets", mode="before")
    @classmethod
    def _lines(cls, value: object) -> object:
        if isinstance(value, str):
            return [line.strip() for line in value.splitlines() if line.strip()]
        return value

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
        return value

    @field_validator("database_url")
    @classmethod
    def _database(cls, value: SecretStr) -> SecretStr:
        if value:
            check_database_url(value.get_secret_value())
        return value

    @field_validator("redis_url")
    @classmethod
    def _redis(cls, value: SecretStr | None) -> SecretStr | None:
        if value and not re.match(r"(rediss?|valkeys?|unix)(\+\w+)?://.", value.get_secret_value()):
            raise ValueError(
                "must be redis://host:port/0 (rediss:// for TLS), redis+cluster://host,host, or"
                " redis+sentinel://host,host/name-of-the-primary"
            )
        return value or None

    @field_validator("smtp_url")
    @classmethod
    def _smtp(cls, value: SecretStr | None) -> SecretStr | None:
        if value:
            check_smtp_url(value.get_secret_value())
        return value or None

    @field_validator("mail_from")
    @classmethod
    def _sender(cls, value: str) -> str:
        if value:
            check_mail_from(value)
        return value

    @field_validator("master_secret")
    @classmethod
    def _strong(cls, value: SecretStr) -> SecretStr:
        if value:
            check_strength(value)
        return value

    @field_validator("previous_master_secrets")
    @classmethod
    def _all_strong(cls, value: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        for secret in value:
            check_strength(secret)
        return value

    @field_validator("tls_cert_file", "tls_key_file")
    @classmethod
    def _readable(cls, value: Path | None) -> Path | None:
        if value and not (os.access(value, os.R_OK) and value.is_file()):
            raise ValueError("no readable file there")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        check_together(self)
        return self

    @property
    def on_sqlite(self) -> bool:
        """Whether the database is the embedded one."""
        return self.database_url.get_secret_value().startswith("sqlite")

    @property
    def base_url(self) -> str:
        """What all routes stand below, for clients."""
        return self.public_url + self.base_path

    @property
    def lifetimes(self) -> Lifetimes:
        """The lifetimes as the domain takes them."""
        return Lifetimes(
            access_token=self.access_token_lifetime,
            refresh_token=self.refresh_token_lifetime,
            session=self.session_max_lifetime,
            refresh_grace=self.refresh_grace,
        )
