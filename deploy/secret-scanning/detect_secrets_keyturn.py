"""A plugin of detect-secrets for Keyturn's credentials.

detect-secrets scan --plugin deploy/secret-scanning/detect_secrets_keyturn.py
"""

import re
import zlib
from collections.abc import Generator
from typing import Any

from detect_secrets.plugins.base import RegexBasedDetector

_LETTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def checksum_is_right(key: str) -> bool:
    """Whether a text of an API key's form can be one: nobody needs to be asked."""
    body, _, checksum = key.rpartition("_")
    number = 0
    for letter in checksum:
        number = number * 62 + _LETTERS.index(letter)
    return number == zlib.crc32(body.encode("ascii"))


class KeyturnDetector(RegexBasedDetector):
    """API keys, refresh tokens and invitation codes of Keyturn."""

    secret_type = "Keyturn credential"  # noqa: S105 - a name

    denylist = (
        re.compile(r"\bkt_[0-9A-Za-z]{22}_[0-9A-Za-z]{43}_[0-9A-Za-z]{6}\b"),
        re.compile(r"\bktr_[0-9A-Za-z_-]{100,}"),
        re.compile(r"\bkti_[0-9A-Za-z]{43}\b"),
    )

    def analyze_string(self, string: str, **_: Any) -> Generator[str, None, None]:
        """What is found in a line, but for keys whose checksum is wrong."""
        for found in super().analyze_string(string):
            if not found.startswith("kt_") or checksum_is_right(found):
                yield found
