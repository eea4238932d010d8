"""What is carried from one page to the next, sealed: the server keeps nothing of it."""

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping
from datetime import timedelta

from ..ports import AnswerSealer, Clock


class Steps:
    """Seals the state between two steps of one purpose; it is good for a while."""

    def __init__(
        self, sealer: AnswerSealer, clock: Clock, purpose: str, good_for: timedelta
    ) -> None:
        self._sealer = sealer
        self._clock = clock
        self._context = purpose.encode()
        self._good_for = good_for

    def seal(self, **state: str) -> str:
        """As a text that can stand in a form."""
        told = json.dumps({**state, "at": self._clock().timestamp()}).encode()
        return base64.urlsafe_b64encode(self._sealer.seal(told, self._context)).decode()

    def open(self, step: str) -> Mapping[str, str] | None:
        """None for what was not sealed here for this purpose, or too long ago."""
        try:
            sealed = base64.urlsafe_b64decode(step.encode("ascii"))
        except (UnicodeEncodeError, binascii.Error):
            return None
        opened = self._sealer.open(sealed, self._context)
        # Of what follows the padding, decoding takes no notice.
        if opened is None or base64.urlsafe_b64encode(sealed).decode() != step:
            return None
        state = json.loads(opened)
        age = self._clock().timestamp() - state.pop("at")
        return state if age < self._good_for.total_seconds() else None


def fingerprint(stored: str | None) -> str:
    """Which password it was: of its hash, which is salted."""
    return hashlib.sha256((stored or "").encode()).hexdigest()
