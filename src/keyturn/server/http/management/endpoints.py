"""`/endpoints`: the catalogue, imports into it, and the explanation of a call."""

from dataclasses import asdict
from typing import Annotated, Any

from pydantic import AfterValidator, Field, StringConstraints
from pydantic_core import PydanticCustomError
from starlette.responses import Response

from ....paths import MAX_PATH
from ...domain.endpoints import MAX_OPENING, METHODS, Endpoint
from ...services.callers import Needs
from ...services.management.catalogue import (
    Catalogue,
    EndpointEdit,
    NewEndpoint,
    Wanted,
    opening_shown,
)
from ...services.management.explaining import Explaining, Verdict, Why
from ...services.management.imports import Imports
from ..fields import Body, Name, PageQuery, PermissionName, Query
from ..operation import Call, Operation, done, listed, part, shown

#: Bytes of an import: an OpenAPI document of a thousand operations has about one million.
MAX_IMPORT = 4 * 1024 * 1024


def _method(text: str) -> str:
    if text not in METHODS:
        raise PydanticCustomError("method", "must be a method, in capitals, as in GET")
    return text


Method = Annotated[str, StringConstraints(max_length=16), AfterValidator(_method)]
Path = Annotated[str, StringConstraints(min_length=1, max_length=MAX_PATH)]
Group = Annotated[list[PermissionName], Field(max_length=MAX_OPENING)]
OpenedBy = Annotated[list[Group], Field(max_length=MAX_OPENING)]


class NewEndpointBody(Body):
    """An endpoint to be registered in the chosen tenant."""

    service: Name
    method: Method
    path: Path
    name: Name
    opened_by: OpenedBy
    deprecated: bool = False
    experimental: bool = False
    administrative: bool = False


class EndpointChange(Body):
    """What may be changed of an endpoint."""

    name: Name = ""
    opened_by: OpenedBy = Field(default_factory=list)
    deprecated: bool = False
    experimental: bool = False
    administrative: bool = False


class Import(Body):
    """A service's OpenAPI document, as JSON."""

    service: Name
    document: dict[str, object]


class EndpointQuery(PageQuery):
    """Which endpoints."""

    q: Annotated[str, StringConstraints(max_length=MAX_PATH)] = ""
    service: Annotated[str, StringConstraints(max_length=128)] | None = None
    deprecated: bool | None = None
    experimental: bool = False


class EndpointDeletion(Query):
    """Whether an endpoint that keys list is deleted, too."""

    force: bool = False


class ExplainQuery(Query):
    """Which call."""

    method: Method
    path: Path
    service: Annotated[str, StringConstraints(max_length=128)] | None = None


def endpoint_operations(
    catalogue: Catalogue, imports: Imports, explaining: Explaining, base: str
) -> list[Operation]:
    """The operations on endpoints. `base` is what the answers' `href` begin with."""

    def view(endpoint: Endpoint) -> dict[str, Any]:
        return {
            "id": endpoint.id,
            "href": f"{base}/endpoints/{endpoint.id}",
            "service": endpoint.service,
            "method": endpoint.method,
            "path": endpoint.path,
            "name": endpoint.name,
            "opened_by": opening_shown(endpoint.opened_by),
            "listable": endpoint.listable,
            "deprecated": endpoint.deprecated,
            "experimental": endpoint.experimental,
            "administrative": endpoint.administrative,
            "tenant_id": endpoint.tenant_id,
            "created_at": endpoint.created_at,
            "updated_at": endpoint.updated_at,
        }

    def created(endpoint: Endpoint) -> Response:
        body = view(endpoint)
        return shown(body, version=endpoint.version, status=201, at=body["href"])

    def entity(endpoint: Endpoint) -> Response:
        return shown(view(endpoint), version=endpoint.version)

    async def search(call: Call) -> Response:
        query = call.query(EndpointQuery)
        wanted = Wanted(query.q, query.service, query.deprecated, query.experimental)
        found = await catalogue.search(call.tenant, wanted, part(query.limit, query.cursor))
        meta = {
            "count": found.count,
            "has_next_results": found.page.next is not None,
            "has_previous_results": found.has_previous,
        }
        return listed(found.page, view, meta=meta)

    async def register(call: Call) -> Response:
        new = NewEndpoint(**(await call.body(NewEndpointBody)).model_dump())
        return created(await catalogue.register(call.tenant, new, call.once(created)))

    async def read(call: Call) -> Response:
        return entity(await catalogue.get(call.tenant, call.path("endpoint_id")))

    async def change(call: Call) -> Response:
        edit = EndpointEdit(**(await call.body(EndpointChange)).given())
        return entity(
            await catalogue.edit(call.tenant, call.path("endpoint_id"), edit, call.versions())
        )

    async def delete(call: Call) -> Response:
        force = call.query(EndpointDeletion).force
        endpoint_id = call.path("endpoint_id")
        await catalogue.delete(call.tenant, endpoint_id, call.versions(), force=force)
        return done()

    async def import_document(call: Call) -> Response:
        body = await call.body(Import)
        return shown(asdict(await imports.take(call.tenant, body.service, body.document)))

    async def explain(call: Call) -> Response:
        query = call.query(ExplainQuery)
        explained = await explaining.explain(call.tenant, query.method, query.path, query.service)
        return shown(
            {
                "endpoints": [view(endpoint) for endpoint in explained.endpoints],
                "roles": [
                    {"id": role.id, "name": role.name, "tenant_id": role.tenant_id}
                    for role in explained.roles
                ],
                "your_keys": [_verdict(verdict) for verdict in explained.keys],
            }
        )

    reads, writes = Needs("endpoints:read"), Needs("endpoints:write")
    one = "/endpoints/{endpoint_id}"
    return [
        Operation("searchEndpoints", "GET", "/endpoints", reads, search, query=EndpointQuery),
        Operation(
            "registerEndpoint",
            "POST",
            "/endpoints",
            writes,
            register,
            body=NewEndpointBody,
            creates=True,
        ),
        # Before those with an id in the path, which would take the word for one.
        Operation(
            "importEndpoints",
            "POST",
            "/endpoints/import",
            writes,
            import_document,
            body=Import,
            max_body=MAX_IMPORT,
        ),
        Operation("explainCall", "GET", "/endpoints/explain", reads, explain, query=ExplainQuery),
        Operation("getEndpoint", "GET", one, reads, read),
        Operation("changeEndpoint", "PATCH", one, writes, change, body=EndpointChange),
        Operation("deleteEndpoint", "DELETE", one, writes, delete, query=EndpointDeletion),
    ]


def _verdict(verdict: Verdict) -> dict[str, Any]:
    return {
        "id": verdict.key.id,
        "name": verdict.key.name,
        "may": verdict.why is Why.OK,
        "why": verdict.why,
    }
