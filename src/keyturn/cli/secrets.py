"""`keyturn secrets`: the master secret replaced, on the database itself."""

import json
from typing import TYPE_CHECKING, Annotated

import typer

from .commands import taught
from .problems import ExitCode, reported, say
from .store import ConfigOption, settings_of

if TYPE_CHECKING:
    from ..server.services.master_secret import Dependence
    from ..server.services.ports import UnmovedKey
    from ..server.settings import Settings

app = typer.Typer(
    name="secrets",
    help="""What still depends on earlier master secrets; seal it anew.

\b
Examples:
  keyturn secrets status
  keyturn secrets rotate""",
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def status(as_json: _Json = False, config: ConfigOption = None) -> None:
    """Say what depends on other master secrets than the newest. Changes nothing.

    The newest is KEYTURN_MASTER_SECRET here; the fingerprint tells whether other nodes have the
    same. An API key moves when it is used next. Kept answers are those to requests with an
    Idempotency-Key, kept for a day at most. The exit code is 0 when nothing in the database needs
    another secret, else 1. While a new secret only stands in KEYTURN_PREVIOUS_MASTER_SECRETS, that
    is so as well: compare the fingerprint of the newest with the one that `rotate` showed.

    Examples:
      keyturn secrets status
      keyturn secrets status --json
    """
    _run(rotate=False, as_json=as_json, config=config)


def rotate(as_json: _Json = False, config: ConfigOption = None) -> None:
    """Seal the signing keys under the newest master secret; then as `status`.

    Put the new secret into KEYTURN_MASTER_SECRET and the one before into
    KEYTURN_PREVIOUS_MASTER_SECRETS, on every node; then run this, as often as you like, while
    they serve. API keys move by themselves when they are used. The exit code is 0 when nothing
    in the database needs another secret any more, else 1.

    Example:
      keyturn secrets rotate
    """
    _run(rotate=True, as_json=as_json, config=config)


app.command(help=taught(status))(status)
app.command(help=taught(rotate))(rotate)


def _run(*, rotate: bool, as_json: bool, config: ConfigOption) -> None:
    with reported():
        import asyncio

        settings = settings_of(config)
        found = asyncio.run(_asked(settings, rotate=rotate))
        if as_json:
            print(json.dumps(_told(found)))
        else:
            _tell(found)
            say(f"keyturn: {_verdict(found, settings.refresh_token_lifetime)}")
        raise typer.Exit(ExitCode.OK if found.none else ExitCode.FAILED)


async def _asked(settings: "Settings", *, rotate: bool) -> "Dependence":
    from ..server.parts import open_parts
    from ..server.services.master_secret import MasterSecretRotation
    from ..server.tokens.second_factors import SealedFactors
    from ..server.tokens.secrets import DerivedKeys
    from ..server.tokens.webhook_secrets import SealedWebhookSecrets

    async with open_parts(settings) as parts:
        secrets = SealedWebhookSecrets(DerivedKeys(parts.secrets, "webhooks", 64))
        factors = SealedFactors(DerivedKeys(parts.secrets, "second factors", 64))
        work = MasterSecretRotation(
            parts.store, parts.sealer, secrets, factors, parts.sealer.versions
        )
        return await (work.rotate() if rotate else work.status())


def _told(found: "Dependence") -> dict[str, object]:
    return {
        "newest": found.newest,
        "previous": found.previous,
        "resealed": found.resealed,
        "signing_keys": found.signing_keys,
        "webhooks": found.webhooks,
        "second_factors": found.second_factors,
        "api_keys": found.api_keys,
        "kept_answers": found.kept_answers,
        "missing": {"api_keys": found.lost_keys, "kept_answers": found.lost_answers},
        "unmoved_api_keys": [
            {"id": key.id, "username": key.username, "last_used_at": _used(key)}
            for key in found.unmoved
        ],
        "done": found.none,
    }


def _tell(found: "Dependence") -> None:
    print(f"newest secret, fingerprint      {found.newest}")
    print(f"previous secrets                {', '.join(found.previous) or 'none'}")
    if found.resealed:
        print(f"signing keys sealed anew        {found.resealed}")
    print("under other secrets than the newest:")
    print(f"  signing keys                  {found.signing_keys}")
    print(f"  webhooks                      {found.webhooks}")
    print(f"  second factors                {found.second_factors}")
    print(f"  API keys, until used          {found.api_keys}")
    for key in found.unmoved:
        print(f"    {key.id}  {key.username}  last used {_used(key) or 'never'}")
    if found.api_keys > len(found.unmoved):
        print(f"    … and {found.api_keys - len(found.unmoved)} more")
    print(f"  kept answers, at most a day   {found.kept_answers}")


def _verdict(found: "Dependence", refresh_lifetime: int) -> str:
    if found.lost_keys or found.lost_answers:
        lost = _amounts(("API keys", found.lost_keys), ("kept answers", found.lost_answers))
        return (
            f"a master secret is missing from the settings, which {lost} need: add it to"
            " KEYTURN_PREVIOUS_MASTER_SECRETS"
        )
    if not found.none:
        needing = _amounts(
            ("signing keys", found.signing_keys),
            ("webhooks", found.webhooks),
            ("second factors", found.second_factors),
            ("API keys", found.api_keys),
            ("kept answers", found.kept_answers),
        )
        return f"KEYTURN_PREVIOUS_MASTER_SECRETS is needed still, by {needing}"
    if not found.previous:
        return "no previous master secret is set, and nothing in the database needs one"
    # The database is the same before a new secret is the newest and after all has moved to it.
    return (
        f"nothing in the database needs {' or '.join(found.previous)}. If that is the secret which"
        f" is to replace {found.newest}, it is known here and not yet the newest: keep it, and make"
        f" it KEYTURN_MASTER_SECRET next. If {found.newest} has replaced it, on every node,"
        f" KEYTURN_PREVIOUS_MASTER_SECRETS may be dropped {refresh_lifetime} s later (so long live"
        " refresh tokens)"
    )


def _amounts(*amounts: tuple[str, int]) -> str:
    return ", ".join(f"{number} {what}" for what, number in amounts if number)


def _used(key: "UnmovedKey") -> str | None:
    return key.last_used_at.isoformat(timespec="seconds") if key.last_used_at else None
