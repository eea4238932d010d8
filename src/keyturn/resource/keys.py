"""The service's public keys (RFC 7517), kept at hand.

They are read anew when their `max-age` is over, in the background; what cannot be read leaves the
old ones in force. A key id that is not known has them read at once, but at most once a cool-down,
whoever asks how often: random key ids cost the service nothing.
"""

import asyncio
import logging
import re
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from joserfc.jwk import JWKRegistry, Key
from joserfc.jws import JWSRegistry

from .errors import InvalidToken, Unavailable
from .flights import Complaint, SingleFlight
from .service import Fault, Service

log = logging.getLogger("keyturn.resource")

#: Algorithms with a public key. No other one can be allowed: who may verify could sign, too.
ASYMMETRIC = frozenset(
    {"ES256", "ES384", "ES512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}
    | {"EdDSA", "Ed25519"}
)
#: Bounds for the `max-age` of a key set, and what holds where none is said (seconds).
LEAST_AGE, DEFAULT_AGE, GREATEST_AGE = 30.0, 300.0, 3_600.0
#: Of one key set; more are not looked at.
MAX_KEYS = 100
_EDWARDS = frozenset({"EdDSA", "Ed25519"})
# Members that only a private or a symmetric key has (RFC 7518, 6).
_PRIVATE = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
_PUBLIC = frozenset({"kty", "crv", "x", "y", "n", "e"})
# 2048 bits (RFC 7518, 3.3) in base64url.
_SHORTEST_MODULUS = 342
_MAX_AGE = re.compile(r"(?:^|[\s,])max-age=\"?(\d{1,9})", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A key that verifies, and by which of the allowed algorithms."""

    kid: str
    algorithms: frozenset[str]
    key: Key

    def verifies(self, algorithm: str, signed: bytes, signature: bytes) -> bool:
        """Whether it made that signature; not by an algorithm that is not its own."""
        if algorithm not in self.algorithms:
            return False
        try:
            return bool(_model(algorithm).verify(signed, signature, self.key))
        except Exception:  # noqa: BLE001 - whatever a signature's bytes do to a library
            return False


def _model(algorithm: str) -> Any:
    # `EdDSA` (RFC 8037) leaves the curve open, and joserfc warns of it at each use; here it is
    # Ed25519 alone, under either name.
    return JWSRegistry.algorithms["Ed25519" if algorithm == "EdDSA" else algorithm]


def read_key(jwk: Mapping[str, Any], allowed: Collection[str]) -> PublicKey | None:
    """The key in a JWK; None for what is none, is private, or signs nothing that is allowed."""
    kid, name = jwk.get("kid"), jwk.get("alg")
    operations = jwk.get("key_ops", ["verify"])
    if (
        not isinstance(kid, str)
        or not kid
        or jwk.get("use", "sig") != "sig"
        or not isinstance(operations, list)
        or "verify" not in operations
        or not _PRIVATE.isdisjoint(jwk)
        or jwk.get("kty") not in {"EC", "RSA", "OKP"}
        or (jwk["kty"] == "RSA" and len(str(jwk.get("n", ""))) < _SHORTEST_MODULUS)
    ):
        return None
    public = {member: jwk[member] for member in _PUBLIC & set(jwk)}
    try:
        key = JWKRegistry.import_key(public)
    except Exception:  # noqa: BLE001 - RFC 7517, 5: a key that is not understood is passed over
        return None
    named = allowed if name is None else (_EDWARDS if name in _EDWARDS else {name})
    fitting = frozenset(alg for alg in allowed if alg in named and _fits(alg, key))
    return PublicKey(kid, fitting, key) if fitting else None


def _fits(algorithm: str, key: Key) -> bool:
    try:
        _model(algorithm).check_key(key)
    except Exception:  # noqa: BLE001 - each way of saying that it does not
        return False
    return True


class Keys:
    """The key set of one issuer.

    `cooldown`: seconds between two readings for the sake of unknown key ids.
    """

    def __init__(
        self,
        service: Service,
        algorithms: Collection[str],
        *,
        cooldown: float,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._service = service
        self._allowed = frozenset(algorithms)
        self._cooldown = cooldown
        self._monotonic = monotonic
        self._keys: Mapping[str, PublicKey] = {}
        self._tried = -float("inf")
        self._ended_well = False
        #: Seconds for which the latest key set may be kept.
        self.max_age = DEFAULT_AGE
        self._reading: SingleFlight[str, None] = SingleFlight()
        self._complaint = Complaint("the signing keys cannot be read")

    def __contains__(self, kid: str) -> bool:
        return kid in self._keys

    async def find(self, kid: str) -> PublicKey:
        """The key of that id, after a reading at most.

        Raises InvalidToken when there is none, Unavailable when the keys cannot be read.
        """
        key = self._keys.get(kid)
        if key is not None:
            return key
        under_way = "keys" in self._reading
        if under_way or self._monotonic() - self._tried >= self._cooldown:
            await self.refresh()
            key = self._keys.get(kid)
            if key is not None:
                return key
        if not self._ended_well:
            # A key that the service made meanwhile may be behind this.
            raise Unavailable("the signing keys could not be read")
        raise InvalidToken("unknown key id")

    async def refresh(self) -> bool:
        """Reads them, whoever asks meanwhile; the old ones stay when it fails: False."""
        await self._reading.run("keys", self._read)
        return self._ended_well

    async def _read(self) -> None:
        self._tried = self._monotonic()
        try:
            metadata = await self._service.metadata()
            reply = await self._service.fetch("GET", metadata.jwks_uri)
            keys = self._keys_in(reply.document())
        except Exception as error:  # noqa: BLE001 - whatever it is, the old keys stay
            self._ended_well = False
            self._service.forget_metadata()
            self._complaint.about(Fault.of(error))
            return
        self._keys = keys
        self._ended_well = True
        self.max_age = _age_of(reply.headers)
        self._complaint.settled()

    def _keys_in(self, document: Mapping[str, Any]) -> Mapping[str, PublicKey]:
        listed = document.get("keys")
        if not isinstance(listed, list):
            raise Fault("the key set has no keys")
        found: dict[str, PublicKey] = {}
        for jwk in listed[:MAX_KEYS]:
            key = read_key(jwk, self._allowed) if isinstance(jwk, dict) else None
            if key is not None:
                found.setdefault(key.kid, key)
        if not found:
            raise Fault("the key set has no key that can be used")
        return found

    async def keep(self) -> None:
        """Reads them anew for ever, a little before each `max-age` is over."""
        pause = self._cooldown
        while True:
            if self._ended_well:
                pause = self._cooldown
                await asyncio.sleep(self.max_age * 0.9)
            else:
                pause = min(pause * 2, LEAST_AGE)
                await asyncio.sleep(pause)
            await self.refresh()


def _age_of(headers: Mapping[str, str]) -> float:
    """Seconds that remain of `max-age` (RFC 9111, 4.2.3), within bounds."""
    found = _MAX_AGE.search(headers.get("cache-control", ""))
    if found is None:
        return DEFAULT_AGE
    spent = headers.get("age", "0")
    remaining = float(found[1]) - (float(spent) if spent.isdigit() else 0.0)
    return min(max(remaining, LEAST_AGE), GREATEST_AGE)
