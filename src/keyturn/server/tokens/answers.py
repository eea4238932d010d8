"""Answers kept for a repeated request, sealed: who has the database alone reads no secret."""

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from .secrets import DerivedKeys

_FORMAT = b"keyturn answer 1"


class SealedAnswers:
    """Implements the port `AnswerSealer` with AES-SIV (RFC 5297)."""

    def __init__(self, keys: DerivedKeys) -> None:
        """`keys` of 64 bytes."""
        self._keys = keys

    def seal(self, text: bytes, context: bytes) -> bytes:
        """`text` sealed under the newest key; it opens for the same `context` only."""
        version = self._keys.version.to_bytes(4, "big")
        sealed = AESSIV(self._keys.current).encrypt(text, [_FORMAT, version, context])
        return version + sealed

    def open(self, sealed: bytes, context: bytes) -> bytes | None:
        """None for what was not sealed here, or for another context."""
        version = sealed[:4]
        key = self._keys.get(int.from_bytes(version, "big"))
        if key is None:
            return None
        try:
            return AESSIV(key).decrypt(sealed[4:], [_FORMAT, version, context])
        except InvalidTag:
            return None
