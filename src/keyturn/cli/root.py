"""The commands, put together."""

from typing import Annotated

import typer

from . import version as versions
from .dev import dev
from .problems import ExitCode, say
from .serve import serve
from .settings import settings
from .store import bootstrap, migrate

_HELP = """Keyturn turns API keys into short-lived, tenant-scoped tokens.

Try it (SQLite, a demo tenant and a real API key, nothing to set up):

\b
    keyturn dev

Run it:

\b
    export KEYTURN_DATABASE_URL=postgresql://keyturn@db/keyturn
    export KEYTURN_MASTER_SECRET_FILE=/run/secrets/keyturn
    keyturn migrate
    keyturn bootstrap --username ada@example.com
    keyturn serve

\b
Exit codes:
    0  done
    1  refused or failed
    2  wrong usage or settings
    3  a store is unavailable
"""

app = typer.Typer(
    name="keyturn",
    help=_HELP,
    no_args_is_help=True,
    add_completion=False,
    # Without markup the examples keep their line breaks; a crash never shows local variables.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.command()
def version(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Print the version."""
    print(versions.text(as_json=as_json))


app.command()(dev)
app.command()(serve)
app.command()(migrate)
app.command()(bootstrap)
app.command()(settings)


def run(arguments: list[str]) -> int:
    """Runs one command line and answers its exit code."""
    try:
        result = app(arguments, prog_name="keyturn", standalone_mode=False)
    except typer.TyperException as error:  # wrong usage
        if message := " ".join(error.format_message().split()):
            if type(error).__name__ == "NoArgsIsHelpError":
                print(error.format_message())
            else:
                say(f"keyturn: {message} (see --help)")
        return error.exit_code
    except typer.Abort:
        return ExitCode.FAILED
    return result if isinstance(result, int) else ExitCode.OK
