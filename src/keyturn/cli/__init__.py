"""The command line. One file a command group.

Commands that run a service call its services, never SQL. Those that sign in to one and manage it
speak HTTP, and import nothing of the server.

This module imports nothing heavy: `keyturn version` answers at once, also from the light
package, which has neither Typer nor the server.
"""

import sys

from . import version

_MISSING = "keyturn: the package {missing!r} is missing: pip install 'keyturn[{extra}]'"
# What the command line needs for a service elsewhere, and commands that are the service's own.
_CLI = frozenset({"rich", "typer"})
_SERVICE = frozenset(
    {
        *("bootstrap", "dev", "migrate", "secrets", "serve", "settings"),
        *("backup", "doctor", "migrate-store", "recover", "restored"),
    }
)


def main() -> None:
    """The console script `keyturn`. Exits with a code of `problems.ExitCode`."""
    arguments = sys.argv[1:]
    # The one command that must be fast and work everywhere; Typer alone takes 0.3 s to import.
    if arguments in (["version"], ["--version"], ["version", "--json"]):
        print(version.text(as_json="--json" in arguments))
        return
    try:
        from .root import run

        sys.exit(run(arguments))
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing in ("", "keyturn"):
            raise
        served = missing not in _CLI or bool(_SERVICE.intersection(arguments))
        extra = "server" if served else "cli"
        print(_MISSING.format(missing=missing, extra=extra), file=sys.stderr)
        sys.exit(1)
