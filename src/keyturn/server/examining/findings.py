"""What an examination finds: one line each."""

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at: what was seen, and what to do. Neither holds a secret."""

    check: str
    level: Level
    seen: str
    advice: str = ""


def ok(check: str, seen: str) -> Finding:
    """As it should be."""
    return Finding(check, Level.OK, seen)


def warning(check: str, seen: str, advice: str) -> Finding:
    """The service works, and will not for long, or not as well as it could."""
    return Finding(check, Level.WARNING, seen, advice)


def problem(check: str, seen: str, advice: str) -> Finding:
    """The service does not start, refuses what is good, or is not safe."""
    return Finding(check, Level.PROBLEM, seen, advice)


def counted(number: int, noun: str) -> str:
    """A number of what takes an s: `1 file`, `2 files`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
