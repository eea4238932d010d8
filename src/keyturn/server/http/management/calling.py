"""`/endpoints/{endpoint_id}/callers`: who may call an endpoint."""

from typing import Any

from starlette.responses import Response

from ...services.callers import Needs
from ...services.management.calling import Calling, EndpointCaller
from ..fields import PageQuery
from ..operation import Call, Operation, listed, part


def calling_operations(calling: Calling) -> list[Operation]:
    """The operation on who may call."""

    async def callers(call: Call) -> Response:
        query = call.query(PageQuery)
        slice_ = part(query.limit, query.cursor)
        found = await calling.callers(call.tenant, call.path("endpoint_id"), slice_)
        roles = [
            {"id": role.id, "name": role.name, "tenant_id": role.tenant_id} for role in found.roles
        ]
        return listed(found.page, _view, roles=roles)

    reads, path = Needs("endpoints:read"), "/endpoints/{endpoint_id}/callers"
    return [Operation("listEndpointCallers", "GET", path, reads, callers, query=PageQuery)]


def _view(item: EndpointCaller) -> dict[str, Any]:
    user = item.user
    return {
        "user_id": user.id,
        "kind": user.kind,
        "name": user.display_name,
        "email": user.username,
        "roles": [
            {"tenant_id": tenant_id, "role_id": role.id, "role_name": role.name}
            for tenant_id, role in item.roles
        ],
        "keys": [{"id": key.id, "name": key.name} for key in item.keys],
        "more_keys": item.more_keys,
    }
