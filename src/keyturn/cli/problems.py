"""What goes wrong, told in one line on stderr, and the exit code it gets."""

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
    """A command cannot go on. Its text is one line that says what to do."""

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
    from ..server.domain.errors import Refusal, StorageNotReady, Unavailable
    from ..server.logs import redact
    from ..server.settings import SettingsError

    try:
        yield
    except Problem as error:
        line, code = str(error), error.code
    except SettingsError as error:
        # Its text holds no value, and its words ("…_SECRET: must …") would be masked.
        say(f"keyturn: {error}")
        raise typer.Exit(ExitCode.USAGE) from None
    except Refusal as error:
        line, code = error.public, ExitCode.FAILED
    except Unavailable as error:
        line, code = f"a store is unavailable: {error.detail}", ExitCode.UNAVAILABLE
    except StorageNotReady as error:
        line, code = str(error), ExitCode.FAILED
    except (ModuleNotFoundError, typer.Exit, typer.Abort, typer.TyperException):
        raise
    except Exception as error:  # noqa: BLE001 - the last resort: nothing unmasked gets out
        say(redact(traceback.format_exc(), 16_384))
        line, code = f"unexpected {type(error).__name__}: {error}", ExitCode.FAILED
    else:
        return
    say(f"keyturn: {' '.join(redact(line).split())}")
    raise typer.Exit(code)
