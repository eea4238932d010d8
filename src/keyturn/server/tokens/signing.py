"""Signing keys: made, sealed for the database, and put to work (promise P6).

The signature itself is made with `cryptography` directly: on the exchange's path it is the
one large cost, and a JOSE library doubles it. Keys go in and out as JWKs through joserfc.
"""

import hashlib
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime

import orjson
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import (
    Prehashed,
    encode_dss_signature,
)
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from joserfc.jwk import ECKey, OKPKey, RSAKey

from ..domain.errors import StorageNotReady, Unavailable
from ..domain.model import StoredSigningKey
from .base64url import encode
from .importing import Jwk, adopted
from .secrets import DerivedKeys

_ES256_HALF = 32  # bytes of r and of s, RFC 7518, 3.4
_RSA_BITS = 2048
_KEY_TYPES = {"ES256": "EC", "RS256": "RSA", "Ed25519": "OKP"}
_EDDSA_NAMES = ("EdDSA", "Ed25519")  # RFC 8037 and RFC 9864

Sign = Callable[[bytes], bytes]
Verify = Callable[[bytes, bytes], bool]


class UnreadableSigningKey(StorageNotReady):
    """A stored key cannot be used: sealed with another master secret, or changed by hand."""

    def __init__(self) -> None:
        super().__init__(
            "The database's signing keys cannot be opened: KEYTURN_MASTER_SECRET is not the one"
            " that they were made with, and KEYTURN_PREVIOUS_MASTER_SECRETS does not name it."
        )


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A key ready for use.

    `header` is the encoded JOSE header of every token it signs; `accepted` are the headers of
    tokens that it may have signed (Ed25519 has two names, and the setting may have changed).
    """

    kid: str
    algorithm: str
    header: str
    accepted: tuple[str, ...]
    public_jwk: dict[str, str]
    sign: Sign
    verify: Verify


def _header(alg: str, kid: str) -> str:
    return encode(orjson.dumps({"alg": alg, "kid": kid, "typ": "at+jwt"})).decode()


def _es256(key: ec.EllipticCurvePrivateKey) -> tuple[Sign, Verify]:
    algorithm = ec.ECDSA(hashes.SHA256())
    hashed = ec.ECDSA(Prehashed(hashes.SHA256()))
    public = key.public_key()

    def sign(data: bytes) -> bytes:
        # DER's two integers (RFC 3279, 2.2.3), read in place: by way of numbers it takes 12 µs.
        # Each is short, and has a zero in front where its first bit is set.
        der = key.sign(hashlib.sha256(data).digest(), hashed)
        end = 4 + der[3]
        r, s = der[4:end], der[end + 2 :]
        return r[-_ES256_HALF:].rjust(_ES256_HALF, b"\0") + s[-_ES256_HALF:].rjust(
            _ES256_HALF, b"\0"
        )

    def verify(data: bytes, signature: bytes) -> bool:
        if len(signature) != 2 * _ES256_HALF:
            return False
        r = int.from_bytes(signature[:_ES256_HALF], "big")
        s = int.from_bytes(signature[_ES256_HALF:], "big")
        try:
            public.verify(encode_dss_signature(r, s), data, algorithm)
        except InvalidSignature:
            return False
        return True

    return sign, verify


def _rs256(key: rsa.RSAPrivateKey) -> tuple[Sign, Verify]:
    public = key.public_key()

    def sign(data: bytes) -> bytes:
        return key.sign(data, padding.PKCS1v15(), hashes.SHA256())

    def verify(data: bytes, signature: bytes) -> bool:
        try:
            public.verify(signature, data, padding.PKCS1v15(), hashes.SHA256())
        except InvalidSignature:
            return False
        return True

    return sign, verify


def _ed25519(key: ed25519.Ed25519PrivateKey) -> tuple[Sign, Verify]:
    public = key.public_key()

    def verify(data: bytes, signature: bytes) -> bool:
        try:
            public.verify(signature, data)
        except InvalidSignature:
            return False
        return True

    return key.sign, verify


def _new_jwk(algorithm: str) -> Jwk:
    if algorithm == "ES256":
        return ECKey.generate_key("P-256")
    if algorithm == "RS256":
        return RSAKey.generate_key(_RSA_BITS)
    if algorithm == "Ed25519":
        return OKPKey.generate_key("Ed25519")
    raise ValueError(f"not a signing algorithm: {algorithm}")


class KeySealer:
    """Makes signing keys and encrypts their private parts under the master secret."""

    def __init__(self, keys: DerivedKeys) -> None:
        """`keys` of 64 bytes (AES-256-SIV)."""
        self._keys = keys

    @property
    def versions(self) -> tuple[int, ...]:
        """Those of the master secrets in force, the newest first."""
        return self._keys.versions

    def new(self, algorithm: str, slot: str, now: datetime) -> StoredSigningKey:
        """A new key; `kid` is its RFC 7638 thumbprint."""
        return self._stored(_new_jwk(algorithm), algorithm, slot, now)

    def imported(self, material: str | dict[str, object], now: datetime) -> StoredSigningKey:
        """A private key made elsewhere, as PEM or JWK, for the slot `next`.

        Raises Refusal `invalid_request` for what could not sign here.
        """
        jwk, algorithm = adopted(material)
        return self._stored(jwk, algorithm, "next", now)

    def resealed(self, stored: StoredSigningKey) -> StoredSigningKey | None:
        """The same key under the newest master secret; None when it is already.

        Raises UnreadableSigningKey.
        """
        private = self._unsealed(stored)
        if _version(stored) == self._keys.version:
            return None
        return replace(stored, sealed_private=self._sealed(stored.kid, private))

    def check(self, stored: StoredSigningKey) -> None:
        """Raises UnreadableSigningKey for a key that was sealed with another master secret."""
        self._unsealed(stored)

    def opens(self, kid: str, sealed_private: bytes) -> bool:
        """Whether a master secret in force opens what is sealed of that key."""
        key = self._keys.get(int.from_bytes(sealed_private[:4], "big"))
        if key is None:
            return False
        try:
            AESSIV(key).decrypt(sealed_private[4:], [b"signing", kid.encode()])
        except InvalidTag:
            return False
        return True

    def open(self, stored: StoredSigningKey, eddsa_header: str) -> SigningKey:
        """The key ready for use.

        `eddsa_header` is the `alg` that Ed25519 signs under: `EdDSA`, or RFC 9864's `Ed25519`.
        Raises UnreadableSigningKey.
        """
        private = orjson.loads(self._unsealed(stored))
        alg = eddsa_header if stored.algorithm == "Ed25519" else stored.algorithm
        jwk = _imported(stored.algorithm, private)
        # What is published follows from the sealed key: a public part that somebody wrote into
        # the row would have resource servers trust his key.
        if jwk.thumbprint() != stored.kid:
            raise UnreadableSigningKey
        sign, verify = _functions(jwk)
        names = _EDDSA_NAMES if stored.algorithm == "Ed25519" else (alg,)
        accepted = tuple(_header(name, stored.kid) for name in names)
        public = {**_public(jwk), "kid": stored.kid, "use": "sig", "alg": alg}
        return SigningKey(
            stored.kid, stored.algorithm, _header(alg, stored.kid), accepted, public, sign, verify
        )

    def _stored(self, jwk: Jwk, algorithm: str, slot: str, now: datetime) -> StoredSigningKey:
        kid = jwk.thumbprint()
        sealed = self._sealed(kid, orjson.dumps(jwk.as_dict(private=True)))
        return StoredSigningKey(kid, algorithm, slot, _public(jwk), sealed, now, now)

    def _sealed(self, kid: str, private: bytes) -> bytes:
        version = self._keys.version.to_bytes(4, "big")
        return version + AESSIV(self._keys.current).encrypt(private, [b"signing", kid.encode()])

    def _unsealed(self, stored: StoredSigningKey) -> bytes:
        key = self._keys.get(_version(stored))
        if key is None:
            raise UnreadableSigningKey
        try:
            return AESSIV(key).decrypt(stored.sealed_private[4:], [b"signing", stored.kid.encode()])
        except InvalidTag:
            raise UnreadableSigningKey from None


def _version(stored: StoredSigningKey) -> int:
    """Which master secret it is sealed under."""
    return int.from_bytes(stored.sealed_private[:4], "big")


def _imported(algorithm: str, private: dict[str, str | list[str]]) -> Jwk:
    if private.get("kty") != _KEY_TYPES.get(algorithm):
        raise UnreadableSigningKey
    if algorithm == "ES256":
        return ECKey.import_key(private)
    return RSAKey.import_key(private) if algorithm == "RS256" else OKPKey.import_key(private)


def _functions(jwk: Jwk) -> tuple[Sign, Verify]:
    key = jwk.private_key
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return _es256(key)
    if isinstance(key, rsa.RSAPrivateKey):
        return _rs256(key)
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return _ed25519(key)
    raise UnreadableSigningKey


def _public(jwk: Jwk) -> dict[str, str]:
    return {str(name): str(value) for name, value in jwk.as_dict(private=False).items()}


class Keyring:
    """The keys in force: one of each algorithm signs, all verify.

    `good_until`, by this process's monotonic clock in seconds: so long it may sign without having
    read the keys anew. Later, its key may be one that nobody trusts any more.
    """

    def __init__(
        self, keys: Iterable[SigningKey], signer: SigningKey, others: Iterable[SigningKey] = ()
    ) -> None:
        """`signer` signs what does not ask for an algorithm, `others` that of their own."""
        self.signer = signer
        self.good_until = math.inf
        self._signers = {key.algorithm: key for key in (*others, signer)}
        # Only headers that we write ourselves are accepted, to the letter. What RFC 8725
        # warns of (`none`, HMAC with a public key, `jwk`, `jku`, `crit`, a missing or other
        # `typ`) is a header that is not in this table: it is refused before it is parsed.
        self.by_header: dict[str, SigningKey] = {}
        published: list[dict[str, str]] = []
        for key in keys:
            published.append(key.public_jwk)
            self.by_header.update(dict.fromkeys(key.accepted, key))
        self.jwks: dict[str, object] = {"keys": published}
        self.algorithms = frozenset(key["alg"] for key in published)

    def signer_of(self, algorithm: str | None) -> SigningKey:
        """Who signs by `algorithm`; None: by the one for all. Raises Unavailable."""
        if time.monotonic() > self.good_until:
            raise Unavailable("the signing keys were not read anew for too long")
        if algorithm is None:
            return self.signer
        key = self._signers.get(algorithm)
        if key is None:
            raise Unavailable(f"no signing key for {algorithm} is in force yet", retry_after=5)
        return key
