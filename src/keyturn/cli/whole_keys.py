"""`keyturn api-key inspect`, `leaked`: about a whole key, without a login."""

from contextlib import closing
from typing import Annotated

import typer

from . import profiles, secret_input, tables
from .api import Api
from .commands import Yes, ask
from .problems import ExitCode, Problem, reported, say

_Stdin = Annotated[bool, typer.Option("--stdin", help="Read the key from stdin.")]
_Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def inspect(stdin: _Stdin = False, as_json: _Json = False) -> None:
    """Say whether a text is an API key, by its form and its checksum. Asks nobody.

    It says which key (the id is public), not whether it works. The exit code is 1 for what is none.

    Examples:
      keyturn api-key inspect
      keyturn api-key inspect --stdin --json < found.txt
    """
    with reported():
        key_id = _key_id(_asked(stdin))
        shown = {"api_key": key_id is not None, "id": key_id}
        if as_json:
            tables.show_json(shown)
        elif key_id is not None:
            print(key_id)
        if key_id is None:
            say("keyturn: that is no API key: its form or its checksum is wrong")
            raise typer.Exit(ExitCode.FAILED)


def leaked(
    url: Annotated[str, typer.Option(envvar=profiles.URL, help="Where the service answers.")],
    stdin: _Stdin = False,
    yes: Yes = False,
    as_json: _Json = False,
) -> None:
    """Revoke a whole API key that others may have, yours or one that you found. Asks for it.

    All sessions and tokens that it gave end with it, and the administrators of its tenant are told.
    To have it is enough: nothing else is asked, and nobody is told whether it worked before.

    Examples:
      keyturn api-key leaked --url https://iam.example
      keyturn api-key leaked --url https://iam.example --stdin --yes < found.txt
    """
    with reported():
        text = _asked(stdin)
        key_id = _key_id(text)
        if key_id is None:
            raise Problem("that is no API key: its form or its checksum is wrong")
        ask(f"Revoke the API key {key_id} at {url}, whoever needs it?", yes=yes)
        nobody = profiles.Profile(None, profiles.base_url(url), "", "")
        with closing(Api(nobody)) as api:
            api.revoke(text)
        if as_json:
            tables.show_json({"id": key_id})
        else:
            print(key_id)
        say(f"keyturn: {nobody.url} gives nothing for this key any more")


def _asked(stdin: bool) -> str:
    return secret_input.read(["API key"], from_stdin=stdin)[0].strip()


def _key_id(text: str) -> str | None:
    # Pure, and told in one place: what a key looks like.
    from ..server.domain.key_text import key_parts

    parts = key_parts(text)
    return None if parts is None else parts[0]
