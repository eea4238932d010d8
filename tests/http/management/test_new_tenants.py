"""A tenant that was made after a token: roles carried above reach it, and nothing else does."""

from __future__ import annotations

from keyturn.server.domain.permissions import TENANT_ADMIN, VIEWER
from tests.http.conftest import Running
from tests.http.management.conftest import Person, person


async def made_below(admin: Person, name: str = "new") -> str:
    answer = await admin.post("/tenants", {"name": name})
    assert answer.status_code == 201
    return str(answer.json()["id"])


class TestTenantMadeAfterTheToken:
    async def test_200_at_once_with_the_role_above(self, service: Running, admin: Person) -> None:
        new = Person(service, admin.user, admin.token, await made_below(admin))
        body = (await new.get("/tenants/current")).json()
        assert body["roles"] == ["tenant-admin"]
        assert set(body["permissions"]) == TENANT_ADMIN.permissions
        assert (
            await new.post("/service-users", {"name": "x", "role_id": VIEWER.id})
        ).status_code == 201

    async def test_403_with_a_token_for_one_tenant(self, service: Running, admin: Person) -> None:
        tenant = await made_below(admin)
        token = (await service.exchange_for(admin.user, tenant=service.acme))["access_token"]
        bound = Person(service, admin.user, token, tenant)
        assert (await bound.get("/tenants/current")).status_code == 403

    async def test_403_with_a_key_bound_to_one_tenant(
        self, service: Running, admin: Person
    ) -> None:
        key = await service.add_key(
            user_id=admin.user.id, home_tenant_id=service.acme, tenant_id=service.acme
        )
        token = (await service.exchange(key=key, user=admin.user.username))["access_token"]
        bound = Person(service, admin.user, token, await made_below(admin))
        assert (await bound.get("/tenants/current")).status_code == 403

    async def test_403_beside_and_with_a_role_given_there_later(
        self, service: Running, admin: Person, root_admin: Person
    ) -> None:
        """What is new to the token is reached from above, or not at all."""
        tenant = await made_below(root_admin, "beside")
        beside = Person(service, admin.user, admin.token, tenant)
        assert (await beside.get("/tenants/current")).status_code == 403
        await service.give(admin.user.id, tenant, VIEWER.id)
        assert (await beside.get("/tenants/current")).status_code == 403

    async def test_200_no_more_than_the_token_carries(
        self, service: Running, admin: Person
    ) -> None:
        """Narrowed by scope, a token carries no role whole; the scope holds where it is named."""
        viewer = await person(service, VIEWER, service.acme)
        tenant = await made_below(admin)
        await service.give(viewer.user.id, tenant, TENANT_ADMIN.id)
        new = Person(service, viewer.user, viewer.token, tenant)
        body = (await new.get("/tenants/current")).json()
        assert body["roles"] == ["viewer"]
        assert set(body["permissions"]) == VIEWER.permissions
        narrow = await service.exchange_for(admin.user, scope="tenants:read")
        new = Person(service, admin.user, narrow["access_token"], await made_below(admin, "other"))
        assert (await new.get("/tenants")).status_code == 403

    async def test_403_suspended(self, service: Running, admin: Person) -> None:
        tenant = await made_below(admin)
        await admin.post(f"/tenants/{tenant}/suspend")
        new = Person(service, admin.user, admin.token, tenant)
        assert (await new.get("/tenants/current")).status_code == 403
