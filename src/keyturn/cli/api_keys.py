"""`keyturn api-key …`"""

from typing import Annotated

import typer

from . import names, whole_keys
from .answers import Entity, inner
from .commands import (
    Call,
    ExpiresAt,
    ExpiresIn,
    Limit,
    Name,
    QuietSecret,
    Yes,
    ask,
    given,
    group,
    taught,
    verb,
)
from .problems import ExitCode, Problem
from .values import ahead, duration, past, seconds

app = group("api-key")

_COLUMNS = ("id", "name", "user_id", "state", "expires_at", "last_used_at")
_LIMITS = (
    *("tenant_id", "role_ids", "endpoint_ids", "networks", "expires_at"),
    ("idle_timeout", lambda key: duration(key.get("idle_timeout"))),
)
KEY_FIELDS = ("id", "name", "user_id", "state", *_LIMITS)
_FIELDS = (
    *("id", "name", "user_id", "state", "reason", *_LIMITS, "created_at", "created_by"),
    *("rotated_at", "old_secret_until", "old_secret_ends_on_first_use", "revoked_at"),
    *("last_used_at", "last_used_from", "use_count"),
)

Key = Annotated[str, typer.Argument(help="Id or name of the key; never the key itself.")]
Mine = Annotated[bool, typer.Option("--mine", help="One of your own.")]
Roles = Annotated[
    list[str] | None,
    typer.Option("--role", metavar="ROLE", help="Only these of the user's roles; may be repeated."),
]
Endpoints = Annotated[
    list[str] | None,
    typer.Option(
        "--endpoint",
        metavar="ENDPOINT",
        help="Only these: id, or as in 'GET /hosts/{id}'; may be repeated.",
    ),
]
Networks = Annotated[
    list[str] | None,
    typer.Option(
        "--network", metavar="CIDR", help="Only from there, as in 10.0.0.0/8; may be repeated."
    ),
]
Idle = Annotated[
    int | None,
    typer.Option(
        "--idle", parser=seconds, metavar="DURATION", help="Ends when unused for so long: 30d."
    ),
]


def _live_sessions(key: Entity) -> object:
    live = inner(key, "live_sessions")
    return f"{live.get('count')} or more" if live.get("more") else live.get("count")


def endpoint_ids(call: Call, endpoints: list[str] | None) -> list[str] | None:
    """The ids of endpoints that were named; None when none was."""
    if not endpoints:
        return None
    return [names.endpoint(call.api, call.tenant_id, endpoint) for endpoint in endpoints]


def role_ids(call: Call, roles: list[str] | None) -> list[str] | None:
    """The ids of roles that were named; None when none was."""
    if not roles:
        return None
    return [names.role(call.api, call.tenant_id, role) for role in roles]


@verb(app, "list")
def list_keys(
    call: Call,
    user: Annotated[
        str | None, typer.Option(help="Of one service user: id, name or mail address.")
    ] = None,
    mine: Annotated[bool, typer.Option("--mine", help="Your own.")] = False,
    state: Annotated[
        str | None, typer.Option(help="In this state: active, expired, revoked, idle, …")
    ] = None,
    expires_in: Annotated[
        str | None,
        typer.Option(
            "--expires-in", parser=ahead, metavar="DURATION", help="Within so long, or over: 30d."
        ),
    ] = None,
    unused_for: Annotated[
        str | None,
        typer.Option("--unused-for", parser=past, metavar="DURATION", help="As in 90d."),
    ] = None,
    limit: Limit = 1000,
) -> None:
    """List keys, dead ones too: their state says why they do not work any more.

    Examples:
      keyturn api-key list --user ci-runner
      keyturn api-key list --mine
      keyturn api-key list --state active --expires-in 30d
      keyturn api-key list --unused-for 90d
    """
    wanted = {"state": state, "expires_before": expires_in, "unused_since": unused_for}
    if mine and (user or any(wanted.values())):
        raise Problem("--mine is about all of your keys, and nobody else's", ExitCode.USAGE)
    params = {
        "user_id": user and names.service_user(call.api, call.tenant_id, user),
        **wanted,
    }
    call.list(_all(mine), _COLUMNS, limit, params=params, own=mine)


@verb(app, "show")
def show(call: Call, key: Key, mine: Mine = False) -> None:
    """Show a key: what it may do, when it was used last, and why it does not work.

    Example:
      keyturn api-key show deploy
    """
    found = call.send("GET", _path(call, key, mine), own=mine).entity
    call.show(found, _FIELDS if mine else (*_FIELDS, ("live_sessions", _live_sessions)))


@verb(app, "create")
def create(
    call: Call,
    name: Annotated[str, typer.Option(help="What it is called.")],
    user: Annotated[
        str | None,
        typer.Option(help="Service user: id, name or mail address. Without: yourself."),
    ] = None,
    role: Roles = None,
    endpoint: Endpoints = None,
    network: Networks = None,
    only_in: Annotated[
        str | None, typer.Option(help="Works in this tenant only: id or name.")
    ] = None,
    expires_in: ExpiresIn = None,
    expires_at: ExpiresAt = None,
    idle: Idle = None,
    quiet: QuietSecret = False,
) -> None:
    r"""Make an API key and print it, once. It may do what its user may, or less.

    Examples:
      keyturn api-key create --name laptop --expires-in 90d
      keyturn api-key create --user ci-runner --name deploy --role operator --idle 30d \
        --endpoint 'POST /hosts/{id}/report' --network 10.0.0.0/8 --expires-in 90d
    """
    mine = user is None
    body = given(
        name=name,
        user_id=user and names.service_user(call.api, call.tenant_id, user),
        role_ids=role_ids(call, role),
        endpoint_ids=endpoint_ids(call, endpoint),
        networks=network or None,
        tenant_id=only_in and names.tenant_of_mine(call.api, only_in),
        expires_in=expires_in,
        expires_at=expires_at,
        idle_timeout=idle,
    )
    made = call.send("POST", _all(mine), body=body, creates=True, own=mine)
    call.show_secret(made.entity, "secret", KEY_FIELDS, quiet=quiet)


