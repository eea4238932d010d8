"""`/resource-servers`."""

from typing import Any, Literal

from starlette.responses import Response

from ...domain.resource_servers import ResourceServer
from ...services.callers import Needs
from ...services.management.resource_servers import (
    NewResourceServer,
    ResourceServerEdit,
    ResourceServerManagement,
)
from ..fields import Body, Name, PageQuery
from ..operation import Call, Operation, done, listed, part, shown

# Defaults below are never used (`given`): what is left out is the setting's, or stays.
Algorithm = Literal["ES256", "RS256", "Ed25519"]


class NewResourceServerBody(Body):
    """A resource server to be registered in the chosen tenant."""

    identifier: str
    name: Name
    algorithm: Algorithm = "ES256"


class ResourceServerChange(Body):
    """What may be changed of a resource server."""

    name: Name = ""
    algorithm: Algorithm = "ES256"


def resource_server_operations(servers: ResourceServerManagement, base: str) -> list[Operation]:
    """The operations on resource servers. `base` is what the answers' `href` begin with."""

    def view(server: ResourceServer) -> dict[str, Any]:
        return {
            "id": server.id,
            "href": f"{base}/resource-servers/{server.id}",
            "identifier": server.identifier,
            "name": server.name,
            "algorithm": server.algorithm,
            "tenant_id": server.tenant_id,
            "created_at": server.created_at,
        }

    def created(server: ResourceServer) -> Response:
        body = view(server)
        return shown(body, version=server.version, status=201, at=body["href"])

    def entity(server: ResourceServer) -> Response:
        return shown(view(server), version=server.version)

    async def list_servers(call: Call) -> Response:
        query = call.query(PageQuery)
        return listed(await servers.own(call.tenant, part(query.limit, query.cursor)), view)

    async def create(call: Call) -> Response:
        new = NewResourceServer(**(await call.body(NewResourceServerBody)).given())
        return created(await servers.create(call.tenant, new, call.once(created)))

    async def read(call: Call) -> Response:
        return entity(await servers.get(call.tenant, call.path("resource_server_id")))

    async def change(call: Call) -> Response:
        edit = ResourceServerEdit(**(await call.body(ResourceServerChange)).given())
        server_id = call.path("resource_server_id")
        return entity(await servers.edit(call.tenant, server_id, edit, call.versions()))

    async def delete(call: Call) -> Response:
        await servers.delete(call.tenant, call.path("resource_server_id"), call.versions())
        return done()

    reads, writes = Needs("resource-servers:read"), Needs("resource-servers:write")
    whole, one = "/resource-servers", "/resource-servers/{resource_server_id}"
    body = NewResourceServerBody
    return [
        Operation("listResourceServers", "GET", whole, reads, list_servers, query=PageQuery),
        Operation("createResourceServer", "POST", whole, writes, create, body=body, creates=True),
        Operation("getResourceServer", "GET", one, reads, read),
        Operation("changeResourceServer", "PATCH", one, writes, change, body=ResourceServerChange),
        Operation("deleteResourceServer", "DELETE", one, writes, delete),
    ]
