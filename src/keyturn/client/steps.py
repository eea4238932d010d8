"""What is done, without doing it: generators that yield steps and get their outcomes.

`running` takes the steps, with threads or in an event loop. So everything is decided once.
"""

import random
import time
from collections.abc import Callable, Generator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any, TypeAlias, TypeVar
from urllib.parse import urlsplit

from .calls import Call
from .errors import KeyturnError, Throttled, Unavailable, UnexpectedAnswer, printable, refusal
from .tokens import object_of

T = TypeVar("T")

#: Longest time for a call with everything that is tried again, in seconds.
DEADLINE = 10.0
_AGAIN = frozenset({429, 502, 503, 504})
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 2.0
_LONGEST_RETRY_AFTER = 3600.0
_PROBLEM = "urn:keyturn:error:"


@dataclass(frozen=True, slots=True)
class Moment:
    """The same moment by two clocks, in seconds.

    The wall's may be set, the monotonic one may stand while the machine sleeps.
    """

    wall: float
    monotonic: float

    def age(self, now: "Moment") -> float:
        """How long ago it was, by the clock that went on further."""
        return max(now.wall - self.wall, now.monotonic - self.monotonic)


Clock = Callable[[], Moment]


def system_clock() -> Moment:
    """Now."""
    return Moment(time.time(), time.monotonic())


@dataclass(frozen=True, slots=True)
class Send:
    """Send a call. The outcome is an `Answer` or a `Fault`, within `seconds`."""

    call: Call
    seconds: float


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait. The outcome is None."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Wait:
    """Wait for what `leader`, a thread's id, brings about.

    The outcome is the future's, None after `seconds`, or a `Fault` when to wait would keep the
    leader from it: it is a task of the event loop in the very thread that waits.
    """

    landing: Future[Any]
    seconds: float
    leader: int


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. `headers` by lower-case name; `body` is None when it was too long."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class Fault:
    """Nothing came back; `reason` tells no secret."""

    reason: str


Step = Send | Pause | Wait
# What comes back depends on the step, which no type of a generator can say.
Steps: TypeAlias = Generator[Step, Any, T]


class Patience:
    """How long to go on trying: `seconds` from now on, a single try half of it at most."""

    def __init__(self, clock: Clock, seconds: float = DEADLINE) -> None:
        self.clock = clock
        self._each = seconds / 2
        self._ends = clock().monotonic + seconds

    @property
    def left(self) -> float:
        """Seconds that are left, 0 at least."""
        return max(0.0, self._ends - self.clock().monotonic)

    def for_one(self) -> float:
        """Seconds that the next try may take."""
        return min(self._each, self.left)


def answered(call: Call, patience: Patience) -> Steps[tuple[bytes, Moment]]:
    """Sends a call until it is answered: the body of a success, and when it was asked for.

    Faults of the connection, 429, 502, 503 and 504 are tried again as long as that fits, with
    growing pauses or after what Retry-After says. Raises KeyturnError.
    """
    pause = _FIRST_PAUSE
    while True:
        asked = patience.clock()
        outcome: Answer | Fault = yield Send(call, patience.for_one())
        fault = _fault_of(call, outcome, patience.clock())
        if fault is None:
            assert isinstance(outcome, Answer)  # noqa: S101 - a Fault is a fault
            return _success(call, outcome), asked
        wanted = max(fault.retry_after or 0, pause * random.uniform(0.5, 1))  # noqa: S311
        again = isinstance(outcome, Fault) or outcome.status in _AGAIN
        if not again or wanted >= patience.left:
            raise fault
        yield Pause(wanted)
        pause = min(2 * pause, _LONGEST_PAUSE)


def retry_after(headers: Mapping[str, str], now: Moment) -> float | None:
    """Seconds of Retry-After (RFC 9110, 10.2.3), an hour at most; None for none."""
    text = headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        return min(float(text[:9]), _LONGEST_RETRY_AFTER)
    try:
        seconds = parsedate_to_datetime(text).timestamp() - now.wall
    except (ValueError, OverflowError):
        return None
    return min(max(0.0, seconds), _LONGEST_RETRY_AFTER)


def _fault_of(call: Call, outcome: Answer | Fault, now: Moment) -> Unavailable | None:
    if isinstance(outcome, Fault):
        parts = urlsplit(call.url)
        where = printable(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}")
        return Unavailable(f"the token service at {where} cannot be reached: {outcome.reason}")
    wait = retry_after(outcome.headers, now)
    if outcome.status == 429:
        return Throttled("the token service has too many requests", wait)
    if outcome.status >= 500:
        return Unavailable(f"the token service has a fault (status {outcome.status})", wait)
    return None


def _success(call: Call, answer: Answer) -> bytes:
    if 300 <= answer.status < 400:
        # To follow it would carry the API key elsewhere.
        raise UnexpectedAnswer("the token service's URL leads elsewhere: set where it leads to")
    if answer.body is None:
        raise UnexpectedAnswer(f"the answer is longer than {call.max_answer} bytes")
    if 200 <= answer.status < 300:
        return answer.body
    raise _refused(call, answer.status, answer.body)


def _refused(call: Call, status: int, body: bytes) -> KeyturnError:
    try:
        given = object_of(body)
    except UnexpectedAnswer:
        given = {}
    code, description = given.get("error"), given.get("error_description")
    if not isinstance(code, str):  # RFC 9457
        kind, description = given.get("type"), given.get("detail")
        code = kind.removeprefix(_PROBLEM) if isinstance(kind, str) else None
    if not code or not 400 <= status < 500:
        return UnexpectedAnswer(f"no token service answered (status {status}): look at the URL")
    told = description if isinstance(description, str) else ""
    for secret in filter(None, call.secrets):
        code, told = code.replace(secret, "…"), told.replace(secret, "…")
    return refusal(code, told, status)
