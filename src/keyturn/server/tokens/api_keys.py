"""API keys: made, read and compared (promise P1). Their text form is domain.key_text's."""

import hashlib
import hmac
import secrets

from ..domain.ids import ID_LETTERS, SECRET_LETTERS, base62, uuid7_int
from ..domain.key_text import key_parts, key_text
from ..domain.model import KeyHash
from ..services.ports import NewKey, PresentedKey
from .secrets import DerivedKeys


class ApiKeys:
    """Makes, reads and checks API keys (port `ApiKeyFormat`)."""

    def __init__(self, peppers: DerivedKeys) -> None:
        self._peppers = peppers
        self._digests = {version: _Hmac(key) for version, key in peppers.all.items()}

    def new(self, key_id: str | None = None) -> NewKey:
        """256 new random bits, for a new key or for that one. `text` is not kept anywhere."""
        key_id = key_id or base62(uuid7_int(), ID_LETTERS)
        secret = base62(secrets.randbits(256), SECRET_LETTERS)
        return NewKey(key_id, key_text(key_id, secret), self._hash(key_id, secret))

    def parse(self, text: str) -> PresentedKey | None:
        """The key's parts, or None for anything but a key to the letter."""
        parts = key_parts(text)
        return None if parts is None else PresentedKey(*parts)

    def matches(self, key: PresentedKey, stored: KeyHash) -> bool:
        """Whether `key` is the one hashed in `stored`; in constant time."""
        known = stored.pepper_version in self._digests
        # A hash under a retired pepper, and none at all, cost the same as any other wrong key.
        version = stored.pepper_version if known else self._peppers.version
        digest = key.digests.get(version)
        if digest is None:
            digest = self._digests[version].of(_hashed(key.key_id, key.secret))
            key.digests[version] = digest
        return hmac.compare_digest(digest, stored.digest) and known

    def rehash(self, key: PresentedKey, stored: KeyHash) -> KeyHash | None:
        """The hash under the newest pepper; None when `stored` has it already."""
        if stored.pepper_version == self._peppers.version:
            return None
        return self._hash(key.key_id, key.secret)

    def _hash(self, key_id: str, secret: str) -> KeyHash:
        version = self._peppers.version
        return KeyHash(self._digests[version].of(_hashed(key_id, secret)), version)


def _hashed(key_id: str, secret: str) -> bytes:
    return f"{key_id}_{secret}".encode("ascii")


class _Hmac:
    """HMAC-SHA256 (RFC 2104) under one key, which is hashed in once.

    `hmac.digest` does that for every message, and looks for its hash function: twice the time.
    """

    def __init__(self, key: bytes) -> None:
        """`key` of at most 64 bytes, SHA-256's block."""
        padded = key.ljust(64, b"\0")
        self._inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in padded))
        self._outer = hashlib.sha256(bytes(byte ^ 0x5C for byte in padded))

    def of(self, message: bytes) -> bytes:
        """The message's code, 32 bytes."""
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(message)
        outer.update(inner.digest())
        return outer.digest()
