"""Cookies of sign-ins to the console: `ktc_<key id>_<epoch>_<secret>`, made and compared.

They are hashed under a pepper of their own, over all that stands in them: a cookie is no API key,
an API key no cookie, and nobody raises the epoch in one.
"""

import hashlib
import hmac
import re
import secrets

from ..domain.ids import ID_LETTERS, SECRET_LETTERS, base62, uuid7_int
from ..domain.model import KeyHash
from ..services.ports import NewCookie, PresentedCookie
from .secrets import DerivedKeys

PREFIX = "ktc_"
# An epoch is below 2**63.
_COOKIE = re.compile(
    rf"{PREFIX}([0-9A-Za-z]{{{ID_LETTERS}}})_(0|[1-9][0-9]{{0,18}})_([0-9A-Za-z]{{{SECRET_LETTERS}}})",
    re.ASCII,
)
# Compared with where there is no hash, so that the answer takes as long.
_NO_HASH = KeyHash(bytes(32), 0)
_FORMS = b"keyturn console forms 1"


class ConsoleCookies:
    """Implements the port `ConsoleCookies`."""

    def __init__(self, peppers: DerivedKeys) -> None:
        """`peppers` of 32 bytes."""
        self._peppers = peppers

    def new_id(self) -> str:
        """As an API key's, which it must differ from: it is random."""
        return base62(uuid7_int(), ID_LETTERS)

    def new(self, key_id: str, epoch: int) -> NewCookie:
        """256 new random bits."""
        secret = base62(secrets.randbits(256), SECRET_LETTERS)
        cookie = PresentedCookie(key_id, epoch, secret)
        digest = _hashed(cookie, self._peppers.current)
        return NewCookie(key_id, KeyHash(digest, self._peppers.version), _text(cookie))

    def parse(self, text: str) -> PresentedCookie | None:
        """The cookie's parts, or None for anything but a cookie to the letter."""
        found = _COOKIE.fullmatch(text)
        return None if found is None else PresentedCookie(found[1], int(found[2]), found[3])

    def matches(self, cookie: PresentedCookie, stored: KeyHash | None) -> bool:
        """In constant time."""
        known = stored or _NO_HASH
        pepper = self._peppers.get(known.pepper_version)
        digest = _hashed(cookie, pepper or self._peppers.current)
        return hmac.compare_digest(digest, known.digest) and pepper is not None

    def csrf(self, cookie: PresentedCookie) -> str:
        """An HMAC under the cookie's secret, which only the browser has: it tells nothing of it."""
        return hmac.digest(cookie.secret.encode("ascii"), _FORMS, hashlib.sha256).hex()


def _text(cookie: PresentedCookie) -> str:
    return f"{PREFIX}{cookie.key_id}_{cookie.epoch}_{cookie.secret}"


def _hashed(cookie: PresentedCookie, pepper: bytes) -> bytes:
    return hmac.digest(pepper, _text(cookie).encode("ascii"), hashlib.sha256)
