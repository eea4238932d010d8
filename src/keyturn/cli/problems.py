"""What goes wrong, told in one line on stderr, and the exit code it gets."""

import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum

import typer


class ExitCode(IntEnum):
    """Stable: scripts may rely on them. `keyturn --help` lists them."""

    OK = 0
    FAILED = 1
    USAGE = 2
    UNAVAILABLE = 3


class Problem(Exception):
    """A command cannot go on. Its text is one line that says what to do, and holds no secret."""

    def __init__(self, line: str, code: ExitCode = ExitCode.FAILED) -> None:
        super().__init__(line)
        self.code = code


def say(line: str) -> None:
    """Prints one line to stderr, as it is: Rich would wrap and colour it."""
    print(line, file=sys.stderr, flush=True)


@contextmanager
def reported() -> Iterator[None]:
    """Turns what a command raises into one line on stderr and an exit code.

    Every command's body stands in it. An error nobody foresaw shows its traceback, too,
    with all secrets masked.
    """
    try:
        yield
    except Problem as error:
        _tell(str(error))
        raise typer.Exit(error.code) from None
    except BrokenPipeError:  # `keyturn … | head`: whoever read has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(ExitCode.FAILED) from None
    except (ModuleNotFoundError, typer.Exit, typer.Abort, typer.TyperException):
        raise
    except Exception as error:  # noqa: BLE001 - the last resort: nothing unmasked gets out
        raise typer.Exit(_explain(error)) from None


def _explain(error: Exception) -> ExitCode:
    """Tells of an error that is not a Problem: one of the server's, or an unforeseen one."""
    # Only now: commands that talk to a server elsewhere start without this one's code.
    from ..server.domain.errors import Refusal, StorageNotReady, Unavailable
    from ..server.logs import redact
    from ..server.settings import SettingsError

    match error:
        case SettingsError():
            # Its text holds no value, and its words ("…_SECRET: must …") would be masked.
            _tell(str(error))
            return ExitCode.USAGE
        case Refusal():
            line, code = error.public, ExitCode.FAILED
        case Unavailable():
            line, code = f"a store is unavailable: {error.detail}", ExitCode.UNAVAILABLE
        case StorageNotReady():
            line, code = str(error), ExitCode.FAILED
        case _:
            trace = "".join(traceback.format_exception(error))
            say(redact(trace, 16_384))
            line, code = f"unexpected {type(error).__name__}: {error}", ExitCode.FAILED
    _tell(redact(line))
    return code


def _tell(line: str) -> None:
    say(f"keyturn: {' '.join(line.split())}")
