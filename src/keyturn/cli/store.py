"""`keyturn migrate` and `keyturn bootstrap`: what is done once to a database."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .problems import reported, say

if TYPE_CHECKING:
    from ..server.services.bootstrap import Bootstrapped
    from ..server.settings import Settings

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", help="TOML file with settings (or set KEYTURN_CONFIG)."),
]


def migrate(config: ConfigOption = None) -> None:
    """Bring the database's schema to this version. Safe to repeat.

    \b
    Example:
      KEYTURN_DATABASE_URL=postgresql://keyturn@db/keyturn keyturn migrate
    """  # noqa: D301 - \b keeps the examples' lines
    with reported():
        import asyncio

        from ..server.app import migrate
        from ..server.settings import load_settings

        asyncio.run(migrate(load_settings(config, require=("database_url",))))
        say("keyturn: the database has this version's schema")


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

        from ..server.settings import load_settings

        made = asyncio.run(_bootstrap(load_settings(config), username, organisation))
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


async def _bootstrap(settings: "Settings", username: str, organisation: str) -> "Bootstrapped":
    from ..server.parts import open_parts
    from ..server.services.bootstrap import bootstrap

    async with open_parts(settings) as parts:
        return await bootstrap(
            parts.store, parts.key_format, username=username, organisation=organisation
        )
