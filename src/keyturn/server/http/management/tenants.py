"""`/tenants`: the caller's tenant and those below it."""

from dataclasses import asdict
from typing import Annotated, Any

from pydantic import Field, StringConstraints
from starlette.responses import Response

from ...domain.model import Tenant
from ...domain.policy import Offboarding, Policy
from ...services.callers import Needs
from ...services.management.tenants import TenantManagement, TenantPolicy
from ..fields import Body, Name, PageQuery, Seconds
from ..operation import Call, Operation, done, listed, part, shown


class NewTenant(Body):
    """A tenant to be made below the chosen one."""

    name: Name


class TenantChange(Body):
    """What may be changed of a tenant."""

    name: Name


class TenantQuery(PageQuery):
    """Which tenants."""

    below: bool = False
    name: Annotated[str, StringConstraints(max_length=128)] = ""


Limit = Annotated[int, Field(ge=0, le=1_000_000)]


class NewPolicy(Body):
    """A tenant's policy. What is omitted or null is left to the tenants above."""

    single_token: bool | None = None
    max_api_key_lifetime: Seconds | None = None
    api_key_idle_timeout: Seconds | None = None
    service_users_administer: bool | None = None
    offboarding: Offboarding | None = None
    max_api_keys: Limit | None = None
    max_service_users: Limit | None = None
    max_delegations: Limit | None = None


def tenant_operations(tenants: TenantManagement, base: str) -> list[Operation]:
    """The operations on tenants. `base` is what the answers' `href` begin with."""

    def view(tenant: Tenant) -> dict[str, Any]:
        return {
            "id": tenant.id,
            "href": f"{base}/tenants/{tenant.id}",
            "name": tenant.name,
            "parent_id": tenant.parent_id,
            "created_at": tenant.created_at,
            "suspended_at": tenant.suspended_at,
        }

    def entity(tenant: Tenant) -> Response:
        return shown(view(tenant), version=tenant.version)

    def created(tenant: Tenant) -> Response:
        body = view(tenant)
        return shown(body, version=tenant.version, status=201, at=body["href"])

    def policy_entity(policy: TenantPolicy) -> Response:
        body = {
            "policy": asdict(policy.own),
            "effective": asdict(policy.effective),
            "settled_by": {
                rule: None if by is None else {"tenant_id": by.id, "tenant_name": by.name}
                for rule, by in policy.settled_by.items()
            },
        }
        return shown(body, version=policy.version)

    async def list_tenants(call: Call) -> Response:
        query = call.query(TenantQuery)
        page = await tenants.below(
            call.tenant, part(query.limit, query.cursor), all_levels=query.below, name=query.name
        )
        return listed(page, view)

    async def create(call: Call) -> Response:
        new = await call.body(NewTenant)
        return created(await tenants.create(call.tenant, new.name, call.once(created)))

    async def read(call: Call) -> Response:
        return entity(await tenants.get(call.tenant, call.path("tenant_id")))

    async def rename(call: Call) -> Response:
        change = await call.body(TenantChange)
        return entity(
            await tenants.rename(call.tenant, call.path("tenant_id"), change.name, call.versions())
        )

    async def suspend(call: Call) -> Response:
        return entity(await tenants.suspend(call.tenant, call.path("tenant_id")))

    async def resume(call: Call) -> Response:
        return entity(await tenants.resume(call.tenant, call.path("tenant_id")))

    async def delete(call: Call) -> Response:
        await tenants.delete(call.tenant, call.path("tenant_id"), call.versions())
        return done()

    async def policy(call: Call) -> Response:
        return policy_entity(await tenants.policy(call.tenant, call.path("tenant_id")))

    async def set_policy(call: Call) -> Response:
        new = await call.body(NewPolicy)
        return policy_entity(
            await tenants.set_policy(
                call.tenant,
                call.path("tenant_id"),
                Policy(**new.model_dump()),
                call.versions(),
            )
        )

    read_them, write_them = Needs("tenants:read"), Needs("tenants:write")
    # The policy says whether service users administer: they do not let themselves.
    settle = Needs("tenants:write", administers=True)
    one = "/tenants/{tenant_id}"
    return [
        Operation("listTenants", "GET", "/tenants", read_them, list_tenants, query=TenantQuery),
        Operation(
            "createTenant", "POST", "/tenants", write_them, create, body=NewTenant, creates=True
        ),
        Operation("getTenant", "GET", one, read_them, read),
        Operation("renameTenant", "PATCH", one, write_them, rename, body=TenantChange),
        Operation("deleteTenant", "DELETE", one, write_them, delete),
        Operation("suspendTenant", "POST", f"{one}/suspend", write_them, suspend),
        Operation("resumeTenant", "POST", f"{one}/resume", write_them, resume),
        Operation("getTenantPolicy", "GET", f"{one}/policy", read_them, policy),
        Operation("setTenantPolicy", "PUT", f"{one}/policy", settle, set_policy, body=NewPolicy),
    ]
