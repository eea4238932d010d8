"""`keyturn tenant …`"""

import os
import shlex
from dataclasses import replace
from enum import StrEnum
from typing import Annotated, Any

import typer

from . import names, profiles, tables
from .answers import Entity, inner
from .commands import Call, Limit, Name, QuietId, Yes, ask, group, verb
from .problems import ExitCode, Problem, say
from .values import NONE, duration, number_or_none, seconds_or_none

app = group("tenant")

_COLUMNS = ("id", "name", "parent_id", "suspended_at")
_FIELDS = ("id", "name", "parent_id", "created_at", "suspended_at")

_LIFETIMES = ("max_api_key_lifetime", "api_key_idle_timeout")

_TENANT = typer.Argument(help="Id or name, of the chosen tenant or one below it.")
Tenant = Annotated[str, _TENANT]


class Switch(StrEnum):
    """On, off, or as the tenants above say."""

    ON = "on"
    OFF = "off"
    NONE = "none"

    @property
    def meant(self) -> bool | None:
        """For the service."""
        return {"on": True, "off": False}.get(self)


class Offboarding(StrEnum):
    """What becomes of a departing person's service users and keys."""

    KEEP = "keep"
    DISABLE = "disable"
    DELETE = "delete"
    NONE = "none"


def _option(text: str) -> Any:
    return typer.Option(help=f"{text} Or none.")


def _duration(text: str) -> Any:
    return typer.Option(parser=seconds_or_none, metavar="DURATION", help=f"{text} Or none.")


def _number(text: str) -> Any:
    return typer.Option(parser=number_or_none, metavar="NUMBER", help=f"{text} Or none.")


_SINGLE = _option("Each new token of a user ends the one before. Default: off.")
_KEY_LIFE = _duration("API keys must expire within so long. Default: no limit.")
_KEY_IDLE = _duration("API keys end when unused for so long. Default: no limit.")
_ADMINISTER = _option("Service users may make users, invite and give roles. Default: off.")
_OFFBOARDING = _option(
    "What becomes of the service users and keys of a person who leaves. Default: keep."
)
_MAX_KEYS = _number("API keys at home in the tenant, at most; 0: no new ones. Default: 10000.")
_MAX_USERS = _number("Service users at home in it, at most; 0: no new ones. Default: 10000.")
_MAX_CHAIN = _number(
    "Who acts for a user of the tenant by token exchange, one behind the other, at most;"
    " 0: nobody. Default: 2."
)


@verb(app, "list")
def list_tenants(
    call: Call,
    below: Annotated[bool, typer.Option("--below", help="On all levels.")] = False,
    name: Name = None,
    limit: Limit = 1000,
) -> None:
    """List the tenants below the chosen one; --name takes how their names begin.

    Examples:
      keyturn tenant list
      keyturn tenant list --below --name ac --json
    """
    call.list("/tenants", _COLUMNS, limit, params={"below": below, "name": name})


@verb(app, "show")
def show(call: Call, tenant: Annotated[str | None, _TENANT] = None) -> None:
    """Show a tenant; without a name, the chosen one.

    Example:
      keyturn tenant show acme
    """
    call.show(call.send("GET", _path(call, tenant)).entity, _FIELDS)


@verb(app, "create")
def create(call: Call, name: str, quiet: QuietId = False) -> None:
    """Make a tenant right below the chosen one.

    Example:
      keyturn tenant create acme-staging --tenant acme
    """
    made = call.send("POST", "/tenants", body={"name": name}, creates=True)
    # It tells the tenants of the time it was issued: this one is to be chosen next, perhaps.
    call.api.forget_token()
    call.show(made.entity, _FIELDS, quiet=quiet)


@verb(app, "rename")
def rename(call: Call, tenant: Tenant, name: str) -> None:
    """Rename a tenant.

    Example:
      keyturn tenant rename acme-staging acme-test
    """
    call.show(call.send("PATCH", _path(call, tenant), body={"name": name}).entity, _FIELDS)


@verb(app, "delete")
def delete(call: Call, tenant: Tenant, yes: Yes = False) -> None:
    """Delete a tenant that is empty: none below it, nobody at home there.

    Example:
      keyturn tenant delete acme-test --yes
    """
    ask(f"Delete the tenant {tenant!r}?", yes=yes)
    call.send("DELETE", _path(call, tenant))


@verb(app, "suspend")
def suspend(call: Call, tenant: Tenant, yes: Yes = False) -> None:
    """Stop a tenant and all below it: tokens die at once, and none is given out.

    It is done from a tenant above, as is resuming: choose that one with --tenant PARENT.

    Example:
      keyturn tenant suspend acme-test --tenant acme
    """
    ask(f"Suspend the tenant {tenant!r} and all below it?", yes=yes)
    call.show(call.send("POST", f"{_path(call, tenant)}/suspend").entity, _FIELDS)


