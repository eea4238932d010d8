"""`keyturn recover`: a key for a person who lost every one."""

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from .problems import reported, say
from .store import ConfigOption, settings_of
from .values import seconds

if TYPE_CHECKING:
    from ..server.services.recovering import Recovered
    from ..server.settings import Settings


def recover(
    username: Annotated[
        str, typer.Option(help="The person, or an administrator of the root tenant.")
    ],
    expires_in: Annotated[
        int,
        typer.Option(
            "--expires-in", parser=seconds, metavar="DURATION", help="How long it is good."
        ),
    ] = "1d",  # type: ignore[assignment]
    second_factor: Annotated[
        bool,
        typer.Option("--second-factor", help="Remove the second factor: its generator is lost."),
    ] = False,
    password: Annotated[
        bool,
        typer.Option("--password", help="Remove the password: a new one is set with the key."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    config: ConfigOption = None,
) -> None:
    """Make a key for a person who lost every one; print it, once.

    For administrators whom nobody else can help, and for people who forgot their password. Run it
    where the service runs: it needs the database and the master secret. It gives nobody a role, and
    is written down in the audit trail. Whatever they are signed in with ends. Make a lasting key
    with it, and revoke what was lost.

    \b
    Examples:
      keyturn recover --username ada@example.org
      keyturn recover --username ada@example.org --expires-in 1h --json
      keyturn recover --username ada@example.org --password --second-factor
    """  # noqa: D301 - \b keeps the examples' lines
    with reported():
        import asyncio

        lasting = timedelta(seconds=expires_in)
        made = asyncio.run(
            _recovered(settings_of(config), username, lasting, second_factor, password)
        )
        if as_json:
            told = {
                "user_id": made.user.id,
                "username": made.user.username,
                "api_key_id": made.key.key_id,
                "api_key_name": made.name,
                "api_key": made.key.text,
                "sign_ins_ended": made.sign_ins,
                "second_factor_removed": made.second_factor,
                "password_removed": made.password,
            }
            print(json.dumps(told))
            return
        print(f"username  {made.user.username}")
        print(f"api key   {made.key.text}")
        if second_factor:
            say("The second factor is removed." if made.second_factor else "There was none.")
        if password:
            say(
                "The password is removed: set a new one at /console/first-password."
                if made.password
                else "There was no password."
            )
        say("Keep the key now: it is not shown again.")


async def _recovered(
    settings: "Settings",
    username: str,
    expires_in: timedelta,
    second_factor: bool,
    password: bool,
) -> "Recovered":
    from ..server.parts import open_parts
    from ..server.services.recovering import recover

    async with open_parts(settings) as parts:
        return await recover(
            parts.store,
            parts.key_format,
            settings.lifetimes,
            username=username,
            expires_in=expires_in,
            second_factor=second_factor,
            password=password,
        )
