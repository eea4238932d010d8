"""What the services need of key material: text forms, hashes, seals, signatures, and the time."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from ...domain.model import KeyHash
from ...domain.records import transient
from ...domain.sessions import RefreshState
from ...domain.tokens import AccessToken, VerifiedToken


@transient
class PresentedKey:
    """An API key as it was presented: well-formed, its checksum right, nothing else known."""

    key_id: str
    secret: str
    #: What was worked out of it already, by the version of the pepper.
    digests: dict[int, bytes] = field(default_factory=dict, compare=False)

    def __repr__(self) -> str:
        return f"PresentedKey(key_id={self.key_id!r})"


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key just made. `text` is shown once and never stored."""

    key_id: str
    text: str
    hash: KeyHash

    def __repr__(self) -> str:
        return f"NewKey(key_id={self.key_id!r})"


class ApiKeyFormat(Protocol):
    """The text form of API keys and their hashes (promise P1)."""

    def new(self, key_id: str | None = None) -> NewKey:
        """A new key, or a new secret for the key of that id."""
        ...

    def parse(self, text: str) -> PresentedKey | None:
        """None for anything that is not a key to the letter; needs no database."""
        ...

    def matches(self, key: PresentedKey, stored: KeyHash) -> bool:
        """In constant time, whatever pepper version `stored` has."""
        ...

    def rehash(self, key: PresentedKey, stored: KeyHash) -> KeyHash | None:
        """The hash under the newest pepper; None when `stored` has it already."""
        ...


class RefreshTokens(Protocol):
    """Sealed refresh tokens (promise P3): equal states, equal tokens."""

    def seal(self, state: RefreshState) -> str: ...

    def open(self, text: str) -> RefreshState | None:
        """None for anything not sealed here. Does not look at its times."""
        ...


class Signature(StrEnum):
    """What is to be said of a signature."""

    GOOD = "good"
    BAD = "bad"
    UNKNOWN_KEY = "unknown_key"


@dataclass(frozen=True, slots=True)
class Examined:
    """A signature, and the token, when that is one of ours: it may be over for long."""

    signature: Signature
    token: AccessToken | None = None


class AccessTokens(Protocol):
    """Signs and verifies access tokens (promise P2)."""

    def sign(self, token: AccessToken, algorithm: str | None = None) -> str:
        """`algorithm` is what the token's audience wants; None: the setting's.

        Raises Unavailable while there is no key for it.
        """
        ...

    def verify(self, text: str, *, for_anyone: bool = False) -> VerifiedToken:
        """A token for this service; `for_anyone`: for whichever resource server.

        Raises Refusal `invalid_token`. Does not ask about revocation.
        """
        ...

    def examine(self, text: str) -> Examined:
        """Who signed a compact JWS of three parts, and what it says, whatever time it is."""
        ...

    def jwks(self) -> Mapping[str, object]: ...


class AnswerSealer(Protocol):
    """Seals answers that are kept for a repeated request: a new key's secret stands in them."""

    def seal(self, text: bytes, context: bytes) -> bytes: ...

    def open(self, sealed: bytes, context: bytes) -> bytes | None:
        """None for what was not sealed here, or for another context."""
        ...


class Passwords(Protocol):
    """Hashes of humans' passwords (argon2id, RFC 9106). `hash` and `verify` raise Unavailable when
    too many others are at work.
    """

    async def hash(self, password: str) -> str:
        """A PHC string. The password must be one that `check_password` let pass."""
        ...

    async def verify(self, password: str, stored: str | None) -> bool:
        """Takes as long for None (nobody has it) as for a hash; False for a malformed one."""
        ...

    def needs_rehash(self, stored: str) -> bool:
        """Whether to hash anew at the next login, since the cost was changed."""
        ...


class Clock(Protocol):
    """This process's time, for what a signature says."""

    def __call__(self) -> datetime: ...
