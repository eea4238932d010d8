"""How long what failed is left alone: longer each time, until it works again.

Nothing here locks: whoever has one of these does.
"""

import copy
import random

from .errors import KeyturnError, Unavailable
from .steps import Moment

#: The first and the longest pause after a fault of the service without Retry-After; after a no of
#: it, which a mistyped key gets for ever; and between the tokens that one origin may cost. Seconds.
_AFTER_FAULT, _AFTER_NO, _BETWEEN_TOKENS = (0.2, 10.0), (1.0, 30.0), (1.0, 60.0)
#: Longest Retry-After that is kept to, in seconds.
_LONGEST_RETRY_AFTER = 60.0
_SPREAD = 0.75, 1.0
_MOST_ORIGINS = 64


class LastFailure:
    """Why there is no token, for all who ask before it makes sense to ask the service again."""

    def __init__(self) -> None:
        self._error: KeyturnError | None = None
        self._since = Moment(0, 0)
        self._pause, self._times = 0.0, 0

    def note(self, error: KeyturnError, now: Moment) -> None:
        """Begins a pause: as long as Retry-After says, or longer than the one before."""
        is_fault = isinstance(error, Unavailable)
        asked = error.retry_after if isinstance(error, Unavailable) else None
        grown = _grown(_AFTER_FAULT if is_fault else _AFTER_NO, self._times)
        self._pause = min(asked, _LONGEST_RETRY_AFTER) if asked else grown
        self._times += 1
        # A copy has no traceback, which would keep whatever the frames hold.
        self._error, self._since = copy.copy(error), now

    def again(self, now: Moment) -> KeyturnError | None:
        """The same error as a new object, with the seconds that are left; None after the pause."""
        error, age = self._error, self._since.age(now)
        if error is None or age >= self._pause:
            return None
        if isinstance(error, Unavailable):
            return type(error)(error.reason, max(error.retry_after or 0, self._pause) - age)
        return copy.copy(error)

    def clear(self) -> None:
        """It works again."""
        self._error, self._times = None, 0


class Refusers:
    """Which origins refused tokens lately, so that one which refuses all costs few of them."""

    def __init__(self) -> None:
        self._pauses: dict[str, tuple[Moment, float, int]] = {}

    def may_cost(self, origin: str, now: Moment) -> bool:
        """Whether a new token is got because this origin refused one; if so, a pause begins."""
        since, pause, times = self._pauses.get(origin, (now, 0.0, 0))
        if since.age(now) < pause:
            return False
        if origin not in self._pauses and len(self._pauses) >= _MOST_ORIGINS:
            del self._pauses[next(iter(self._pauses))]
        self._pauses[origin] = now, _grown(_BETWEEN_TOKENS, times), times + 1
        return True

    def clear(self, origin: str) -> None:
        """It took a token."""
        self._pauses.pop(origin, None)


def _grown(bounds: tuple[float, float], times: int) -> float:
    first, longest = bounds
    return min(longest, first * 2.0 ** min(times, 10)) * random.uniform(*_SPREAD)  # noqa: S311
