"""Resource servers: for whom tokens can be asked."""

import shlex
from typing import get_args

from starlette.responses import Response

from ...domain.errors import Refusal
from ...http.management.resource_servers import Algorithm
from ..api import Document
from ..frame import View
from ..visit import Visit

_ALL = "/t/{tenant_id}/resource-servers"
_ONE = "/t/{tenant_id}/resource-servers/{resource_server_id}"

_ALGORITHMS = [(name, name) for name in get_args(Algorithm)]


def views() -> list[View]:
    """Their pages."""
    return [
        View("GET", _ALL, everyone, "listResourceServers"),
        View("GET", f"{_ALL}/new", ask_new, "createResourceServer"),
        View("POST", f"{_ALL}/new", create, "createResourceServer"),
        View("GET", _ONE, one, "getResourceServer"),
        View("GET", f"{_ONE}/edit", ask_edit, "changeResourceServer"),
        View("POST", f"{_ONE}/edit", edit, "changeResourceServer"),
        View("GET", f"{_ONE}/delete", ask_delete, "deleteResourceServer"),
        View("POST", f"{_ONE}/delete", delete, "deleteResourceServer"),
    ]


async def everyone(visit: Visit) -> Response:
    """Those that the tenant registered."""
    page = await visit.get("listResourceServers", query={"cursor": visit.asked("cursor")})
    return visit.render("resource_servers/all.html", page=page)


async def ask_new(visit: Visit) -> Response:
    """The form of a new one."""
    return visit.render("resource_servers/new.html", algorithms=_ALGORITHMS)


async def create(visit: Visit) -> Response:
    """Registers it."""
    body = {name: visit.form.text(name) for name in ("identifier", "name", "algorithm")}
    if not body["algorithm"]:
        del body["algorithm"]
    try:
        made = await visit.ask("createResourceServer", body=body, once=True)
    except Refusal as refusal:
        visit.refused(refusal)
        return visit.render("resource_servers/new.html", 400, algorithms=_ALGORITHMS)
    return visit.to(f"/resource-servers/{made.data['id']}", "resource-server-created")


async def one(visit: Visit) -> Response:
    """One, and how a token for it is asked for."""
    server = await _server(visit)
    # An identifier may hold what a shell would run.
    command = shlex.join(["keyturn", "token", "--resource", server["identifier"]])
    return visit.render("resource_servers/one.html", server=server, command=command)


async def ask_edit(visit: Visit) -> Response:
    """The form of its name and algorithm."""
    return await _edit_form(visit)


async def edit(visit: Visit) -> Response:
    """Changes them, unless somebody else did meanwhile."""
    form, server_id = visit.form, visit.path("resource_server_id")
    try:
        await visit.ask(
            "changeResourceServer",
            path={"resource_server_id": server_id},
            body={"name": form.text("name"), "algorithm": form.text("algorithm")},
            if_match=form.or_none("etag"),
        )
    except Refusal as refusal:
        visit.refused(refusal)
        return await _edit_form(visit, 400)
    return visit.to(f"/resource-servers/{server_id}", "saved")


async def ask_delete(visit: Visit) -> Response:
    """Asks, and says what becomes of tokens."""
    server = await _server(visit)
    at = f"/resource-servers/{server['id']}"
    return visit.confirm(
        f"Delete “{server['name']}”?",
        ends=[
            f"new tokens for {server['identifier']}: nobody gets one any more",
            "sessions for it: they get no token by a refresh any more",
        ],
        note="Access tokens that were given out stay good until they expire. Revoke keys or"
        " sessions to end those at once.",
        label="Delete",
        action=f"{at}/delete",
        back=at,
    )


async def delete(visit: Visit) -> Response:
    """Deletes it."""
    server_id = visit.path("resource_server_id")
    await visit.ask("deleteResourceServer", path={"resource_server_id": server_id})
    return visit.to("/resource-servers", "resource-server-deleted")


async def _server(visit: Visit) -> Document:
    server_id = visit.path("resource_server_id")
    return await visit.get("getResourceServer", resource_server_id=server_id)


async def _edit_form(visit: Visit, status: int = 200) -> Response:
    server_id = visit.path("resource_server_id")
    answer = await visit.ask("getResourceServer", path={"resource_server_id": server_id})
    return visit.render(
        "resource_servers/edit.html",
        status,
        server=answer.data,
        etag=answer.etag,
        algorithms=_ALGORITHMS,
    )
