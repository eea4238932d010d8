"""`keyturn endpoint …`"""

from typing import Annotated

import typer

from . import documents, names, tables
from .answers import Entity, inner_list
from .commands import Call, Limit, Name, QuietId, Yes, ask, given, group, verb

app = group("endpoint")


def _opened_by(endpoint: Entity) -> str:
    groups = endpoint.get("opened_by")
    said = [" + ".join(group) for group in (groups if isinstance(groups, list) else [])]
    return " or ".join(said)


def _marks(endpoint: Entity) -> list[str]:
    return [mark for mark in ("deprecated", "experimental", "administrative") if endpoint.get(mark)]


_OPENED_BY = ("opened by", _opened_by)
_COLUMNS = ("id", "service", "method", "path", "name", _OPENED_BY, ("marks", _marks))
_FIELDS = (
    *("id", "service", "method", "path", "name", _OPENED_BY, "listable"),
    *("deprecated", "experimental", "administrative", "tenant_id", "created_at", "updated_at"),
)

Endpoint = Annotated[str, typer.Argument(help="Id, or as in 'GET /hosts/{id}'.")]
Method = Annotated[str, typer.Argument(help="As in GET.")]
Path = Annotated[str, typer.Argument(help="As in /hosts/{id}.")]
Service = Annotated[str | None, typer.Option(help="Of this service alone.")]
OpenedBy = Annotated[
    list[str] | None,
    typer.Option(
        metavar="PERMISSIONS",
        help="Permissions that open it, by commas; repeated: any one of these sets does.",
    ),
]
Deprecated = Annotated[bool | None, typer.Option(help="Whether it will go away.")]
Experimental = Annotated[bool | None, typer.Option(help="Whether it may yet change.")]
Administrative = Annotated[
    bool | None, typer.Option(help="Whether it makes users, invites or changes roles.")
]


@verb(app, "list")
def list_endpoints(
    call: Call,
    search: Annotated[str, typer.Argument(help="What is in its name or path.")] = "",
    service: Service = None,
    deprecated: Annotated[bool | None, typer.Option(help="Only deprecated ones, or none.")] = None,
    experimental: Annotated[
        bool, typer.Option("--experimental", help="Experimental ones, too.")
    ] = False,
    limit: Limit = 1000,
) -> None:
    """Search the catalogue by name and path; parameters' names do not matter.

    Examples:
      keyturn endpoint list /hosts/:id/report
      keyturn endpoint list --service fleet --no-deprecated
    """
    params = {
        "q": search,
        "service": service,
        "deprecated": deprecated,
        "experimental": experimental,
    }
    call.list("/endpoints", _COLUMNS, limit, params=params)


@verb(app, "show")
def show(call: Call, endpoint: Endpoint) -> None:
    """Show an endpoint and what opens it.

    Example:
      keyturn endpoint show 'GET /hosts/{id}'
    """
    call.show(call.send("GET", _path(call, endpoint)).entity, _FIELDS)


@verb(app, "create")
def create(
    call: Call,
    method: Method,
    path: Path,
    service: Annotated[str, typer.Option(help="Whose it is.")],
    name: Annotated[str, typer.Option(help="What it does.")],
    opened_by: OpenedBy = None,
    deprecated: Deprecated = None,
    experimental: Experimental = None,
    administrative: Administrative = None,
    quiet: QuietId = False,
) -> None:
    r"""Register an endpoint by hand.

    Example:
      keyturn endpoint create GET '/hosts/{id}' --service fleet --name 'Read a host' \
        --opened-by hosts:read --opened-by hosts:write
    """
    body = given(
        service=service,
        method=method,
        path=path,
        name=name,
        opened_by=_groups(opened_by) or [],
        deprecated=deprecated,
        experimental=experimental,
        administrative=administrative,
    )
    made = call.send("POST", "/endpoints", body=body, creates=True)
    call.show(made.entity, _FIELDS, quiet=quiet)


