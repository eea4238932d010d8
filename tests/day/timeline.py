"""What happened when: the day's acts, and the windows in which a 503 is allowed."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

#: How long a 503 may go on after a window's end (seconds): a call may wait for an answer so long.
AFTERMATH = 5.0


@dataclass(frozen=True, slots=True)
class Answer:
    """One call of a client, and what its answer was.

    `verdict`: `good`, `unavailable` (503 as it must be), `over` (what was issued before a restore
    is refused, as it must be), or `wrong`.
    """

    at: float
    call: str
    verdict: str
    seconds: float
    said: str = ""


@dataclass(slots=True)
class Window:
    """A stated time in which calls may be answered 503, and why."""

    why: str
    begun: float
    ended: float | None = None

    def covers(self, answer: Answer) -> bool:
        """Whether that call was under way in it."""
        end = time.monotonic() if self.ended is None else self.ended
        return answer.at + answer.seconds >= self.begun and answer.at <= end


@dataclass
class Timeline:
    """Lines with the time since the day's beginning, and what clients were answered meanwhile."""

    answers: Sequence[Answer]
    show: Callable[[str], None] = lambda line: print(line, file=sys.stderr, flush=True)
    windows: list[Window] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    begun: float = field(default_factory=time.monotonic)

    def say(self, text: str) -> None:
        """One line, now."""
        minutes, seconds = divmod(time.monotonic() - self.begun, 60)
        line = f"{int(minutes):02d}:{seconds:04.1f}  {text}"
        self.lines.append(line)
        self.show(line)

    @contextmanager
    def act(self, what: str) -> Iterator[None]:
        """A part of the day: what it is before it, what clients were answered after it."""
        self.say(what)
        mark, started = len(self.answers), time.monotonic()
        yield
        answers = self.answers[mark:]
        took = time.monotonic() - started
        self.say(f"    {took:.1f} s, {summary(answers)}")

    @contextmanager
    def window(self, why: str) -> Iterator[Window]:
        """In it, and for `AFTERMATH` after it, 503 is allowed."""
        window = Window(why, time.monotonic())
        self.windows.append(window)
        try:
            yield window
        finally:
            window.ended = time.monotonic() + AFTERMATH

    def wrong(self) -> list[Answer]:
        """All answers that should not have been, 503 outside of the windows among them."""
        return [
            answer
            for answer in self.answers
            if answer.verdict == "wrong"
            or (answer.verdict == "unavailable" and not self._excused(answer))
        ]

    def unavailable(self, window: Window) -> float:
        """Seconds from the first 503 of a window to the last; 0 without any."""
        times = [
            moment
            for answer in self.answers
            if answer.verdict == "unavailable" and window.covers(answer)
            for moment in (answer.at, answer.at + answer.seconds)
        ]
        return max(times) - min(times) if times else 0.0

    def _excused(self, answer: Answer) -> bool:
        return any(window.covers(answer) for window in self.windows)


def summary(answers: Sequence[Answer]) -> str:
    """How many answers of which verdict, and the slowest ones but one in a hundred."""
    if not answers:
        return "no calls"
    counts = Counter(answer.verdict for answer in answers)
    times = sorted(answer.seconds for answer in answers)
    p99 = times[min(len(times) - 1, len(times) * 99 // 100)]
    told = ", ".join(f"{counts[verdict]} {verdict}" for verdict in sorted(counts))
    return f"{len(answers)} calls: {told}; p99 {p99 * 1000:.0f} ms"
