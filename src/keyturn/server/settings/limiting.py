"""How often what may be done."""

from typing import Literal

from pydantic import field_validator

from .fields import SettingsGroup, setting

#: Settings that are rates: `limit_` and the counter's name.
RATES = (
    "limit_failures_per_address",
    "limit_failures_per_username",
    "limit_exchanges_per_key",
    "limit_exchanges_per_tenant",
    "limit_management_per_token",
)


class Limiting(SettingsGroup):
    """Rates, such as `60/minute` or `1000 per 5 minutes`; empty for no limit."""

    limit_failures_per_address: str = setting(
        "rate", "60/minute", "Bad credentials from one address (IPv6: /64), then 429 for all of it."
    )
    limit_failures_per_username: str = setting(
        "rate",
        "30/minute",
        "Bad credentials for one username, then 429 for bad ones only (passwords: all).",
    )
    limit_exchanges_per_key: str = setting(
        "rate", "1000/minute", "Token requests by one API key; above it 429."
    )
    limit_exchanges_per_tenant: str = setting(
        "rate", "10000/minute", "Token requests by keys at home in one tenant; above it 429."
    )
    limit_management_per_token: str = setting(
        "rate", "600/minute", "Management calls with one access token; above it 429."
    )
    limits_in: Literal["memory", "redis"] = setting(
        "memory, redis", "memory", "Whether each process counts for itself, or all by Redis."
    )

    @field_validator(*RATES)
    @classmethod
    def _rate(cls, value: str) -> str:
        from ..limiting import read_rate  # not for who has the settings' names alone

        read_rate(value)
        return value
