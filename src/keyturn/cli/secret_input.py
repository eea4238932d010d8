"""Secrets from people and programs: asked for without echo, or read from stdin. Never arguments,
which everybody on the machine can read.
"""

import getpass
import sys
from collections.abc import Sequence

from .problems import ExitCode, Problem


def read(names: Sequence[str], *, from_stdin: bool) -> list[str]:
    """A secret for each of `names`. Raises Problem when there is none, or nobody to ask."""
    if from_stdin:
        given = [line.rstrip("\r\n") for line in sys.stdin.readlines(65_536)]
        if len(given) != len(names):
            what = "one line" if len(names) == 1 else f"{len(names)} lines"
            raise Problem(f"stdin must have {what}: {', '.join(names)}", ExitCode.USAGE)
        return given
    if not sys.stdin.isatty():
        raise Problem(
            f"nobody can be asked for: {', '.join(names)} (see --help for other ways)",
            ExitCode.USAGE,
        )
    return [getpass.getpass(f"{name}: ") for name in names]
