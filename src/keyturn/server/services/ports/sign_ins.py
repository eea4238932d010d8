"""Signing in to the console: sign-ins and second factors at rest, cookies, one-time codes."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from ...domain.model import KeyHash
from ...domain.records import transient
from ...domain.sign_ins import SecondFactor, SignIn


class SignIns(Protocol):
    """Sign-ins: keys that only the console can use. `ApiKeys` ends them, too."""

    async def add(self, sign_in: SignIn, cookie_hash: KeyHash) -> None: ...

    async def hold(self, user_id: str) -> int | None:
        """The user's epoch, which stays until this transaction ends; None: gone, or disabled."""
        ...

    async def live_of(self, user_id: str, now: datetime) -> tuple[SignIn, ...]:
        """A user's that are good still, the newest first."""
        ...

    async def forget_password(self, user_id: str) -> bool:
        """Who has none sets one with an API key. False when there was none."""
        ...


class SecondFactors(Protocol):
    """At most one a user."""

    async def get(self, user_id: str) -> SecondFactor | None: ...

    async def put(self, factor: SecondFactor) -> None:
        """Replaces the one before."""
        ...

    async def remove(self, user_id: str) -> bool:
        """False when there was none."""
        ...

    async def count_try(self, user_id: str, most: int) -> int | None:
        """Counts a code as wrong, until it is taken; how many in a row that are.

        None when they are `most` already, or there is no second factor.
        """
        ...

    async def take_step(self, user_id: str, step: int) -> bool:
        """Accepts the code of that step, once: False when it, or a later one, was accepted.

        None is wrong any more then.
        """
        ...

    async def take_code(self, user_id: str, code_hash: str) -> bool:
        """Accepts a recovery code, once: False when it is none that is left.

        None is wrong any more then.
        """
        ...

    async def replace_codes(self, user_id: str, hashes: Sequence[str]) -> bool:
        """False when there is no second factor."""
        ...

    async def all_after(self, user_id: str | None, limit: int) -> Sequence[SecondFactor]:
        """Some, by their users' ids, behind that one."""
        ...

    async def reseal(self, user_id: str, sealed: bytes) -> None:
        """The same secret, sealed anew."""
        ...


@transient
class PresentedCookie:
    """A cookie as it was presented: well-formed, nothing else known."""

    key_id: str
    epoch: int
    secret: str

    def __repr__(self) -> str:
        return f"PresentedCookie(key_id={self.key_id!r})"


@dataclass(frozen=True, slots=True)
class NewCookie:
    """A sign-in's cookie, just made. `text` is given to the browser and never stored."""

    key_id: str
    hash: KeyHash
    text: str = field(repr=False)


class ConsoleCookies(Protocol):
    """The text form of sign-ins' cookies, and their hashes."""

    def new(self, key_id: str, epoch: int) -> NewCookie: ...

    def parse(self, text: str) -> PresentedCookie | None:
        """None for anything that is not a cookie to the letter."""
        ...

    def matches(self, cookie: PresentedCookie, stored: KeyHash | None) -> bool:
        """In constant time; None, the hash of none, takes as long as any other."""
        ...

    def new_id(self) -> str:
        """A key id that is free."""
        ...

    def csrf(self, cookie: PresentedCookie) -> str:
        """What forms of that sign-in carry."""
        ...


class FactorSecrets(Protocol):
    """The secrets of second factors, sealed: who has the database alone makes no codes."""

    def seal(self, user_id: str, secret: str) -> bytes: ...

    def open(self, factor: SecondFactor) -> str | None:
        """None for what no master secret in force opens."""
        ...

    def resealed(self, factor: SecondFactor) -> bytes | None:
        """Sealed under the newest master secret; None when it is. Raises StorageNotReady."""
        ...


class OneTimeCodes(Protocol):
    """Codes of generators (RFC 6238: SHA-1, 6 digits, 30 seconds)."""

    def new_secret(self) -> str:
        """In base32, as generators take it."""
        ...

    def uri(self, secret: str, username: str) -> str:
        """What generators read as a picture (`otpauth:`)."""
        ...

    def step_of(self, secret: str, code: str, now: datetime) -> int | None:
        """The step that `code` is of: the present one, that before or that behind it."""
        ...
