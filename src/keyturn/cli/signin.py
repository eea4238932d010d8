"""`keyturn login`, `logout`, `whoami`, `token`, `password`: who one is to a service."""

import os
from collections.abc import Mapping
from contextlib import closing, suppress
from dataclasses import replace
from typing import Annotated
from urllib.parse import urlsplit

import typer

from . import names, profiles, secret_input, tables
from .answers import inner_list
from .api import Api
from .commands import Call, Limit, taught, verb
from .problems import ExitCode, Problem, reported, say
from .profiles import Profile

#: Tenants that a login lists.
_SHOWN = 20
_ROLES = ("tenant_name", "tenant_id", "role_name")

_Profile = Annotated[
    str, typer.Option("--profile", envvar=profiles.PROFILE, help="What to call this login.")
]


def login(
    url: Annotated[
        str | None,
        typer.Option(
            envvar=profiles.URL, help="Where the service answers; without a path, its /iam."
        ),
    ] = None,
    username: Annotated[str | None, typer.Option(envvar=profiles.USERNAME)] = None,
    tenant: Annotated[
        str | None,
        typer.Option(help="Tenant of commands that name none: id or name."),
    ] = None,
    api_key_stdin: Annotated[
        bool, typer.Option("--api-key-stdin", help="Read the API key from stdin.")
    ] = False,
    profile: _Profile = profiles.DEFAULT,
) -> None:
    r"""Keep who you are to a service, once it has been tried. Asks for your API key.

    The key comes from stdin (--api-key-stdin), from KEYTURN_API_KEY, or is asked for: never from an
    argument, which everybody on the machine could read. It is kept in
    ~/.config/keyturn/profiles.toml, which only you may read. In CI, set KEYTURN_URL,
    KEYTURN_USERNAME, KEYTURN_API_KEY and KEYTURN_TENANT instead: then nothing is written.

    Examples:
      keyturn login --url https://iam.example --username ada@example.org
      keyturn login --url https://iam.example --username ci@acme.service.keyturn.internal \
        --api-key-stdin --tenant acme --profile ci < key-file
    """
    with reported():
        before = profiles.known(profile)
        if before is not None:
            url, username = url or before.url, username or before.username
        if not url or not username:
            raise Problem("the first login takes --url and --username", ExitCode.USAGE)
        new = Profile(profile, profiles.base_url(url), username, _api_key(api_key_stdin))
        _warn_of_plain_http(new.url)
        profiles.forget_token(new)
        with closing(Api(new)) as api:
            me, _ = api.me()
            tenants = names.tenants_of(me)
            wanted = tenant or os.environ.get(profiles.TENANT)
            if wanted or len(tenants) == 1:
                new = replace(new, tenant=names.tenant_of_mine(api, wanted))
            profiles.keep(new)
        say(f"keyturn: logged in to {new.url} as {me['username']} ({new})")
        if new.tenant is None:
            _tell_tenants(tenants)
        _warn_of_environment(new)


def logout(
    profile: _Profile = profiles.DEFAULT,
) -> None:
    """Forget a login, and end its access token. The API key itself stays good.

    Examples:
      keyturn logout
      keyturn logout --profile ci
    """
    with reported():
        known = profiles.known(profile)
        if known is None:
            raise Problem(f"there is no profile {profile!r}")
        if token := profiles.kept_token(known):
            # It dies of itself within minutes: a service that is away stops nobody from leaving.
            with closing(Api(known)) as api, suppress(Problem):
                api.revoke(token)
        profiles.forget(known)
        say(f"keyturn: forgot {known}; to end its API key: keyturn api-key revoke")


def whoami(call: Call, limit: Limit = 1000) -> None:
    """Show who you are, and which roles you have in which tenants.

    Examples:
      keyturn whoami
      keyturn whoami --json
    """
    me, more = names.me(call.api, call.wanted_tenant, limit)
    if call.as_json:
        tables.show_json(me)
        return
    profile = call.api.profile
    tenant = _chosen(call.wanted_tenant, names.tenants_of(me), more=more)
    shown = {**me, "service": profile.url, "login": str(profile), "tenant": tenant}
    fields = ("username", "kind", "sub", "api_key_id", "service", "login", "tenant")
    tables.show_one(shown, fields, as_json=False)
    print()
    tables.show_list(inner_list(me, "roles"), more, _ROLES, as_json=False)


