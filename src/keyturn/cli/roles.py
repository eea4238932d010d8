"""`keyturn role …`: named sets of permissions."""

from typing import Annotated

import typer

from . import names
from .answers import Entity
from .commands import Call, Description, Limit, Name, QuietId, Yes, ask, given, group, verb
from .problems import ExitCode, Problem

app = group("role")

_COLUMNS = ("id", "name", "built_in", "permissions")
_FIELDS = ("id", "name", "description", "built_in", "tenant_id", "permissions")

Role = Annotated[str, typer.Argument(help="Id or name.")]


@verb(app, "list")
def list_roles(call: Call, limit: Limit = 1000) -> None:
    """List the roles that can be used in the tenant: built-in ones, its own, those from above.

    Examples:
      keyturn role list
      keyturn role list --tenant acme --json
    """
    call.list("/roles", _COLUMNS, limit)


@verb(app, "show")
def show(call: Call, role: Role) -> None:
    """Show a role.

    Example:
      keyturn role show operator
    """
    call.show(call.send("GET", _path(call, role)).entity, _FIELDS)


@verb(app, "create")
def create(
    call: Call,
    name: str,
    permission: Annotated[
        list[str],
        typer.Option(metavar="PERMISSION", help="What it permits; may be repeated."),
    ],
    description: Description = None,
    quiet: QuietId = False,
) -> None:
    """Make a role of any permissions that are known here and that you have yourself.

    Example:
      keyturn role create deployer --permission assets:read --permission assets:write
    """
    body = given(name=name, permissions=permission, description=description)
    call.show(call.send("POST", "/roles", body=body, creates=True).entity, _FIELDS, quiet=quiet)


@verb(app, "edit")
def edit(
    call: Call,
    role: Role,
    name: Name = None,
    description: Description = None,
    permission: Annotated[
        list[str] | None,
        typer.Option(metavar="PERMISSION", help="All it is to permit; may be repeated."),
    ] = None,
    add: Annotated[list[str] | None, typer.Option(metavar="PERMISSION", help="One more.")] = None,
    remove: Annotated[
        list[str] | None, typer.Option(metavar="PERMISSION", help="One less.")
    ] = None,
) -> None:
    """Change a role. Whoever has it can do more, or less, at once.

    Examples:
      keyturn role edit deployer --add assets:delete --remove assets:read
      keyturn role edit deployer --name release-engineer
    """
    if permission and (add or remove):
        raise Problem("--permission says all of them: not with --add or --remove", ExitCode.USAGE)
    path, etag = _path(call, role), None
    if add or remove:
        seen = call.send("GET", path)
        permission, etag = _edited(seen.entity, add or [], remove or []), seen.etag
    body = given(name=name, description=description, permissions=permission)
    call.show(call.send("PATCH", path, body=body, etag=etag).entity, _FIELDS)


@verb(app, "delete")
def delete(
    call: Call,
    role: Role,
    force: Annotated[bool, typer.Option("--force", help="Also when somebody has it.")] = False,
    yes: Yes = False,
) -> None:
    """Delete a role of the tenant.

    Example:
      keyturn role delete deployer --force --yes
    """
    ask(f"Delete the role {role!r}?", yes=yes)
    call.send("DELETE", _path(call, role), params={"force": force})


def _path(call: Call, role: str) -> str:
    return f"/roles/{names.role(call.api, call.tenant_id, role)}"


def _edited(role: Entity, add: list[str], remove: list[str]) -> list[str]:
    found = role.get("permissions")
    permissions = [str(name) for name in found] if isinstance(found, list) else []
    if missing := [name for name in remove if name not in permissions]:
        raise Problem(f"the role does not have {', '.join(missing)}")
    return sorted({*permissions, *add} - {*remove})
