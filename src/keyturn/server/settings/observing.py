"""What is told to machines that watch."""

from .fields import SettingsGroup, setting


class Observing(SettingsGroup):
    """Metrics."""

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
