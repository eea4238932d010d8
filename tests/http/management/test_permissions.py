"""`/permissions`: Keyturn's own, and those that tenants register."""

from __future__ import annotations

import pytest

from keyturn.server.domain.permissions import OWN, TENANT_ADMIN, VIEWER
from keyturn.server.services.bootstrap import DEMO_ROLES
from keyturn.server.services.management import permissions as permissions_module
from tests.http.conftest import Running
from tests.http.management.conftest import Person, person

#: What the demo registered in acme and in globex.
DEMO = frozenset().union(*DEMO_ROLES.values()) - OWN


async def names(who: Person, limit: int = 200) -> list[tuple[str, str | None]]:
    """All that are listed, read page by page."""
    found: list[tuple[str, str | None]] = []
    cursor: str | None = None
    while True:
        params = {"limit": limit, **({"cursor": cursor} if cursor else {})}
        answer = await who.get("/permissions", params=params)
        assert answer.status_code == 200, answer.text
        page = answer.json()
        assert len(page["items"]) <= limit
        found += [(item["name"], item["tenant_id"]) for item in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            return found


class TestListPermissions:
    async def test_200_own_ones_are_described(self, admin: Person) -> None:
        items = (await admin.get("/permissions")).json()["items"]
        own = [item for item in items if item["tenant_id"] is None]
        assert {item["name"] for item in own} == OWN
        assert {item["name"] for item in items} == OWN | DEMO
        assert all(item["description"] for item in own)

    @pytest.mark.parametrize("limit", [1, 2, 7, 200])
    async def test_200_page_by_page(
        self, service: Running, admin: Person, root_admin: Person, limit: int
    ) -> None:
        for name in ("assets:read", "users:a", "zones:read"):
            await admin.put(f"/permissions/{name}", {"description": "x"})
        await root_admin.put("/permissions/assets:read", {"description": "y"})
        other = await person(service, TENANT_ADMIN, service.globex)
        await other.put("/permissions/other:read", {"description": "z"})
        found = await names(admin, limit)
        root = root_admin.tenant or ""
        expected = [(name, "") for name in OWN]
        expected += [(n, service.acme) for n in (*DEMO, "assets:read", "users:a", "zones:read")]
        expected += [("assets:read", root)]
        assert found == [(name, tenant or None) for name, tenant in sorted(expected)]

    @pytest.mark.parametrize("cursor", ["x", "WyJhIl0", "WyJhIiwiYiJd"])
    async def test_400_cursor(self, admin: Person, cursor: str) -> None:
        assert (await admin.get("/permissions", params={"cursor": cursor})).status_code == 400


class TestRegisterPermission:
    async def test_200_and_again_to_describe_it(self, service: Running, admin: Person) -> None:
        for description in ("Read assets.", "Read all\nassets."):
            answer = await admin.put("/permissions/assets:read", {"description": description})
            assert answer.status_code == 200
            body = {
                "name": "assets:read",
                "description": description,
                "tenant_id": service.acme,
            }
            assert answer.json() == body
            assert body in (await admin.get("/permissions")).json()["items"]

    async def test_200_it_is_known_below_alone(
        self, service: Running, admin: Person, root_admin: Person
    ) -> None:
        await admin.put("/permissions/assets:read", {"description": ""})
        tenant = await service.add_tenant("below", service.acme)
        below = await person(service, TENANT_ADMIN, tenant.id)
        role = {"name": "reader", "permissions": ["assets:read"]}
        assert (await below.post("/roles", role)).status_code == 201
        assert (await root_admin.post("/roles", role | {"name": "x"})).status_code == 400

    @pytest.mark.parametrize("name", ["assets", "Assets:read", "assets:", "a:" + "b" * 99, "é:x"])
    async def test_400_name(self, admin: Person, name: str) -> None:
        answer = await admin.put(f"/permissions/{name}", {"description": ""})
        assert answer.status_code == 400
        assert answer.json()["errors"][0]["field"] == "name"

    @pytest.mark.parametrize(
        "body", [{}, {"description": None}, {"description": "", "name": "x:y"}, {"description": 1}]
    )
    async def test_400_body(self, admin: Person, body: dict[str, object]) -> None:
        assert (await admin.put("/permissions/assets:read", body)).status_code == 400

    async def test_403_without_the_permission(self, service: Running) -> None:
        viewer = await person(service, VIEWER, service.acme)
        answer = await viewer.put("/permissions/assets:read", {"description": ""})
        assert answer.status_code == 403

    async def test_409_keyturns_own(self, admin: Person) -> None:
        for name in sorted(OWN):
            answer = await admin.put(f"/permissions/{name}", {"description": ""})
            assert answer.status_code == 409
            assert (await admin.delete(f"/permissions/{name}")).status_code == 409

    async def test_409_too_many(self, admin: Person, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(permissions_module, "MAX_PERMISSIONS", len(DEMO) + 2)
        for name in ("a:a", "b:b", "b:b"):
            answer = await admin.put(f"/permissions/{name}", {"description": "x"})
            assert answer.status_code == 200
        assert (await admin.put("/permissions/c:c", {"description": ""})).status_code == 409
        body = {"service": "x", "method": "GET", "path": "/", "name": "x"}
        for groups in ([["c:c"]], [["a:a", "b:b", "c:c"]]):
            answer = await admin.post("/endpoints", {**body, "opened_by": groups})
            assert answer.status_code == 409
        known = await admin.post("/endpoints", {**body, "opened_by": [["a:a", "roles:read"]]})
        assert known.status_code == 201
        assert len(await names(admin)) == len(OWN | DEMO) + 2


class TestDeletePermission:
    async def test_204(self, admin: Person) -> None:
        await admin.put("/permissions/assets:read", {"description": ""})
        assert (await admin.delete("/permissions/assets:read")).status_code == 204
        assert len(await names(admin)) == len(OWN | DEMO)
        events = (await admin.get("/audit-events", params={"target": "assets:read"})).json()
        assert [event["action"] for event in events["items"]] == [
            "permission.deleted",
            "permission.registered",
        ]

    async def test_404_of_others(self, service: Running, admin: Person) -> None:
        other = await person(service, TENANT_ADMIN, service.globex)
        await other.put("/permissions/assets:read", {"description": ""})
        for name in ("assets:read", "nothing:at-all", "x", "%00"):
            assert (await admin.delete(f"/permissions/{name}")).status_code == 404
        below = await service.add_tenant("below", service.globex)
        child = await person(service, TENANT_ADMIN, below.id)
        assert (await child.delete("/permissions/assets:read")).status_code == 404

    async def test_409_while_a_role_has_it(self, service: Running, admin: Person) -> None:
        for name in ("assets:read", "assets:read-all", "assets:rea_"):
            await admin.put(f"/permissions/{name}", {"description": ""})
        made = await admin.post("/roles", {"name": "reader", "permissions": ["assets:read"]})
        assert (await admin.delete("/permissions/assets:read")).status_code == 409
        for free in ("assets:read-all", "assets:rea_"):
            assert (await admin.delete(f"/permissions/{free}")).status_code == 204
        await admin.delete(f"/roles/{made.json()['id']}")
        tenant = await service.add_tenant("below", service.acme)
        role = await service.add_role(tenant.id, "reader", "assets:read", "assets:x")
        assert (await admin.delete("/permissions/assets:read")).status_code == 409
        below = await person(service, TENANT_ADMIN, tenant.id)
        assert (await below.delete(f"/roles/{role.id}")).status_code == 204
        assert (await admin.delete("/permissions/assets:read")).status_code == 204
