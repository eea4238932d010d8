"""What is told to people: mail and logs."""

from typing import Literal

from pydantic import SecretStr, field_validator

from .checks import check_mail_from, check_smtp_url
from .fields import SettingsGroup, setting


class Telling(SettingsGroup):
    """Mail and logs."""

    smtp_url: SecretStr | None = setting(
        "secret URL", None, "Mail server: `smtp://user:password@host:587` or `smtps://…:465`."
    )
    mail_from: str = setting(
        "text", "", "Sender of mails: an address, or `Name <address>`. Needed for SMTP."
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
