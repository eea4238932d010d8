"""A token's text to its claims: by signature, issuer, audience, type and times, once a token.

What was checked is kept under a digest of the text, never the text itself.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Collection

from .errors import InvalidToken
from .jws import MAX_TEXT, claims_of, take_apart
from .keys import Keys
from .revocation import Presented
from .tokens import AccessToken, Malformed, read_claims


def digest_of(text: str) -> bytes:
    """What stands for a token's text. Raises InvalidToken for one that is too long or no text."""
    if len(text) > MAX_TEXT:
        raise InvalidToken("oversize")
    try:
        return hashlib.sha256(text.encode()).digest()
    except UnicodeEncodeError:
        raise InvalidToken("a lone surrogate") from None


class Checking:
    """Checks tokens of `issuer` for `audience`; keeps the `size` that were used last.

    `leeway` (seconds) is how far clocks may differ.
    """

    def __init__(
        self,
        keys: Keys,
        *,
        issuer: str,
        audience: str,
        algorithms: Collection[str],
        leeway: float,
        size: int,
        clock: Callable[[], float],
    ) -> None:
        self._keys = keys
        self._issuer = issuer
        self._audience = audience
        self._algorithms = frozenset(algorithms)
        self._leeway = leeway
        self._size = size
        self._clock = clock
        self._kept: OrderedDict[bytes, Presented] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    async def of(self, text: str) -> Presented:
        """The token, at once when it was checked before. Raises InvalidToken, Unavailable."""
        name = digest_of(text)
        known = self._kept.get(name)
        if known is not None:
            # A key that is published no more has its tokens judged anew: by nobody.
            if self._ends(known.token) > self._clock() and known.token.signed_by in self._keys:
                self._kept.move_to_end(name)
                return known
            del self._kept[name]
        presented = self._kept[name] = Presented.of(await self._checked(text))
        if len(self._kept) > self._size:
            self._kept.popitem(last=False)
        return presented

    def drop(self, text: str) -> None:
        """Forgets a token that is revoked, with all that is known of it."""
        self._kept.pop(digest_of(text), None)

    async def _checked(self, text: str) -> AccessToken:
        jws = take_apart(text, self._algorithms)
        key = await self._keys.find(jws.kid)
        if not key.verifies(jws.algorithm, jws.signed, jws.signature):
            raise InvalidToken("wrong signature")
        try:
            token = read_claims(claims_of(jws), jws.kid)
        except Malformed as error:
            raise InvalidToken(f"claim {error}") from None
        if token.issuer != self._issuer:
            raise InvalidToken("of another issuer")
        if self._audience not in token.audiences:
            raise InvalidToken("for another audience")
        now = self._clock()
        if self._ends(token) <= now:
            raise InvalidToken("expired")
        if max(token.issued_at, token.not_before) > now + self._leeway:
            raise InvalidToken("not valid yet")
        return token

    def _ends(self, token: AccessToken) -> float:
        return token.expires_at + self._leeway