@verb(app, "edit")
def edit(
    call: Call,
    key: Key,
    name: Name = None,
    role: Roles = None,
    all_roles: Annotated[bool, typer.Option("--all-roles", help="All of the user's.")] = False,
    endpoint: Endpoints = None,
    all_endpoints: Annotated[bool, typer.Option("--all-endpoints", help="Any.")] = False,
    network: Networks = None,
    all_networks: Annotated[bool, typer.Option("--all-networks", help="Any.")] = False,
    mine: Mine = False,
) -> None:
    """Change a key's name, or what it is narrowed to. What is not said stays.

    Examples:
      keyturn api-key edit deploy --network 10.1.0.0/16 --network 10.2.0.0/16
      keyturn api-key edit deploy --all-endpoints
      keyturn api-key edit laptop --mine --name old-laptop
    """
    if (role and all_roles) or (endpoint and all_endpoints) or (network and all_networks):
        raise Problem("--all-… and a choice exclude each other", ExitCode.USAGE)
    opened = {"role_ids": all_roles, "endpoint_ids": all_endpoints, "networks": all_networks}
    nulls = {field: None for field, all_of_them in opened.items() if all_of_them}
    said = {
        "name": name,
        "role_ids": role_ids(call, role),
        "endpoint_ids": endpoint_ids(call, endpoint),
        "networks": network or None,
    }
    body = nulls if nulls and not any(said.values()) else {**given(**said), **nulls}
    call.show(call.send("PATCH", _path(call, key, mine), body=body, own=mine).entity, _FIELDS)


@verb(app, "rotate")
def rotate(
    call: Call,
    key: Key,
    overlap: Annotated[
        int | None,
        typer.Option(
            parser=seconds, metavar="DURATION", help="So long the old secret still works: 7d."
        ),
    ] = None,
    until_first_use: Annotated[
        bool, typer.Option("--until-first-use", help="The new one's first use ends the old one.")
    ] = False,
    end_sessions: Annotated[
        bool | None,
        typer.Option(
            "--end-sessions/--keep-sessions",
            help="Whether what the key gave ends. Unless said, when the old secret stops at once.",
        ),
    ] = None,
    mine: Mine = False,
    quiet: QuietSecret = False,
) -> None:
    """Give a key a new secret and print it, once. The old one stops at once, unless you say else.

    Then what the key gave until now ends, too: sessions, and its user's access tokens.

    Examples:
      keyturn api-key rotate deploy --overlap 7d
      keyturn api-key rotate deploy --until-first-use --quiet
      keyturn api-key rotate deploy --keep-sessions
    """
    body: dict[str, object] = {"ends_on_first_use": until_first_use}
    if overlap is not None:
        body["overlap_seconds"] = overlap
    if end_sessions is not None:
        body["end_sessions"] = end_sessions
    made = call.send("POST", f"{_path(call, key, mine)}/rotate", body=body, own=mine)
    fields = ("id", "name", "user_id", "rotated_at", "old_secret_until")
    call.show_secret(made.entity, "secret", fields, quiet=quiet)


@verb(app, "revoke")
def revoke(
    call: Call,
    key: Key,
    mine: Mine = False,
    even_this: Annotated[
        bool, typer.Option("--even-this", help="Also the one that you are logged in with.")
    ] = False,
    yes: Yes = False,
) -> None:
    """End a key, and all tokens that it gave. It stays listed.

    The key that you are logged in with takes --even-this, too, when nobody is asked. Log in with
    another one first: keyturn login.

    Examples:
      keyturn api-key revoke deploy --yes
      keyturn api-key revoke laptop --mine
    """
    path = _path(call, key, mine)
    profile = call.api.profile
    if path.endswith(f"/{profile.api_key_id}"):
        warning = (
            f"The API key {key!r} is the one that you are logged in with ({profile}): without it"
            " you cannot log in here any more."
        )
        if yes and not even_this:
            raise Problem(f"{warning} Add --even-this.", ExitCode.USAGE)
        ask(f"{warning} Revoke it?", yes=yes, hint="--yes --even-this")
    else:
        ask(f"Revoke the API key {key!r}?", yes=yes)
    made = call.send("POST", f"{path}/revoke", own=mine)
    call.show(made.entity, ("id", "name", "state", "reason", "revoked_at"))


for command in (whole_keys.inspect, whole_keys.leaked):
    app.command(command.__name__, help=taught(command))(command)


def _all(mine: bool) -> str:
    return "/users/me/api-keys" if mine else "/api-keys"


def _path(call: Call, key: str, mine: bool) -> str:
    tenant_id = None if mine else call.tenant_id
    return f"{_all(mine)}/{names.api_key(call.api, tenant_id, _all(mine), key)}"
