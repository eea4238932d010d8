"""`keyturn secrets`: the master secret replaced, on the database itself."""

import json
from typing import TYPE_CHECKING, Annotated

import typer

from .commands import taught
from .problems import ExitCode, reported, say
from .store import ConfigOption

if TYPE_CHECKING:
    from ..server.services.master_secret import Dependence
    from ..server.settings import Settings

app = typer.Typer(
    name="secrets",
    help="What still depends on earlier master secrets; seal it anew.",
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def status(as_json: _Json = False, config: ConfigOption = None) -> None:
    """Say what depends on KEYTURN_PREVIOUS_MASTER_SECRETS still. Changes nothing.

    The exit code is 0 when nothing does, else 1.

    Example:
      keyturn secrets status
    """
    _run(rotate=False, as_json=as_json, config=config)


def rotate(as_json: _Json = False, config: ConfigOption = None) -> None:
    """Seal the signing keys under the newest master secret; then as `status`.

    Put the new secret into KEYTURN_MASTER_SECRET and the one before into
    KEYTURN_PREVIOUS_MASTER_SECRETS, on every node; then run this, as often as you like, while
    they serve. API keys move by themselves when they are used. The exit code is 0 when nothing
    depends on the previous secrets any more, else 1.

    Example:
      keyturn secrets rotate
    """
    _run(rotate=True, as_json=as_json, config=config)


app.command(help=taught(status))(status)
app.command(help=taught(rotate))(rotate)


def _run(*, rotate: bool, as_json: bool, config: ConfigOption) -> None:
    with reported():
        import asyncio

        from ..server.settings import load_settings

        settings = load_settings(config)
        found = asyncio.run(_asked(settings, rotate=rotate))
        if as_json:
            told = {
                "resealed": found.resealed,
                "signing_keys": found.signing_keys,
                "api_keys": found.api_keys,
                "kept_answers": found.kept_answers,
                "done": found.none,
            }
            print(json.dumps(told))
        else:
            _tell(found, settings.refresh_token_lifetime)
        raise typer.Exit(ExitCode.OK if found.none else ExitCode.FAILED)


async def _asked(settings: "Settings", *, rotate: bool) -> "Dependence":
    from ..server.parts import open_parts
    from ..server.services.master_secret import MasterSecretRotation

    async with open_parts(settings) as parts:
        work = MasterSecretRotation(parts.store, parts.sealer, parts.sealer.version)
        return await (work.rotate() if rotate else work.status())


def _tell(found: "Dependence", refresh_lifetime: int) -> None:
    if found.resealed:
        print(f"signing keys sealed anew        {found.resealed}")
    print("under earlier master secrets:")
    print(f"  signing keys                  {found.signing_keys}")
    print(f"  API keys, until used          {found.api_keys}")
    print(f"  kept answers, at most a day   {found.kept_answers}")
    if found.none:
        say(
            "keyturn: KEYTURN_PREVIOUS_MASTER_SECRETS may be dropped,"
            f" {refresh_lifetime} s after the last node began to use the new one"
            " (so long live refresh tokens)"
        )
    else:
        say("keyturn: KEYTURN_PREVIOUS_MASTER_SECRETS is needed still")
