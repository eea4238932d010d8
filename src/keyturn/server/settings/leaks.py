"""Whose reports of leaked credentials are believed."""

import json
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import field_validator

from .checks import check_http_url, is_loopback
from .fields import SettingsGroup, setting


class Leaks(SettingsGroup):
    """Keys of scanners for secrets."""

    leak_keys_url: str | None = setting(
        "URL", None, "Public keys that sign reports of leaked keys; unset: none are taken."
    )
    leak_keys_file: Path | None = setting(
        "path", None, "Further ones, or the only ones, in a file of the same form."
    )

    @field_validator("leak_keys_url")
    @classmethod
    def _leak_keys_at(cls, value: str | None) -> str | None:
        if not value:
            return None
        check_http_url(value)
        url = urlsplit(value)
        if url.scheme != "https" and not is_loopback(url.hostname or ""):
            raise ValueError("must be https: whoever changes these keys can end API keys")
        return value

    @field_validator("leak_keys_file")
    @classmethod
    def _leak_keys_in(cls, value: Path | None) -> Path | None:
        if value is None:
            return None
        try:
            known = json.loads(value.read_text(encoding="utf-8"))["public_keys"]
        except (OSError, ValueError, KeyError, TypeError):
            known = None
        if not isinstance(known, list) or not known:
            raise ValueError('must be a readable file of JSON, {"public_keys": [...]}')
        return value
