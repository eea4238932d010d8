"""`/endpoints/{endpoint_id}/callers`: who may call an endpoint."""

from __future__ import annotations

from typing import Any

from keyturn.server.domain.ids import new_id
from keyturn.server.domain.permissions import TENANT_ADMIN, VIEWER
from tests.http.conftest import Running
from tests.http.management.conftest import Person, person

HOSTS = {"service": "fleet", "method": "GET", "path": "/hosts/{id}", "name": "Read a host"}


async def endpoint(admin: Person, *opened_by: list[str], **changes: Any) -> str:
    body = {**HOSTS, "opened_by": list(opened_by), **changes}
    answer = await admin.post("/endpoints", body)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


async def callers(who: Person, endpoint_id: str, **params: str) -> dict[str, Any]:
    answer = await who.get(f"/endpoints/{endpoint_id}/callers", params=params)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


class TestListEndpointCallers:
    async def test_200_users_roles_and_keys(self, service: Running, admin: Person) -> None:
        id_ = await endpoint(admin, ["hosts:read"])
        reading = await service.add_role(service.acme, "reading", "hosts:read")
        reader = await person(service, reading, service.acme)
        await person(service, VIEWER, service.acme)
        dead = await service.add_key(
            user_id=reader.user.id, home_tenant_id=service.acme, revoked_at=service.clock()
        )
        other = await endpoint(admin, ["other:read"], path="/other")
        narrowed = await service.add_key(
            user_id=reader.user.id, home_tenant_id=service.acme, endpoint_ids=(other,)
        )
        guest = await service.add_user(home=service.globex)
        await service.give(guest.id, service.acme, reading.id)
        await service.add_key(user_id=guest.id, home_tenant_id=service.globex)
        found = await callers(admin, id_)
        assert [role["name"] for role in found["roles"]] == ["reading"]
        by_user = {item["user_id"]: item for item in found["items"]}
        assert set(by_user) == {reader.user.id, guest.id}
        assert by_user[reader.user.id]["roles"] == [
            {"tenant_id": service.acme, "role_id": reading.id, "role_name": "reading"}
        ]
        [key] = by_user[reader.user.id]["keys"]
        assert key["id"] not in {dead.key_id, narrowed.key_id}
        # Keys of somebody at home elsewhere are that tenant's to know.
        assert by_user[guest.id]["keys"] == []

    async def test_200_roles_together_and_from_above(
        self, service: Running, admin: Person, root_admin: Person
    ) -> None:
        id_ = await endpoint(admin, ["hosts:read", "hosts:list"])
        one = await service.add_role(service.acme, "one", "hosts:read")
        two = await service.add_role(service.demo.platform.tenant.id, "two", "hosts:list")
        both = await service.add_user()
        await service.give(both.id, service.acme, one.id)
        assert (await callers(admin, id_))["items"] == []
        await service.give(both.id, service.demo.platform.tenant.id, two.id)
        found = await callers(admin, id_)
        assert found["roles"] == []
        [item] = found["items"]
        assert {role["role_name"] for role in item["roles"]} == {"one", "two"}
        # Explained for one of its keys, the answer is the same.
        key = await service.add_key(user_id=both.id)
        assert [key.key_id] == [k["id"] for k in (await callers(admin, id_))["items"][0]["keys"]]
        async with service.service.parts.store.transaction() as tx:
            await tx.users.set_disabled(both.id, service.clock())
        assert (await callers(admin, id_))["items"] == []

    async def test_200_pages_cover_each_once(self, service: Running, admin: Person) -> None:
        id_ = await endpoint(admin, ["hosts:read"])
        reading = await service.add_role(service.acme, "reading", "hosts:read")
        users = []
        for number in range(8):
            user = await service.add_user()
            await service.give(user.id, service.acme, (reading if number % 2 else VIEWER).id)
            users += [user.id] if number % 2 else []
        for limit in ("1", "2", "3", "4", "50"):
            seen: list[str] = []
            params = {"limit": limit}
            while True:
                page = await callers(admin, id_, **params)
                seen += [item["user_id"] for item in page["items"]]
                if page["next_cursor"] is None:
                    break
                params["cursor"] = page["next_cursor"]
            assert seen == users

    async def test_200_no_roles_and_keys_for_who_may_not_list_them(
        self, service: Running, admin: Person
    ) -> None:
        id_ = await endpoint(admin, ["users:read"])
        role = await service.add_role(service.acme, "looking", "users:read", "endpoints:read")
        looking = await person(service, role, service.acme)
        found = await callers(looking, id_)
        assert found["roles"] == []
        assert all(item["roles"] == item["keys"] == [] for item in found["items"])
        assert looking.user.id in {item["user_id"] for item in found["items"]}

    async def test_403_who_may_not_list_members(self, service: Running, admin: Person) -> None:
        id_ = await endpoint(admin, ["hosts:read"])
        role = await service.add_role(service.acme, "searching", "endpoints:read")
        who = await person(service, role, service.acme)
        assert (await who.get(f"/endpoints/{id_}/callers")).status_code == 403

    async def test_404(self, service: Running, admin: Person) -> None:
        elsewhere = await person(service, TENANT_ADMIN, service.globex)
        id_ = await endpoint(elsewhere, ["hosts:read"])
        for unknown in (id_, new_id(), "junk"):
            assert (await admin.get(f"/endpoints/{unknown}/callers")).status_code == 404
