"""`keyturn session …`"""

import sys
from typing import Annotated
from urllib.parse import quote

import typer

from . import names, tables
from .answers import Refused, inner, inner_list
from .api import Value
from .commands import Call, Limit, Yes, ask, group, verb
from .problems import ExitCode, Problem, say

app = group("session")

_NOT_FOUND = 404
_COLUMNS = (
    *("id", "api_key_id", "tenant_id", "started_at", "last_used_at", "last_used_from"),
    *("live", "end_reason", "current"),
)

#: What a text is, and what became of it.
_SAID = ("kind", "signature", "header", "claims")
_STATE = ("active", "reasons", "email", "user_id", "api_key_id", "session_id", "expires_at")
#: Of a token, in characters.
_LONGEST = 16_384

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

    A session is listed from its first refresh on. What was not refreshed yet ends, too, with
    `keyturn session end-all`.

    Examples:
      keyturn session list
      keyturn session list --user ci-runner --live
      keyturn session list --key deploy
    """
    whose = _whose(call, user, key)
    path = "/sessions" if whose else "/users/me/sessions"
    params: dict[str, Value] = {**whose, "live": live or None}
    all_of = f" --user {user}" if user else f" --key {key}" if key else ""
    none = (
        "none: sessions are listed from their first refresh on; to end those before it, too:"
        f" keyturn session end-all{all_of}"
    )
    call.list(path, _COLUMNS, limit, params=params, own=not whose, none=none)


@verb(app, "end")
def end(
    call: Call,
    session: Annotated[str, typer.Argument(help="Id of the session.")],
    other: Annotated[
        bool, typer.Option("--other", help="That of a user here; do not look among yours.")
    ] = False,
    yes: Yes = False,
) -> None:
    """End a session, with its tokens. The API key stays good.

    Yours, or when you have no such session, that of a user in the chosen tenant.

    Examples:
      keyturn session end 01989e6c-0000-7000-8000-000000000001
      keyturn session end 01989e6c-0000-7000-8000-000000000001 --other --yes
    """
    ask(f"End the session {session!r}?", yes=yes)
    path = f"/sessions/{quote(session, safe='')}"
    if other or not _ended(call, f"/users/me{path}"):
        _end_of_others(call, session, path, looked_at_own=not other)
    say(f"keyturn: ended the session {session}, and its tokens")


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
    say(f"keyturn: ended all sessions and tokens of {whose} that there were until now")


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
    say(f"keyturn: ended the access token {token_id}")


@verb(app, "inspect")
def inspect(call: Call) -> None:
    """Say what a token or API key is, and what it is worth. Read from stdin; it is not used.

    Example:
      keyturn session inspect < token.txt
    """
    text = sys.stdin.read(_LONGEST).strip()
    if not text:
        raise Problem("stdin must have the token", ExitCode.USAGE)
    found = call.send("POST", "/tokens/inspect", body={"token": text}).entity
    if call.as_json:
        tables.show_json(found)
        return
    state = inner(found, "state")
    shown = {**{field: found.get(field) for field in _SAID}, **state, "kind": found.get("kind")}
    tables.show_one(shown, [field for field in (*_SAID, *_STATE) if field in shown], as_json=False)
    if may := inner_list(state, "may"):
        print()
        tables.show_list(
            may, False, ("tenant_id", "tenant_name", "roles", "permissions"), as_json=False
        )


def _ended(call: Call, path: str) -> bool:
    """Ends one of the caller's own, if there is such a session."""
    try:
        call.send("DELETE", path, own=True)
    except Refused as error:
        if error.status != _NOT_FOUND:
            raise
        return False
    return True


def _end_of_others(call: Call, session: str, path: str, *, looked_at_own: bool) -> None:
    mine = f"you have no session {session!r}" if looked_at_own else ""
    if looked_at_own and call.wanted_tenant is None:
        raise Problem(f"{mine}; if it is somebody else's, choose their tenant: --tenant NAME")
    try:
        call.send("DELETE", path)
    except Refused as error:
        if error.status == _NOT_FOUND:
            raise Problem(f"there is no session {session!r}, of yours or in this tenant") from None
        raise Problem(f"{mine}; for others': {error}" if mine else str(error)) from None


def _whose(call: Call, user: str | None, key: str | None) -> dict[str, Value]:
    """Whose sessions, if not the caller's own."""
    if user and key:
        raise Problem("--user and --key exclude each other", ExitCode.USAGE)
    if user:
        return {"user_id": names.user(call.api, call.tenant_id, user)}
    if key:
        return {"api_key_id": names.api_key(call.api, call.tenant_id, "/api-keys", key)}
    return {}
