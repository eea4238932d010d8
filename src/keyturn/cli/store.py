"""`keyturn migrate` and `keyturn bootstrap`: what is done once to a database."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import profiles
from .problems import reported, say

if TYPE_CHECKING:
    from ..server.services.bootstrap import Bootstrapped
    from ..server.settings import Settings

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", help="TOML file with settings (or set KEYTURN_CONFIG)."),
]


def settings_of(config: Path | None, **more: Any) -> "Settings":
    """The settings of this process, `more` as `load_settings` takes it. Raises SettingsError.

    Warns of variables that are none, in one line: a name mistyped would go unnoticed.
    """
    from ..server.settings import load_settings, open_to_all, unknown_variables

    if unknown := unknown_variables(profiles.VARIABLES):
        told = (
            name + (f" (did you mean {near}?)" if near else "") for name, near in unknown.items()
        )
        say(f"keyturn: not a setting, and ignored: {', '.join(told)}")
    if loose := open_to_all(config):
        names = ", ".join(loose)
        say(f"keyturn: everybody on this machine can read the file of {names}: chmod 600")
    return load_settings(config, **more)


def migrate(config: ConfigOption = None) -> None:
    """Bring the database's schema to this version. Safe to repeat.

    \b
    Example:
      KEYTURN_DATABASE_URL=postgresql://keyturn@db/keyturn keyturn migrate
    """  # noqa: D301 - \b keeps the examples' lines
    with reported():
        import asyncio

        from ..server.app import migrate

        settings = settings_of(config, require=("database_url",))
        before = asyncio.run(migrate(settings))
        say(f"keyturn: {_migrated(before)}")


def bootstrap(
    username: Annotated[str, typer.Option(help="The administrator's username.")],
    organisation: Annotated[
        str, typer.Option(help="Name of the root tenant, the platform itself.")
    ] = "platform",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    config: ConfigOption = None,
) -> None:
    """Make the first administrator and print its API key, once. Refuses a second time.

    \b
    Examples:
      keyturn bootstrap --username ada@example.com
      keyturn bootstrap --username ada@example.com --json > first-key.json
    """  # noqa: D301 - \b keeps the examples' lines
    with reported():
        import asyncio

        made = asyncio.run(_bootstrap(settings_of(config), username, organisation))
        if as_json:
            print(
                json.dumps(
                    {
                        "tenant_id": made.tenant.id,
                        "tenant_name": made.tenant.name,
                        "user_id": made.user.id,
                        "username": made.user.username,
                        "api_key": made.key.text,
                    }
                )
            )
            return
        print(f"tenant    {made.tenant.name} ({made.tenant.id})")
        print(f"username  {made.user.username}")
        print(f"api key   {made.key.text}")
        say("Keep the key now: it is not shown again.")
        say("It sets the password for the console: /console/first-password, where the service is.")


def _migrated(before: str | None) -> str:
    from ..server.storage import REVISIONS

    if before is None:
        return f"made a new schema in the database: {REVISIONS[-1]}"
    if before == REVISIONS[-1]:
        return f"nothing to do: the schema is {before} already"
    if before in REVISIONS:
        return f"brought the schema from {before} to {REVISIONS[-1]}"
    return f"nothing to do: the schema, {before}, is of a newer version than this one"


async def _bootstrap(settings: "Settings", username: str, organisation: str) -> "Bootstrapped":
    from ..server.parts import open_parts
    from ..server.services.bootstrap import bootstrap

    async with open_parts(settings) as parts:
        return await bootstrap(
            parts.store, parts.key_format, username=username, organisation=organisation
        )
