"""Keys derived from the master secret, one a purpose (HKDF-SHA256, RFC 5869).

Several master secrets may be in force while one is being replaced: the first one writes, all
of them read. A version number tells which one made a value; it is derived from the secret
itself, so nothing has to be numbered by hand.
"""

from collections.abc import Mapping, Sequence

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF


def _derive(secret: str, purpose: str, length: int) -> bytes:
    hkdf = HKDF(hashes.SHA256(), length=length, salt=b"keyturn", info=purpose.encode())
    return hkdf.derive(secret.encode())


class DerivedKeys:
    """The keys of one purpose: `current` for writing, `get` for reading older versions."""

    def __init__(self, secrets: Sequence[str], purpose: str, length: int) -> None:
        """`secrets` newest first; `length` in bytes."""
        self.versions = tuple(
            int.from_bytes(_derive(s, "version", 4), "big") & 0x7FFF_FFFF for s in secrets
        )
        self._keys = {
            version: _derive(secret, purpose, length)
            for version, secret in zip(self.versions, secrets, strict=True)
        }
        self.version = self.versions[0]
        self.current = self._keys[self.version]

    @property
    def all(self) -> Mapping[int, bytes]:
        """Every key in force, by its version."""
        return self._keys

    def get(self, version: int) -> bytes | None:
        """The key of that version, or None when its master secret is no longer in force."""
        return self._keys.get(version)

    def __repr__(self) -> str:
        return f"DerivedKeys(version={self.version})"