def token(
    tenant: Annotated[
        str | None, typer.Option(help="For this tenant alone: id or name. Without: for all.")
    ] = None,
    resource: Annotated[
        list[str] | None,
        typer.Option(
            metavar="IDENTIFIER",
            help="For this resource server; may be repeated. Without: for Keyturn itself.",
        ),
    ] = None,
    profile: Annotated[
        str | None, typer.Option(help="Name of the login (or KEYTURN_PROFILE).")
    ] = None,
) -> None:
    """Print an access token, good for a minute at least, and nothing else.

    Examples:
      curl -H "Authorization: Bearer $(keyturn token)" https://iam.example/iam/users/me
      TOKEN=$(keyturn token --tenant acme)
      TOKEN=$(keyturn token --resource https://assets.example)
    """
    with reported(), closing(Api(profiles.chosen(profile))) as api:
        print(api.token(tenant and names.tenant_of_mine(api, tenant), resource or ()))


def password(
    call: Call,
    stdin: Annotated[
        bool, typer.Option("--stdin", help="Read both from stdin, a line each.")
    ] = False,
) -> None:
    """Set or change your password, with which you accept invitations. Service users have none.

    Examples:
      keyturn password
      keyturn password --stdin < old-and-new
    """
    asked = ["Current password (empty: none yet)", "New password"]
    if not stdin:
        asked.append("New password again")
    current, new, *again = secret_input.read(asked, from_stdin=stdin)
    if again and again != [new]:
        raise Problem("the two new passwords differ")
    call.api.call("POST", "/users/me/password", body={"current": current or None, "new": new})


def _api_key(from_stdin: bool) -> str:
    key = os.environ.get(profiles.API_KEY)
    if from_stdin or not key:
        [key] = secret_input.read(["API key"], from_stdin=from_stdin)
    key = key.strip()
    if not key or not key.isascii() or not key.isprintable():
        raise Problem("that is no API key", ExitCode.USAGE)
    return key


def _warn_of_plain_http(url: str) -> None:
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme == "http" and not (
        host in ("localhost", "::1") or host.endswith(".localhost") or host.startswith("127.")
    ):
        say(f"keyturn: {parts.netloc} is spoken to in plain http: others may read the API key")


def _warn_of_environment(new: Profile) -> None:
    told = [name for name in (profiles.URL, profiles.USERNAME) if os.environ.get(name)]
    if told and not os.environ.get(profiles.PROFILE):
        say(
            f"keyturn: the environment ({', '.join(told)}) wins over {new} until it is unset: unset"
            f" {profiles.URL} {profiles.USERNAME} {profiles.API_KEY}"
        )


def _chosen(wanted: str | None, tenants: Mapping[str, str], *, more: bool) -> str | None:
    """The tenant of commands that name none, with its name, as far as the roles tell it."""
    found = names.called(tenants, wanted)
    if len(found) == 1 and (wanted or not more):
        return tables.with_name(found[0], tenants)
    return wanted if found or more or wanted is None else f"{wanted} (not among your tenants)"


def _tell_tenants(tenants: Mapping[str, str]) -> None:
    if not tenants:
        return
    say("You have roles in several tenants. Choose one: keyturn tenant use NAME, or --tenant NAME")
    for tenant_id, name in sorted(tenants.items(), key=lambda item: item[1])[:_SHOWN]:
        say(f"  {name}  {tenant_id}")
    if len(tenants) > _SHOWN:
        say("  … (keyturn whoami lists them all)")


def add_commands(app: typer.Typer, panel: str) -> None:
    """Adds the commands to the command line, below the heading `panel`."""
    for command in (login, logout, token):
        app.command(help=taught(command), rich_help_panel=panel)(command)
    verb(app, "whoami", bound=False, panel=panel)(whoami)
    verb(app, "password", bound=False, panel=panel)(password)
