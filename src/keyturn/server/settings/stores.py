"""Where the data is."""

import re

from pydantic import SecretStr, field_validator

from .checks import check_database_url
from .fields import SettingsGroup, setting


class Stores(SettingsGroup):
    """The database and Redis."""

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
