"""API keys: `kt_<key id>_<secret>_<crc32>`, all base62 (promise P1).

The prefix is for secret scanners, the id for the lookup. The checksum lets a mistyped or
invented key be refused without the database; it is public and protects nothing.
"""

import hmac
import re
import secrets
import zlib

from ..domain.ids import ID_LETTERS, SECRET_LETTERS, base62, uuid7_int
from ..domain.model import KeyHash
from ..services.ports import NewKey, PresentedKey
from .secrets import DerivedKeys

_CHECKSUM_LETTERS = 6
_FORM = re.compile(
    rf"kt_([0-9A-Za-z]{{{ID_LETTERS}}})_([0-9A-Za-z]{{{SECRET_LETTERS}}})_([0-9A-Za-z]{{{_CHECKSUM_LETTERS}}})",
    re.ASCII,
)


def _checksum(body: str) -> str:
    return base62(zlib.crc32(body.encode("ascii")), _CHECKSUM_LETTERS)


class ApiKeys:
    """Makes, reads and checks API keys (port `ApiKeyFormat`)."""

    def __init__(self, peppers: DerivedKeys) -> None:
        self._peppers = peppers
        self._no_pepper = secrets.token_bytes(32)

    def new(self, key_id: str | None = None) -> NewKey:
        """256 new random bits, for a new key or for that one. `text` is not kept anywhere."""
        key_id = key_id or base62(uuid7_int(), ID_LETTERS)
        secret = base62(secrets.randbits(256), SECRET_LETTERS)
        body = f"kt_{key_id}_{secret}"
        key_hash = KeyHash(
            self._digest(key_id, secret, self._peppers.current), self._peppers.version
        )
        return NewKey(key_id, f"{body}_{_checksum(body)}", key_hash)

    def parse(self, text: str) -> PresentedKey | None:
        """The key's parts, or None for anything but a key to the letter."""
        match = _FORM.fullmatch(text)
        if match is None:
            return None
        body, _, checksum = text.rpartition("_")
        if checksum != _checksum(body):
            return None
        return PresentedKey(match[1], match[2])

    def matches(self, key: PresentedKey, stored: KeyHash) -> bool:
        """Whether `key` is the one hashed in `stored`; in constant time."""
        pepper = self._peppers.get(stored.pepper_version)
        # A hash under a retired pepper costs the same as any other wrong key.
        digest = self._digest(key.key_id, key.secret, pepper or self._no_pepper)
        return hmac.compare_digest(digest, stored.digest) and pepper is not None

    def rehash(self, key: PresentedKey, stored: KeyHash) -> KeyHash | None:
        """The hash under the newest pepper; None when `stored` has it already."""
        if stored.pepper_version == self._peppers.version:
            return None
        digest = self._digest(key.key_id, key.secret, self._peppers.current)
        return KeyHash(digest, self._peppers.version)

    @staticmethod
    def _digest(key_id: str, secret: str, pepper: bytes) -> bytes:
        return hmac.digest(pepper, f"{key_id}_{secret}".encode("ascii"), "sha256")
