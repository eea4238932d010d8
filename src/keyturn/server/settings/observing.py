"""What is told to machines that watch."""

from pydantic import field_validator

from .checks import check_http_url
from .fields import SettingsGroup, setting


class Observing(SettingsGroup):
    """Metrics and traces."""

    metrics_host: str = setting(
        "text", "127.0.0.1", "Address that metrics are served on.", min_length=1
    )
    metrics_port: int = setting(
        "integer",
        9464,
        "TCP port of `/metrics`, of all workers together; 0: none.",
        ge=0,
        le=65_535,
    )
    otlp_endpoint: str | None = setting(
        "URL", None, "Collector that traces are sent to, by OTLP over HTTP; none: no traces."
    )
    trace_ratio: float = setting(
        "number",
        0.1,
        "Share of requests that are traced, unless a trusted proxy chose; from 0 to 1.",
        ge=0,
        le=1,
    )

    @field_validator("otlp_endpoint")
    @classmethod
    def _collector(cls, value: str | None) -> str | None:
        if value:
            check_http_url(value.rstrip("/"))
        return value or None
