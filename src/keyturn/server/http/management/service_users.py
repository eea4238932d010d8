"""`/service-users`: programs' users, at home in the caller's tenant."""

from typing import Annotated, Any, cast

from pydantic import Field
from starlette.responses import Response

from ...domain.model import User
from ...services.callers import Needs
from ...services.management.service_users import (
    AtHome,
    ServiceUser,
    ServiceUserEdits,
    ServiceUserManagement,
    WantedServiceUser,
)
from ..fields import Body, Description, Id, Name, PageQuery
from ..operation import Call, Operation, done, listed, part, shown
from .api_keys import NewKeyBody, made_view


class NewMembership(Body):
    """A role in a tenant."""

    tenant_id: Id
    role_id: Id


class NewServiceUser(Body):
    """A service user to be made: with a role here, or with roles in a list of tenants (F1)."""

    name: Name
    description: Description = ""
    role_id: Id | None = None
    memberships: Annotated[tuple[NewMembership, ...], Field(min_length=1, max_length=50)] | None = (
        None
    )
    api_key: NewKeyBody | None = None

    def wanted(self) -> WantedServiceUser:
        """What the services are asked for."""
        listed_roles = None
        if self.memberships is not None:
            listed_roles = tuple((m.tenant_id, m.role_id) for m in self.memberships)
        return WantedServiceUser(
            self.name,
            self.description,
            role_id=self.role_id,
            memberships=listed_roles,
            key=None if self.api_key is None else self.api_key.wanted(),
        )


class ServiceUserChange(Body):
    """What may be changed of a service user. What is omitted stays."""

    name: Name = ""
    description: Description = ""
    single_token: bool | None = None


class ServiceUserQuery(PageQuery):
    """Which service users."""

    below: bool = False
    query: Name = ""


def service_user_operations(service_users: ServiceUserManagement, base: str) -> list[Operation]:
    """The operations on service users. `base` is what the answers' `href` begin with."""

    def item(user: User) -> dict[str, Any]:
        return {
            "id": user.id,
            "href": f"{base}/service-users/{user.id}",
            "kind": user.kind,
            "name": user.display_name,
            "description": user.description,
            "email": user.username,
            "home_tenant_id": user.home_tenant_id,
            "created_at": user.created_at,
            "created_by": user.created_by,
            "disabled_at": user.disabled_at,
            "single_token": user.single_token,
        }

    def at_home(found: AtHome) -> dict[str, Any]:
        return {**item(found.user), "home_tenant_name": found.tenant_name}

    def view(service_user: ServiceUser) -> dict[str, Any]:
        roles = [
            {"tenant_id": held.tenant_id, "role_id": role.id, "role_name": role.name}
            for held, role in service_user.roles
        ]
        shown_user = {**item(service_user.user), "roles": roles}
        if service_user.key is not None:
            shown_user["api_key"] = made_view(service_user.key, f"{base}/api-keys")
        return shown_user

    def entity(service_user: ServiceUser) -> Response:
        return shown(view(service_user), version=service_user.user.version)

    def created(made: ServiceUser) -> Response:
        body = view(made)
        return shown(body, version=made.user.version, status=201, at=body["href"])

    async def list_service_users(call: Call) -> Response:
        query = call.query(ServiceUserQuery)
        page = await service_users.service_users(
            call.tenant, part(query.limit, query.cursor), below=query.below, query=query.query
        )
        return listed(page, at_home)

    async def create(call: Call) -> Response:
        new = await call.body(NewServiceUser)
        return created(await service_users.create(call.tenant, new.wanted(), call.once(created)))

    async def read(call: Call) -> Response:
        return entity(await service_users.get(call.tenant, call.path("user_id")))

    async def edit(call: Call) -> Response:
        change = await call.body(ServiceUserChange)
        edits = cast(ServiceUserEdits, change.given())
        return entity(
            await service_users.edit(call.tenant, call.path("user_id"), edits, call.versions())
        )

    async def delete(call: Call) -> Response:
        await service_users.delete(call.tenant, call.path("user_id"), call.versions())
        return done()

    async def disable(call: Call) -> Response:
        return entity(await service_users.disable(call.tenant, call.path("user_id")))

    async def enable(call: Call) -> Response:
        return entity(await service_users.enable(call.tenant, call.path("user_id")))

    read_them, write_them = Needs("users:read"), Needs("users:write", administers=True)
    everyone, one = "/service-users", "/service-users/{user_id}"
    return [
        Operation(
            "listServiceUsers",
            "GET",
            everyone,
            read_them,
            list_service_users,
            query=ServiceUserQuery,
        ),
        Operation(
            "createServiceUser",
            "POST",
            everyone,
            write_them,
            create,
            body=NewServiceUser,
            creates=True,
        ),
        Operation("getServiceUser", "GET", one, read_them, read),
        Operation("editServiceUser", "PATCH", one, write_them, edit, body=ServiceUserChange),
        Operation("deleteServiceUser", "DELETE", one, write_them, delete),
        Operation("disableServiceUser", "POST", f"{one}/disable", write_them, disable),
        Operation("enableServiceUser", "POST", f"{one}/enable", write_them, enable),
    ]
