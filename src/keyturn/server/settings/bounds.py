"""What one process takes on, and how it ends."""

from ipaddress import IPv4Network, IPv6Network
from typing import Annotated

from .fields import BY_COMMAS, SettingsGroup, setting


class Bounds(SettingsGroup):
    """Limits on work, on whom to believe, and on stopping."""

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
    audit_kept: int = setting(
        "days", 0, "How long rows of the audit trail are kept; 0: for ever.", ge=0, le=36_500
    )
    trusted_proxies: Annotated[tuple[IPv4Network | IPv6Network, ...], BY_COMMAS] = setting(
        "list", (), "Networks (CIDR, by commas) whose `X-Forwarded-For` is believed."
    )
    webhook_networks: Annotated[tuple[IPv4Network | IPv6Network, ...], BY_COMMAS] = setting(
        "list",
        (),
        "Networks (CIDR, by commas) that webhooks may be in, beside public ones.",
    )
    shutdown_drain: int = setting(
        "seconds", 5, "After SIGTERM, how long connections are still accepted.", ge=0, le=600
    )
    shutdown_grace: int = setting(
        "seconds", 20, "How long requests in flight may finish after that.", ge=0, le=3_600
    )
