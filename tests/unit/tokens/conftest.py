"""Keys made at run time, once a module: making an RSA key takes a while."""

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import settings

from keyturn.server.domain.model import StoredSigningKey
from keyturn.server.tokens.access import AccessTokenSigner, Issuing
from keyturn.server.tokens.secrets import DerivedKeys
from keyturn.server.tokens.signing import Keyring, KeySealer

PROPERTY = settings(max_examples=100, deadline=None)

ISSUER = "https://id.example.com"
AUDIENCE = "https://api.example.com"
ISSUING = Issuing(
    ISSUER, AUDIENCE, f"{ISSUER}/iam/users/me", f"{ISSUER}/iam/auth/verify", 1_000, 10
)

#: Algorithm and, for Ed25519, the `alg` it signs under.
ALGORITHMS = [
    ("ES256", "EdDSA"),
    ("RS256", "EdDSA"),
    ("Ed25519", "EdDSA"),
    ("Ed25519", "Ed25519"),
]


class Clock:
    """A clock that a test can set."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC)

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@dataclass(frozen=True)
class Signing:
    """A signer with its key, and a second key that is published beside it."""

    sealer: KeySealer
    stored: StoredSigningKey
    other: StoredSigningKey
    eddsa_header: str
    clock: Clock
    signer: AccessTokenSigner

    @property
    def alg(self) -> str:
        """The `alg` of its tokens."""
        return self.eddsa_header if self.stored.algorithm == "Ed25519" else self.stored.algorithm

    def sibling(self, issuing: Issuing) -> AccessTokenSigner:
        """Another service under the same keys."""
        return AccessTokenSigner(self.signer.keyring, issuing, self.clock)


def master_secret() -> str:
    return secrets.token_urlsafe(32)


def derived(*masters: str, purpose: str = "test", length: int = 64) -> DerivedKeys:
    return DerivedKeys(masters or (master_secret(),), purpose, length)


def make_signing(algorithm: str, eddsa_header: str) -> Signing:
    sealer, clock = KeySealer(derived()), Clock()
    stored = sealer.new(algorithm, "current", clock())
    other = sealer.new(algorithm, "retired", clock())
    keys = [sealer.open(key, eddsa_header) for key in (stored, other)]
    signer = AccessTokenSigner(Keyring(keys, keys[0]), ISSUING, clock)
    return Signing(sealer, stored, other, eddsa_header, clock, signer)


@pytest.fixture(scope="module", params=ALGORITHMS, ids=[f"{a}-{h}" for a, h in ALGORITHMS])
def signing(request: pytest.FixtureRequest) -> Signing:
    """Each algorithm in turn."""
    return make_signing(*request.param)


@pytest.fixture(scope="module")
def es256() -> Signing:
    """The default algorithm only."""
    return make_signing("ES256", "EdDSA")
