"""What ids stand for, to who may know it."""

from collections.abc import Collection, Sequence

from ...domain.errors import Code, Refusal
from ..api import Document
from ..visit import Visit

#: Questions that one page asks for names, one by one: more are answered by lists, or by ids.
_ONE_BY_ONE = 10
#: Pages of 200 of the catalogue that are looked through for names.
_PAGES = 5


async def found(visit: Visit, operation_id: str, /, **path: str) -> Document:
    """What there is; an empty document for what is gone, elsewhere, or not the person's to see."""
    try:
        return (await visit.ask(operation_id, path=path)).data if visit.may(operation_id) else {}
    except Refusal as refusal:
        if refusal.code is not Code.NOT_FOUND:
            raise
        return {}


async def person(visit: Visit, user_id: str) -> Document:
    """A service user or a member of the tenant: `name`, `email`, `kind`."""
    there = await found(visit, "getServiceUser", user_id=user_id)
    return there or await found(visit, "getMember", user_id=user_id)


async def tenants(visit: Visit, tenant_ids: Collection[str]) -> dict[str, str]:
    """Names by id: the page's tenant, and those below it; the id itself where no name is known."""
    here = visit.tenant
    names = {tenant_id: tenant_id for tenant_id in tenant_ids}
    for tenant_id in sorted(names.keys() - {here.tenant_id})[:_ONE_BY_ONE]:
        tenant = await found(visit, "getTenant", tenant_id=tenant_id)
        names[tenant_id] = tenant.get("name", tenant_id)
    return names | {here.tenant_id: here.tenant_name}


async def endpoints(visit: Visit, endpoint_ids: Sequence[str]) -> dict[str, str]:
    """`GET /hosts/{id}` by id, in the order given; the id itself where it is not known."""
    names = {endpoint_id: endpoint_id for endpoint_id in endpoint_ids}
    if len(names) <= _ONE_BY_ONE:
        for endpoint_id in names:
            endpoint = await found(visit, "getEndpoint", endpoint_id=endpoint_id)
            if endpoint:
                names[endpoint_id] = called(endpoint)
        return names
    cursor = None
    for _ in range(_PAGES):
        query = {"limit": 200, "experimental": True, "cursor": cursor}
        page = await visit.get_if("searchEndpoints", query=query)
        for endpoint in page.get("items", ()):
            if endpoint["id"] in names:
                names[endpoint["id"]] = called(endpoint)
        cursor = page.get("next_cursor")
        if cursor is None:
            break
    return names


def called(endpoint: Document) -> str:
    """An endpoint's method and path."""
    return f"{endpoint['method']} {endpoint['path']}"