@verb(app, "resume")
def resume(call: Call, tenant: Tenant) -> None:
    """End a suspension.

    It is done from a tenant above, for nobody can choose one that is suspended: --tenant PARENT.

    Example:
      keyturn tenant resume acme-test --tenant acme
    """
    call.show(call.send("POST", f"{_path(call, tenant)}/resume").entity, _FIELDS)


@verb(app, "policy")
def policy(
    call: Call,
    tenant: Annotated[str | None, _TENANT] = None,
    single_token: Annotated[Switch | None, _SINGLE] = None,
    max_api_key_lifetime: Annotated[int | None, _KEY_LIFE] = None,
    api_key_idle_timeout: Annotated[int | None, _KEY_IDLE] = None,
    service_users_administer: Annotated[Switch | None, _ADMINISTER] = None,
    offboarding: Annotated[Offboarding | None, _OFFBOARDING] = None,
    max_api_keys: Annotated[int | None, _MAX_KEYS] = None,
    max_service_users: Annotated[int | None, _MAX_USERS] = None,
    max_delegations: Annotated[int | None, _MAX_CHAIN] = None,
) -> None:
    """Show a tenant's policy, or change what options say of it; without a name, the chosen one's.

    What the tenant leaves open (none) is as the tenants above have it; of theirs and its own, the
    stricter holds: it is shown as effective.

    Examples:
      keyturn tenant policy
      keyturn tenant policy acme --max-api-key-lifetime 90d --single-token on
      keyturn tenant policy acme --offboarding none
    """
    path = f"{_path(call, tenant)}/policy"
    seen = call.send("GET", path)
    said: dict[str, object] = {
        "single_token": single_token,
        "max_api_key_lifetime": max_api_key_lifetime,
        "api_key_idle_timeout": api_key_idle_timeout,
        "service_users_administer": service_users_administer,
        "offboarding": offboarding,
        "max_api_keys": max_api_keys,
        "max_service_users": max_service_users,
        "max_delegations": max_delegations,
    }
    changes = {name: _meant(value) for name, value in said.items() if value is not None}
    found = seen.entity
    if changes:
        # The whole policy is put: nobody else may have changed it since.
        body = {**inner(found, "policy"), **changes}
        found = call.send("PUT", path, body=body, etag=seen.etag).entity
    if call.as_json:
        tables.show_json(found)
        return
    own, effective = inner(found, "policy"), inner(found, "effective")
    rows = [
        {"setting": name, "here": _read(name, own), "effective": _read(name, effective)}
        for name in own
    ]
    tables.show_list(rows, False, ("setting", "here", "effective"), as_json=False)


@verb(app, "use", bound=False)
def use(call: Call, tenant: Annotated[str, typer.Argument(help="Id or name.")]) -> None:
    """Make a tenant the profile's: the one of every command that names no other.

    Example:
      keyturn tenant use acme
    """
    profile = call.api.profile
    if profile.name is None:
        raise Problem(
            "the environment says who you are, so it says the tenant, too: export"
            f" {profiles.TENANT}={shlex.quote(tenant)}, or to use a login instead: unset"
            f" {profiles.URL} {profiles.USERNAME} {profiles.API_KEY}",
            ExitCode.USAGE,
        )
    chosen = names.tenant_of_mine(call.api, tenant)
    me, _ = names.me(call.api, chosen)
    profiles.keep(replace(profile, tenant=chosen))
    say(f"keyturn: {profile} uses the tenant {tables.with_name(chosen, names.tenants_of(me))}")
    if os.environ.get(profiles.TENANT):
        say(f"keyturn: {profiles.TENANT} is set and comes before it: unset {profiles.TENANT}")


@verb(app, "leave", bound=False)
def leave(
    call: Call, tenant: Annotated[str, typer.Argument(help="Id or name.")], yes: Yes = False
) -> None:
    """Give up all your own roles in a tenant.

    Example:
      keyturn tenant leave acme
    """
    ask(f"Leave the tenant {tenant!r}?", yes=yes)
    call.api.call("DELETE", f"/users/me/memberships/{names.tenant_of_mine(call.api, tenant)}")


def _path(call: Call, tenant: str | None) -> str:
    chosen = call.tenant_id
    return f"/tenants/{chosen if tenant is None else names.tenant(call.api, chosen, tenant)}"


def _read(name: str, policy: Entity) -> object:
    """For people: lifetimes as they are given."""
    return duration(policy[name]) if name in _LIFETIMES else policy[name]


def _meant(value: object) -> object:
    """For the service: what was read as `none` is null."""
    if isinstance(value, Switch):
        return value.meant
    return None if value in (Offboarding.NONE, NONE) else value
