"""The commands, put together."""

import difflib
import importlib
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_group

from . import backup, bench, secrets, signin
from . import version as versions
from .dev import dev
from .doctor import doctor
from .groups import GROUPS
from .moving import migrate_store
from .problems import ExitCode, say
from .recover import recover
from .restored import restored
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

Manage it, from here or elsewhere:

\b
    keyturn login --url https://iam.example --username ada@example.com
    keyturn service-user create ci-runner --role editor --key first
    curl -H "Authorization: Bearer $(keyturn token)" …

\b
Exit codes:
    0  done
    1  refused or failed
    2  wrong usage or settings
    3  a store or the service is unavailable
"""

_RUN, _SIGN_IN, _MANAGE = "Run a service", "Sign in to one", "Manage it"


class _Commands(TyperGroup):
    """All commands: those below, and the groups, which are imported when they are used.

    Lists them under headings, which Typer does only with colours and boxes.
    """

    def list_commands(self, ctx: Any) -> list[str]:
        return [*super().list_commands(ctx), *GROUPS]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in GROUPS:
            return super().get_command(ctx, cmd_name)
        module = importlib.import_module(f".{GROUPS[cmd_name].module}", __package__)
        return get_group(module.app)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        # Typer suggests from its own commands, and does not know the groups.
        self.suggest_commands = False
        try:
            return super().resolve_command(ctx, args)
        except typer.TyperException as error:
            if near := difflib.get_close_matches(args[0], self.list_commands(ctx)):
                meant = ", ".join(map(repr, near))
                error.message = f"{error.message.rstrip('.')}. Did you mean {meant}?"
            raise

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        room = formatter.width - 6 - max(map(len, self.list_commands(ctx)))
        rows: dict[str, list[tuple[str, str]]] = {}
        for name, command in self.commands.items():
            heading = getattr(command, "rich_help_panel", None) or _RUN
            rows.setdefault(heading, []).append((name, command.get_short_help_str(room)))
        rows[_MANAGE] = [(name, group.text) for name, group in GROUPS.items()]
        for heading, listed in rows.items():
            with formatter.section(heading):
                formatter.write_dl(listed)


app = typer.Typer(
    name="keyturn",
    cls=_Commands,
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


for command in (dev, serve, migrate, bootstrap, settings, doctor, recover, restored):
    app.command()(command)
app.command("migrate-store")(migrate_store)
app.add_typer(secrets.app)
app.add_typer(backup.app)
bench.add_command(app, _RUN)
signin.add_commands(app, _SIGN_IN)


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
