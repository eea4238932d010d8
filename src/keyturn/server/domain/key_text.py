"""The text form of API keys: `kt_<key id>_<secret>_<crc32>`, all base62 (promise P1).

The prefix is for secret scanners, the id for the lookup. The checksum lets a mistyped or
invented key be refused without the database; it is public and protects nothing.
"""

import zlib

from .ids import ID_LETTERS, SECRET_LETTERS, base62, from_base62

PREFIX = "kt_"
_CHECKSUM_LETTERS = 6
#: How long the parts of a key are, in letters.
_LENGTHS = [len("kt"), ID_LETTERS, SECRET_LETTERS, _CHECKSUM_LETTERS]


def key_text(key_id: str, secret: str) -> str:
    """The whole key."""
    body = f"{PREFIX}{key_id}_{secret}"
    return f"{body}_{checksum(body)}"


def checksum(body: str) -> str:
    """What stands behind the last underscore of a key, of what stands before it."""
    return base62(_crc(body), _CHECKSUM_LETTERS)


def key_parts(text: str) -> tuple[str, str] | None:
    """Key id and secret, or None for anything but a key to the letter."""
    # Not by a regular expression, which takes longer than all else that is done with a key.
    parts = text.split("_", 4)
    if list(map(len, parts)) != _LENGTHS or not text.startswith(PREFIX):
        return None
    if not (text.isascii() and "".join(parts).isalnum()):
        return None
    _, key_id, secret, claimed = parts
    if from_base62(claimed) != _crc(text[: -_CHECKSUM_LETTERS - 1]):
        return None
    return key_id, secret


def _crc(body: str) -> int:
    return zlib.crc32(body.encode("ascii"))
