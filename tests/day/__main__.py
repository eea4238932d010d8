"""`python -m tests.day`: plays the day and prints its timeline; fails when an answer was wrong."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from .day import play
from .timeline import summary


def main() -> int:
    """Prints what happened."""
    with tempfile.TemporaryDirectory(prefix="keyturn-day-") as name:
        directory = Path(name)
        logs = directory / "logs"
        logs.mkdir()
        timeline = play(directory, logs, lambda line: print(line, flush=True))
    wrong = timeline.wrong()
    print(f"{summary(timeline.answers)}; answered wrongly: {len(wrong)}")
    for answer in wrong[:20]:
        print(
            f"  {answer.at - timeline.begun:.1f} s  {answer.call}: {answer.verdict}, {answer.said}"
        )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
