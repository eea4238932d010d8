"""`keyturn resource-server …`: who takes tokens."""

from typing import Annotated

import typer

from . import names
from .commands import Call, Limit, Name, QuietId, Yes, ask, given, group, verb

app = group("resource-server")

_COLUMNS = ("id", "identifier", "name", "algorithm")
_FIELDS = (*_COLUMNS, "tenant_id", "created_at")

Server = Annotated[str, typer.Argument(help="Id, identifier or name.")]
Algorithm = Annotated[
    str | None, typer.Option(help="What signs tokens for it: ES256, RS256 or Ed25519.")
]


@verb(app, "list")
def list_servers(call: Call, limit: Limit = 1000) -> None:
    """List the resource servers that the tenant itself registered.

    Example:
      keyturn resource-server list
    """
    call.list("/resource-servers", _COLUMNS, limit)


@verb(app, "show")
def show(call: Call, server: Server) -> None:
    """Show a resource server of the tenant.

    Example:
      keyturn resource-server show https://assets.example
    """
    call.show(call.send("GET", _path(call, server)).entity, _FIELDS)


@verb(app, "create")
def create(
    call: Call,
    identifier: Annotated[str, typer.Argument(help="As in https://assets.example.")],
    name: Annotated[str, typer.Option(help="What it is called.")],
    algorithm: Algorithm = None,
    quiet: QuietId = False,
) -> None:
    """Register a resource server: its identifier is the `aud` of the tokens for it.

    Example:
      keyturn resource-server create https://assets.example --name Assets --algorithm RS256
    """
    body = given(identifier=identifier, name=name, algorithm=algorithm)
    made = call.send("POST", "/resource-servers", body=body, creates=True)
    call.show(made.entity, _FIELDS, quiet=quiet)


@verb(app, "edit")
def edit(call: Call, server: Server, name: Name = None, algorithm: Algorithm = None) -> None:
    """Change a resource server. A new algorithm signs new tokens; the identifier stays.

    Example:
      keyturn resource-server edit https://assets.example --algorithm ES256
    """
    body = given(name=name, algorithm=algorithm)
    call.show(call.send("PATCH", _path(call, server), body=body).entity, _FIELDS)


@verb(app, "delete")
def delete(call: Call, server: Server, yes: Yes = False) -> None:
    """Remove a resource server: nobody gets a token for it any more.

    Example:
      keyturn resource-server delete https://assets.example --yes
    """
    ask(f"Delete the resource server {server!r}?", yes=yes)
    call.send("DELETE", _path(call, server))


def _path(call: Call, server: str) -> str:
    return f"/resource-servers/{names.resource_server(call.api, call.tenant_id, server)}"
