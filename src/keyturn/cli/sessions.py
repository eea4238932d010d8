"""`keyturn session …`"""

from typing import Annotated
from urllib.parse import quote

import typer

from . import names
from .api import Value
from .commands import Call, Limit, Yes, ask, group, verb
from .problems import ExitCode, Problem

app = group("session")

_COLUMNS = (
    *("id", "api_key_id", "tenant_id", "started_at", "last_used_at", "last_used_from"),
    *("live", "end_reason", "current"),
)

_User = Annotated[
    str | None, typer.Option("--user", help="Somebody else's: id, name or mail address.")
]
_Key = Annotated[
    str | None, typer.Option("--key", help="Of this API key, by id or name; never the key itself.")
]


@verb(app, "list")
def list_sessions(
    call: Call,
    user: _User = None,
    key: _Key = None,
    live: Annotated[
        bool, typer.Option("--live", help="Only those that can still be refreshed.")
    ] = False,
    limit: Limit = 1000,
) -> None:
    """List your sessions, or those of a user or a key here. Ended ones say why they ended.

    A session is listed from its first refresh on.

    Examples:
      keyturn session list
      keyturn session list --user ci-runner --live
      keyturn session list --key deploy
    """
    whose = _whose(call, user, key)
    path = "/sessions" if whose else "/users/me/sessions"
    params: dict[str, Value] = {**whose, "live": live or None}
    call.list(path, _COLUMNS, limit, params=params, own=not whose)


@verb(app, "end")
def end(
    call: Call,
    session: Annotated[str, typer.Argument(help="Id of the session.")],
    other: Annotated[
        bool, typer.Option("--other", help="Not yours, but that of a user here.")
    ] = False,
    yes: Yes = False,
) -> None:
    """End a session, with its tokens. The API key stays good.

    Examples:
      keyturn session end 01989e6c-0000-7000-8000-000000000001
      keyturn session end 01989e6c-0000-7000-8000-000000000001 --other --yes
    """
    ask(f"End the session {session!r}?", yes=yes)
    path = "/sessions" if other else "/users/me/sessions"
    call.send("DELETE", f"{path}/{quote(session, safe='')}", own=not other)


@verb(app, "end-all")
def end_all(
    call: Call,
    user: _User = None,
    key: _Key = None,
    everybody: Annotated[
        bool,
        typer.Option(
            "--everybody",
            help="All users at home in the tenant and below; in the root, all there are.",
        ),
    ] = False,
    yes: Yes = False,
) -> None:
    """End all sessions and tokens that there are by now: yours, a user's, a key's, everybody's.

    API keys stay good, and give new tokens. To end one of them, too: keyturn api-key revoke.

    Examples:
      keyturn session end-all
      keyturn session end-all --user ada@example.org
      keyturn session end-all --key deploy --yes
      keyturn session end-all --everybody --tenant acme
    """
    if everybody and (user or key):
        raise Problem("--everybody, --user and --key exclude each other", ExitCode.USAGE)
    what: dict[str, Value] = {"everything": True} if everybody else _whose(call, user, key)
    whose = "everybody" if everybody else user or key or "yourself"
    ask(f"End all sessions and tokens of {whose}?", yes=yes)
    if what:
        call.send("POST", "/revocations", body=what)
    else:
        call.send("DELETE", "/users/me/sessions", own=True)
    if everybody or not what:
        call.api.forget_token()


@verb(app, "end-token")
def end_token(
    call: Call,
    token_id: Annotated[str, typer.Argument(metavar="JTI", help="Its id, the claim jti.")],
    yes: Yes = False,
) -> None:
    """End one access token by its id. In the root tenant alone: nobody can tell whose it is.

    Example:
      keyturn session end-token 01989e6c-0000-7000-8000-000000000001 --tenant platform
    """
    ask(f"End the access token {token_id!r}?", yes=yes)
    call.send("POST", "/revocations", body={"token_id": token_id})


def _whose(call: Call, user: str | None, key: str | None) -> dict[str, Value]:
    """Whose sessions, if not the caller's own."""
    if user and key:
        raise Problem("--user and --key exclude each other", ExitCode.USAGE)
    if user:
        return {"user_id": names.user(call.api, call.tenant_id, user)}
    if key:
        return {"api_key_id": names.api_key(call.api, call.tenant_id, "/api-keys", key)}
    return {}
