"""`keyturn permission …`: what roles consist of."""

from typing import Annotated
from urllib.parse import quote

import typer

from .commands import Call, Limit, Yes, ask, group, verb

app = group("permission")

_FIELDS = ("name", "description", "tenant_id")

Permission = Annotated[str, typer.Argument(help="As in assets:write.")]


@verb(app, "list")
def list_permissions(call: Call, limit: Limit = 1000) -> None:
    """List the permissions known in the tenant: Keyturn's own, and those of catalogues.

    Example:
      keyturn permission list
    """
    call.list("/permissions", _FIELDS, limit)


@verb(app, "register")
def register(
    call: Call,
    permission: Permission,
    description: Annotated[str, typer.Option(help="What it opens.")] = "",
) -> None:
    """Make a permission known, or describe it anew.

    Example:
      keyturn permission register assets:write --description 'Make and change assets'
    """
    path = f"/permissions/{quote(permission, safe='')}"
    made = call.send("PUT", path, body={"description": description})
    call.show(made.entity, _FIELDS)


@verb(app, "delete")
def delete(call: Call, permission: Permission, yes: Yes = False) -> None:
    """Forget a permission that no role has.

    Example:
      keyturn permission delete assets:write --yes
    """
    ask(f"Delete the permission {permission!r}?", yes=yes)
    call.send("DELETE", f"/permissions/{quote(permission, safe='')}")