@verb(app, "edit")
def edit(
    call: Call,
    endpoint: Endpoint,
    name: Name = None,
    opened_by: OpenedBy = None,
    deprecated: Deprecated = None,
    experimental: Experimental = None,
    administrative: Administrative = None,
) -> None:
    """Change an endpoint. What is not said stays.

    Example:
      keyturn endpoint edit 'GET /hosts/{id}' --opened-by hosts:read,hosts:list --deprecated
    """
    body = given(
        name=name,
        opened_by=_groups(opened_by),
        deprecated=deprecated,
        experimental=experimental,
        administrative=administrative,
    )
    call.show(call.send("PATCH", _path(call, endpoint), body=body).entity, _FIELDS)


@verb(app, "delete")
def delete(
    call: Call,
    endpoint: Endpoint,
    force: Annotated[bool, typer.Option("--force", help="Also when keys list it.")] = False,
    yes: Yes = False,
) -> None:
    """Remove an endpoint from the catalogue.

    Example:
      keyturn endpoint delete 'GET /hosts/{id}' --yes
    """
    ask(f"Delete the endpoint {endpoint!r}?", yes=yes)
    call.send("DELETE", _path(call, endpoint), params={"force": force})


@verb(app, "import")
def import_document(
    call: Call,
    source: Annotated[str, typer.Argument(metavar="FILE|URL", help="- is stdin.")],
    service: Annotated[str, typer.Option(help="Whose endpoints these are.")],
) -> None:
    """Take a service's endpoints over from its OpenAPI 3 document (JSON).

    Again, it updates them in place; those that the document lacks are marked deprecated.

    Examples:
      keyturn endpoint import openapi.json --service fleet
      curl -s https://fleet.example/openapi.json | keyturn endpoint import - --service fleet
    """
    body = {"service": service, "document": documents.read(source)}
    report = call.send("POST", "/endpoints/import", body=body).entity
    call.show(report, ("added", "updated", "unchanged", "deprecated", "warnings"))


@verb(app, "explain")
def explain(call: Call, method: Method, path: Path, service: Service = None) -> None:
    """Say which permissions and roles open a call, and which of your keys may make it.

    Example:
      keyturn endpoint explain GET /hosts/17/report
    """
    params = {"method": method, "path": path, "service": service}
    found = call.send("GET", "/endpoints/explain", params=params).entity
    if call.as_json:
        tables.show_json(found)
        return
    parts: list[tuple[str, tuple[tables.Column, ...]]] = [
        ("endpoints", ("service", "method", "path", _OPENED_BY)),
        ("roles", ("id", "name", "tenant_id")),
        ("your_keys", ("id", "name", "may", "why")),
    ]
    for number, (part, columns) in enumerate(parts):
        print(f"{'' if number == 0 else chr(10)}{part.replace('_', ' ')}:", flush=True)
        tables.show_list(inner_list(found, part), False, columns, as_json=False)


@verb(app, "callers")
def callers(call: Call, endpoint: Endpoint, limit: Limit = 1000) -> None:
    """List who may call an endpoint in the tenant, by which role and with which keys.

    Example:
      keyturn endpoint callers 'GET /hosts/{id}'
    """

    def roles(user: Entity) -> list[str]:
        return [str(role["role_name"]) for role in inner_list(user, "roles")]

    def keys(user: Entity) -> list[str]:
        return [str(key["name"]) for key in inner_list(user, "keys")]

    columns = ("user_id", "kind", "name", "email", ("roles", roles), ("keys", keys), "more_keys")
    call.list(f"{_path(call, endpoint)}/callers", columns, limit)


def _path(call: Call, endpoint: str) -> str:
    return f"/endpoints/{names.endpoint(call.api, call.tenant_id, endpoint)}"


def _groups(opened_by: list[str] | None) -> list[list[str]] | None:
    """Any of these sets, all of a set."""
    if not opened_by:
        return None
    return [[name.strip() for name in group.split(",")] for group in opened_by]
