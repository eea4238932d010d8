"""`keyturn service-user …`"""

from typing import Annotated
from urllib.parse import quote

import typer

from . import names
from .answers import Entity, inner, inner_list
from .api_keys import Endpoints, Idle, Networks, endpoint_ids
from .commands import (
    Call,
    Description,
    ExpiresAt,
    ExpiresIn,
    Limit,
    Name,
    Search,
    Yes,
    ask,
    given,
    group,
    verb,
)
from .invitations import INVITATION_COLUMNS, Invitation
from .problems import ExitCode, Problem
from .tenants import Switch

app = group("service-user")

_COLUMNS = ("id", "name", "email", "home_tenant_id", "disabled_at")


def _roles(user: Entity) -> list[str]:
    return [f"{role['role_name']} in {role['tenant_id']}" for role in inner_list(user, "roles")]


_FIELDS = (
    "id",
    "name",
    "description",
    "email",
    "home_tenant_id",
    ("roles", _roles),
    "single_token",
    "created_at",
    "created_by",
    "disabled_at",
)

User = Annotated[str, typer.Argument(help="Id, name or mail address.")]


@verb(app, "list")
def list_service_users(
    call: Call,
    below: Annotated[
        bool, typer.Option("--below", help="Also those of the tenants below.")
    ] = False,
    search: Search = None,
    limit: Limit = 1000,
) -> None:
    """List the service users at home in the tenant.

    Examples:
      keyturn service-user list --below
      keyturn service-user list --search runner
    """
    call.list("/service-users", _COLUMNS, limit, params={"below": below, "query": search})


@verb(app, "show")
def show(call: Call, user: User) -> None:
    """Show a service user and all its roles.

    Example:
      keyturn service-user show ci-runner
    """
    call.show(call.send("GET", _path(call, user)).entity, _FIELDS)


@verb(app, "create")
def create(
    call: Call,
    name: str,
    description: Description = None,
    role: Annotated[
        str | None, typer.Option(help="Role in the tenant and all below it: id or name.")
    ] = None,
    membership: Annotated[
        list[str] | None,
        typer.Option("--in", metavar="TENANT=ROLE", help="Role in one tenant; may be repeated."),
    ] = None,
    key: Annotated[
        str | None, typer.Option("--key", help="Make an API key of this name, too.")
    ] = None,
    endpoint: Endpoints = None,
    network: Networks = None,
    expires_in: ExpiresIn = None,
    expires_at: ExpiresAt = None,
    idle: Idle = None,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print the key's secret, or else the id, alone.")
    ] = False,
) -> None:
    """Make a service user, with a role here or with roles in several tenants.

    With --key also its first API key, printed once; what narrows that key may be said, too.

    Examples:
      keyturn service-user create ci-runner --role operator
      keyturn service-user create sync --tenant platform --in acme=viewer --in globex=operator
      keyturn service-user create ci-runner --role operator --key first --expires-in 90d
    """
    narrowed = {
        "endpoint_ids": endpoint_ids(call, endpoint),
        "networks": network or None,
        "expires_in": expires_in,
        "expires_at": expires_at,
        "idle_timeout": idle,
    }
    if key is None and any(narrowed.values()):
        raise Problem("what narrows a key needs --key NAME, which makes one", ExitCode.USAGE)
    body = given(
        name=name,
        description=description,
        role_id=role and names.role(call.api, call.tenant_id, role),
        memberships=[_membership(call, text) for text in membership] if membership else None,
        api_key=key and given(name=key, **narrowed),
    )
    made = call.send("POST", "/service-users", body=body, creates=True).entity
    if key is None:
        call.show(made, _FIELDS, quiet=quiet)
        return
    if call.as_json:
        call.show_secret(made, "api_key", (), quiet=False)
        return
    shown = {**made, "secret": inner(made, "api_key").get("secret")}
    call.show_secret(shown, "secret", _FIELDS, quiet=quiet)


@verb(app, "edit")
def edit(
    call: Call,
    user: User,
    name: Name = None,
    description: Description = None,
    single_token: Annotated[
        Switch | None, typer.Option(help="A new token ends the one before; none: by the policy.")
    ] = None,
) -> None:
    """Change a service user.

    Example:
      keyturn service-user edit ci-runner --description 'Deploys' --single-token on
    """
    body: dict[str, object] = {} if single_token is None else {"single_token": single_token.meant}
    if name is not None or description is not None or not body:
        body |= given(name=name, description=description)
    call.show(call.send("PATCH", _path(call, user), body=body).entity, _FIELDS)


@verb(app, "delete")
def delete(call: Call, user: User, yes: Yes = False) -> None:
    """Delete a service user, its keys and its tokens, at once.

    Example:
      keyturn service-user delete ci-runner --yes
    """
    ask(f"Delete the service user {user!r} and its API keys?", yes=yes)
    call.send("DELETE", _path(call, user))


@verb(app, "disable")
def disable(call: Call, user: User) -> None:
    """Stop a service user: its keys and tokens work no more until it is enabled.

    Example:
      keyturn service-user disable ci-runner
    """
    call.show(call.send("POST", f"{_path(call, user)}/disable").entity, _FIELDS)


@verb(app, "enable")
def enable(call: Call, user: User) -> None:
    """Let a disabled service user work again.

    Example:
      keyturn service-user enable ci-runner
    """
    call.show(call.send("POST", f"{_path(call, user)}/enable").entity, _FIELDS)


@verb(app, "invitations")
def invitations(call: Call, user: User) -> None:
    """List what a service user is invited to in other tenants.

    Example:
      keyturn service-user invitations ci-runner
    """
    call.list_whole(f"{_path(call, user)}/invitations", INVITATION_COLUMNS)


@verb(app, "accept")
def accept(call: Call, user: User, invitation: Invitation) -> None:
    """Accept an invitation in a service user's name.

    Example:
      keyturn service-user accept ci-runner 01989e6c-0000-7000-8000-000000000001
    """
    _answer(call, user, invitation, "accepted")


@verb(app, "decline")
def decline(call: Call, user: User, invitation: Invitation) -> None:
    """Decline an invitation in a service user's name.

    Example:
      keyturn service-user decline ci-runner 01989e6c-0000-7000-8000-000000000001
    """
    _answer(call, user, invitation, "declined")


def _answer(call: Call, user: str, invitation: str, state: str) -> None:
    path = f"{_path(call, user)}/invitations/{quote(invitation, safe='')}"
    call.show(call.send("PATCH", path, body={"state": state}).entity, INVITATION_COLUMNS)


def _path(call: Call, user: str) -> str:
    return f"/service-users/{names.service_user(call.api, call.tenant_id, user)}"


def _membership(call: Call, text: str) -> dict[str, str]:
    tenant, equals, role = text.partition("=")
    if not (tenant and equals and role):
        raise Problem("--in takes TENANT=ROLE, as in acme=viewer", ExitCode.USAGE)
    tenant_id = names.tenant(call.api, call.tenant_id, tenant)
    return {"tenant_id": tenant_id, "role_id": names.role(call.api, tenant_id, role)}
