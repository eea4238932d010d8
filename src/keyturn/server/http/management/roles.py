"""`/roles` and `/permissions`."""

from typing import Annotated, Any

from pydantic import Field
from starlette.responses import Response

from ...domain.model import Role
from ...services.callers import Needs
from ...services.management.permissions import KnownPermission, PermissionRegistry
from ...services.management.roles import NewRole, RoleEdit, RoleManagement
from ..fields import Body, Description, Name, PageQuery, PermissionName, Query
from ..operation import Call, Operation, done, listed, part, shown

#: More than a role may have, so that it is the service that says how many those are.
Permissions = Annotated[list[PermissionName], Field(max_length=1000)]


class NewRoleBody(Body):
    """A role to be made in the chosen tenant."""

    name: Name
    permissions: Permissions
    description: Description = ""


class RoleChange(Body):
    """What may be changed of a role."""

    name: Name = ""
    permissions: Permissions = Field(default_factory=list)
    description: Description = ""


class RoleDeletion(Query):
    """Whether a role that is in use is deleted, too."""

    force: bool = False


class PermissionDescription(Body):
    """What a permission opens."""

    description: Description


def role_operations(roles: RoleManagement, base: str) -> list[Operation]:
    """The operations on roles. `base` is what the answers' `href` begin with."""

    def view(role: Role) -> dict[str, Any]:
        return {
            "id": role.id,
            "href": f"{base}/roles/{role.id}",
            "name": role.name,
            "description": role.description,
            "permissions": sorted(role.permissions),
            "tenant_id": role.tenant_id,
            "built_in": role.tenant_id is None,
        }

    def created(role: Role) -> Response:
        body = view(role)
        return shown(body, version=role.version, status=201, at=body["href"])

    def entity(role: Role) -> Response:
        return shown(view(role), version=role.version)

    async def list_roles(call: Call) -> Response:
        query = call.query(PageQuery)
        return listed(await roles.usable(call.tenant, part(query.limit, query.cursor)), view)

    async def create(call: Call) -> Response:
        new = NewRole(**(await call.body(NewRoleBody)).model_dump())
        return created(await roles.create(call.tenant, new, call.once(created)))

    async def read(call: Call) -> Response:
        return entity(await roles.get(call.tenant, call.path("role_id")))

    async def change(call: Call) -> Response:
        edit = RoleEdit(**(await call.body(RoleChange)).given())
        return entity(await roles.edit(call.tenant, call.path("role_id"), edit, call.versions()))

    async def delete(call: Call) -> Response:
        force = call.query(RoleDeletion).force
        await roles.delete(call.tenant, call.path("role_id"), call.versions(), force=force)
        return done()

    reads, writes = Needs("roles:read"), Needs("roles:write", administers=True)
    one = "/roles/{role_id}"
    return [
        Operation("listRoles", "GET", "/roles", reads, list_roles, query=PageQuery),
        Operation("createRole", "POST", "/roles", writes, create, body=NewRoleBody, creates=True),
        Operation("getRole", "GET", one, reads, read),
        Operation("changeRole", "PATCH", one, writes, change, body=RoleChange),
        Operation("deleteRole", "DELETE", one, writes, delete, query=RoleDeletion),
    ]


def permission_operations(permissions: PermissionRegistry) -> list[Operation]:
    """The operations on permissions."""

    def view(permission: KnownPermission) -> dict[str, Any]:
        return {
            "name": permission.name,
            "description": permission.description,
            "tenant_id": permission.tenant_id,
        }

    async def list_permissions(call: Call) -> Response:
        query = call.query(PageQuery)
        return listed(await permissions.known(call.tenant, part(query.limit, query.cursor)), view)

    async def register(call: Call) -> Response:
        description = (await call.body(PermissionDescription)).description
        return shown(view(await permissions.register(call.tenant, call.path("name"), description)))

    async def delete(call: Call) -> Response:
        await permissions.delete(call.tenant, call.path("name"))
        return done()

    reads, writes = Needs("roles:read"), Needs("roles:write", administers=True)
    one = "/permissions/{name}"
    return [
        Operation(
            "listPermissions", "GET", "/permissions", reads, list_permissions, query=PageQuery
        ),
        Operation("registerPermission", "PUT", one, writes, register, body=PermissionDescription),
        Operation("deletePermission", "DELETE", one, writes, delete),
    ]
