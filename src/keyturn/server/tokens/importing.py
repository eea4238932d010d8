"""Private keys made elsewhere, taken in as what we would have made ourselves."""

from collections.abc import Mapping
from typing import Any, TypeAlias

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from joserfc.jwk import ECKey, OKPKey, RSAKey

from ..domain.errors import invalid_request

Jwk: TypeAlias = ECKey | RSAKey | OKPKey

_RSA_BITS = range(2048, 4096 + 1)
_KINDS: Mapping[str, Any] = {"EC": ECKey, "RSA": RSAKey, "OKP": OKPKey}
# How others named and used it (RFC 7517, 4) is nothing to us.
_OPTIONAL = ("kid", "use", "alg", "key_ops", "ext", "x5u", "x5c", "x5t", "x5t#S256")


def adopted(material: str | dict[str, object]) -> tuple[Jwk, str]:
    """A private key, as PEM (PKCS#8 or what openssl wrote before) or JWK, and its algorithm.

    RSA of 2048 to 4096 bits is for RS256, P-256 for ES256, Ed25519 for itself. Raises Refusal
    `invalid_request` for anything else; nothing of it is quoted.
    """
    try:
        key = _private_key(material)
    except Exception:  # noqa: BLE001 - parsers of others; their errors may quote the key
        key = None
    # Through PEM: nothing else that stood in a JWK comes along, nor a public part that differs.
    if isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1):
        return ECKey.import_key(_pem(key)), "ES256"
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size in _RSA_BITS:
        return RSAKey.import_key(_pem(key)), "RS256"
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return OKPKey.import_key(_pem(key)), "Ed25519"
    raise invalid_request(
        "This is no private key to sign tokens with: RSA of 2048 to 4096 bits, P-256 or"
        " Ed25519, not encrypted.",
        field="pem" if isinstance(material, str) else "jwk",
    )


def _private_key(material: str | dict[str, object]) -> object:
    if isinstance(material, str):
        return serialization.load_pem_private_key(material.encode(), None)
    members = {name: value for name, value in material.items() if name not in _OPTIONAL}
    return _KINDS[str(material["kty"])].import_key(members).private_key


def _pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
