"""Access tokens: JWTs of RFC 9068 (promise P2)."""

import base64
import binascii
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import orjson

from ..domain.errors import Refusal, bad_token
from ..domain.tokens import AccessToken, Acting, VerifiedToken
from ..services.ports import Clock
from ..services.ports.tokens import Examined, Signature
from ..spans import span
from .base64url import encode
from .claims import read
from .signing import Keyring

#: Longest token that is looked at, in bytes. Headers of 16 KiB and more fail elsewhere, too.
MAX_TEXT = 16_384
#: Most tokens whose signature is not checked again.
MOST_SEEN = 2_000


@dataclass(frozen=True, slots=True)
class Issuing:
    """What every token says alike. `claims_endpoint` serves callers with too many tenants,
    `verify_endpoint` those whose key lists too many endpoints.

    No token is accepted longer than `longest_life` seconds after it was issued: revocations are
    kept so long, and the lifetime may have been longer when it was. Nodes' clocks differ by
    `leeway` seconds.
    """

    issuer: str
    audience: str
    claims_endpoint: str
    verify_endpoint: str
    longest_life: int
    leeway: int


class AccessTokenSigner:
    """Signs and verifies access tokens (port `AccessTokens`)."""

    def __init__(self, keyring: Keyring, issuing: Issuing, clock: Clock) -> None:
        self._keyring = keyring
        self._issuing = issuing
        self._clock = clock
        # By the digests of their texts, the oldest first: tokens whose signature was right.
        self._seen: dict[bytes, AccessToken] = {}

    @property
    def keyring(self) -> Keyring:
        """The keys in force."""
        return self._keyring

    @keyring.setter
    def keyring(self, keyring: Keyring) -> None:
        self._keyring = keyring
        self._seen.clear()

    def sign(self, token: AccessToken, algorithm: str | None = None) -> str:
        """The token's text. Raises Unavailable while no key signs by `algorithm`."""
        key = self.keyring.signer_of(algorithm)
        signed = b"%b.%b" % (key.header.encode(), encode(orjson.dumps(self._claims(token))))
        with span(f"sign {key.algorithm}"):
            return (signed + b"." + encode(key.sign(signed))).decode()

    def verify(self, text: str, *, for_anyone: bool = False) -> VerifiedToken:
        """What a token signed here says. Raises Refusal `invalid_token`.

        `for_anyone`: whatever its audience. Else it must be for this service.

        A signature is checked once a token: it is most of the work, and stays right as long as
        its key is in force.
        """
        if len(text) > MAX_TEXT:
            raise bad_token("oversize")
        if not text.isascii():
            raise bad_token("not a compact JWS")
        digest = hashlib.sha256(text.encode()).digest()
        token = self._seen.get(digest)
        if token is None:
            token = self._signed_here(text)
            self._seen[digest] = token
            if len(self._seen) > MOST_SEEN:
                del self._seen[next(iter(self._seen))]
        if not for_anyone and token.audiences and self._issuing.audience not in token.audiences:
            raise bad_token("for another audience")
        now = self._clock().timestamp()
        if min(token.expires_at, token.issued_at + self._issuing.longest_life) <= now:
            raise bad_token("expired")
        if token.issued_at > now + self._issuing.leeway:
            raise bad_token("issued in the future")
        return VerifiedToken(token)

    def examine(self, text: str) -> Examined:
        """A key that is not published any more is unknown, as to every verifier."""
        header, payload, signature = text.split(".")
        key = self.keyring.by_header.get(header)
        if key is None:
            return Examined(Signature.UNKNOWN_KEY)
        try:
            good = key.verify(f"{header}.{payload}".encode(), _decode(signature))
        except Refusal:
            good = False
        if not good:
            return Examined(Signature.BAD)
        try:
            return Examined(Signature.GOOD, self._signed_here(text))
        except Refusal:  # a key may sign elsewhere, too, and other things
            return Examined(Signature.GOOD)

    def _signed_here(self, text: str) -> AccessToken:
        parts = text.split(".")
        if len(parts) != 3:
            raise bad_token("not a compact JWS")
        key = self.keyring.by_header.get(parts[0])
        if key is None:
            raise bad_token("not a header of ours")
        payload, signature = _decode(parts[1]), _decode(parts[2])
        if not key.verify(f"{parts[0]}.{parts[1]}".encode(), signature):
            raise bad_token("wrong signature")
        issuer, audiences, token = read(payload, key.kid)
        if issuer != self._issuing.issuer:
            raise bad_token("of another issuer")
        if audiences != (self._issuing.audience,):
            token = replace(token, audiences=audiences)
        return token

    def jwks(self) -> Mapping[str, object]:
        """The published keys (RFC 7517, 5)."""
        return self.keyring.jwks

    def _claims(self, token: AccessToken) -> dict[str, Any]:
        claims: dict[str, Any] = {
            "iss": self._issuing.issuer,
            "sub": token.user_id,
            "aud": self._audience(token),
            "client_id": token.key_id,
            "iat": token.issued_at,
            "exp": token.expires_at,
            "jti": token.jti,
            "sid": token.session_id,
            "epoch": token.epoch,
            "scope": " ".join(token.scope),
        }
        if token.roles is None or token.unlisted_endpoints:
            claims.update(self._elsewhere(token))
        if token.roles is None:
            pass
        elif token.tenant_id is not None:
            claims["tenant_id"] = token.tenant_id
            claims["roles"] = token.roles[token.tenant_id]
        else:
            claims["tenants"] = token.roles
        if token.endpoints is not None:
            claims["endpoints"] = token.endpoints
        if token.parents:
            claims["parents"] = token.parents
        if token.actor is not None:
            claims["act"] = _act(token.actor)
        return claims

    def _elsewhere(self, token: AccessToken) -> dict[str, Any]:
        """What the token is too small for, and where to ask with it (OIDC Core, 5.6.2)."""
        names, sources = {}, {}
        if token.roles is None:
            names["tenants"] = "me"
            sources["me"] = {"endpoint": self._issuing.claims_endpoint}
        if token.unlisted_endpoints:
            names["endpoints"] = "verify"
            sources["verify"] = {"endpoint": self._issuing.verify_endpoint}
        return {"_claim_names": names, "_claim_sources": sources}

    def _audience(self, token: AccessToken) -> str | tuple[str, ...]:
        """One audience stands by itself: not every reader knows lists (RFC 7519, 4.1.3)."""
        if not token.audiences:
            return self._issuing.audience
        return token.audiences if len(token.audiences) > 1 else token.audiences[0]


def _act(actor: Acting) -> dict[str, Any]:
    """RFC 8693, 4.1: who acts now, and inside who did before."""
    claim: dict[str, Any] = {
        "sub": actor.user_id,
        "client_id": actor.key_id,
        "epoch": actor.epoch,
    }
    if actor.session_id:
        claim["sid"] = actor.session_id
    if actor.before is not None:
        claim["act"] = _act(actor.before)
    return claim


def _decode(segment: str) -> bytes:
    """Strict base64url without padding (RFC 7515, 2)."""
    try:
        data = base64.b64decode(segment + "=" * (-len(segment) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise bad_token("not base64url") from None
    if encode(data) != segment.encode():
        raise bad_token("not base64url")
    return data
