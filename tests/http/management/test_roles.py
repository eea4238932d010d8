"""`/roles`: any combination of permissions, in effect at once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from keyturn.server.domain.ids import new_id
from keyturn.server.domain.model import Membership, Role, UserKind
from keyturn.server.domain.permissions import (
    BUILT_IN_ROLES,
    EDITOR,
    OWN,
    TENANT_ADMIN,
    VIEWER,
)
from keyturn.server.services.bootstrap import DEMO_ROLES
from keyturn.server.services.management import roles as roles_module
from tests.http.conftest import Running
from tests.http.management.conftest import Person, person

#: The five permissions of the reference list (C6).
FIVE = ("assets:manage", "data:manage", "logics:manage", "operations:manage", "system:manage")


async def registered(admin: Person, *names: str) -> None:
    for name in names:
        answer = await admin.put(f"/permissions/{name}", {"description": ""})
        assert answer.status_code == 200, answer.text


async def created(admin: Person, name: str, *permissions: str) -> dict[str, Any]:
    answer = await admin.post("/roles", {"name": name, "permissions": permissions})
    assert answer.status_code == 201, answer.text
    role: dict[str, Any] = answer.json()
    return role


async def holder(service: Running, role: dict[str, Any], tenant: str) -> Person:
    """Somebody who holds a role, with a token."""
    record = Role(role["id"], role["name"], frozenset(role["permissions"]), role["tenant_id"])
    return await person(service, record, tenant, kind=UserKind.SERVICE)


async def again(service: Running, who: Person) -> dict[str, Any]:
    """A new token of somebody, for the tenant."""
    return await service.exchange_for(who.user, tenant=who.tenant)


class TestCreateRole:
    async def test_201(self, admin: Person) -> None:
        await registered(admin, "assets:write", "assets:read")
        answer = await admin.post(
            "/roles",
            {
                "name": "Ingénieur",
                "permissions": ["roles:read", "assets:write", "assets:read", "roles:read"],
                "description": "Sees to it.\nOn site.",
            },
        )
        assert answer.status_code == 201
        body = answer.json()
        assert body == {
            "id": body["id"],
            "href": f"/iam/roles/{body['id']}",
            "name": "Ingénieur",
            "description": "Sees to it.\nOn site.",
            "permissions": ["assets:read", "assets:write", "roles:read"],
            "tenant_id": admin.tenant,
            "built_in": False,
        }
        assert answer.headers["location"] == body["href"]
        read = await admin.get(f"/roles/{body['id']}")
        assert (read.json(), read.headers["etag"]) == (body, answer.headers["etag"])

    @pytest.mark.parametrize("number", [1, 2, 5])
    async def test_201_c6_any_combination_of_five_permissions(
        self, service: Running, admin: Person, number: int
    ) -> None:
        await registered(admin, *FIVE)
        some = sorted(FIVE)[:number]
        role = await created(admin, f"custom {number}", *some)
        who = await holder(service, role, admin.tenant or "")
        assert (await again(service, who))["scope"].split() == some

    async def test_201_p4_nothing_but_what_is_named(self, service: Running, admin: Person) -> None:
        await registered(admin, "devices:list", "devices:write")
        role = await created(admin, "lister", "devices:list")
        who = await holder(service, role, admin.tenant or "")
        assert (await again(service, who))["scope"] == "devices:list"
        assert (await who.get("/roles")).status_code == 403
        assert (await who.get("/endpoints")).status_code == 403
        assert (await who.post("/roles", {"name": "x", "permissions": []})).status_code == 403

    async def test_201_without_permissions(self, admin: Person) -> None:
        assert (await created(admin, "label"))["permissions"] == []

    async def test_201_once_with_an_idempotency_key(self, admin: Person) -> None:
        body = {"name": "engineer", "permissions": []}
        first, second = [
            await admin.post("/roles", body, headers={"Idempotency-Key": "k-1"}) for _ in range(2)
        ]
        assert second.status_code == 201
        assert second.json() == first.json()
        assert second.headers["etag"] == first.headers["etag"]
        other = await admin.post(
            "/roles", {**body, "name": "x"}, headers={"Idempotency-Key": "k-1"}
        )
        assert other.status_code == 422

    @pytest.mark.parametrize(
        ("change", "field"),
        [
            ({"name": ""}, "name"),
            ({"name": None}, "name"),
            ({"name": " x"}, "name"),
            ({"name": "x" * 129}, "name"),
            ({"name": 7}, "name"),
            ({"description": "x" * 1001}, "description"),
            ({"description": "a\u0000b"}, "description"),
            ({"description": None}, "description"),
            ({"permissions": None}, "permissions"),
            ({"permissions": "roles:read"}, "permissions"),
            ({"permissions": ["roles:read", "no permission"]}, "permissions.1"),
            ({"permissions": ["roles:read", "Roles:read"]}, "permissions.1"),
            ({"permissions": ["roles:read", 1]}, "permissions.1"),
            ({"permissions": ["roles:read", "assets:fly"]}, "permissions.1"),
            ({"permissions": ["a:" + "b" * 99]}, "permissions.0"),
            ({"tenant_id": VIEWER.id}, "tenant_id"),
        ],
        ids=lambda value: str(value)[:30].translate({0: "0"}),
    )
    async def test_400_names_the_field(
        self, admin: Person, change: dict[str, Any], field: str
    ) -> None:
        before = await admin.get("/roles")
        answer = await admin.post("/roles", {"name": "x", "permissions": []} | change)
        assert answer.status_code == 400
        assert answer.json()["errors"][0]["field"] == field
        assert (await admin.get("/roles")).json() == before.json()

    async def test_400_for_a_permission_registered_elsewhere(
        self, service: Running, admin: Person
    ) -> None:
        other = await person(service, TENANT_ADMIN, service.globex)
        await registered(other, "assets:read")
        answer = await admin.post("/roles", {"name": "x", "permissions": ["assets:read"]})
        assert answer.status_code == 400
        assert answer.json()["errors"][0]["field"] == "permissions.0"

    async def test_403_what_the_caller_lacks(self, service: Running, admin: Person) -> None:
        await registered(admin, "assets:read", "assets:write")
        role = await created(admin, "maker", "roles:write", "roles:read", "assets:read")
        maker = await person(
            service,
            Role(role["id"], "maker", frozenset(role["permissions"]), admin.tenant),
            service.acme,
        )
        for beyond in ("assets:write", "users:write"):
            answer = await maker.post("/roles", {"name": "x", "permissions": [beyond]})
            assert answer.status_code == 403
        within = await maker.post("/roles", {"name": "x", "permissions": ["assets:read"]})
        assert within.status_code == 201

    async def test_403_service_users(self, service: Running) -> None:
        program = await person(service, TENANT_ADMIN, service.acme, kind=UserKind.SERVICE)
        answer = await program.post("/roles", {"name": "x", "permissions": []})
        assert answer.status_code == 403

    @pytest.mark.parametrize("name", ["engineer", "ENGINEER", "editor", "Tenant-Admin"])
    async def test_409_duplicate_name(self, admin: Person, name: str) -> None:
        await created(admin, "engineer")
        answer = await admin.post("/roles", {"name": name, "permissions": []})
        assert answer.status_code == 409
        assert answer.json()["errors"][0]["field"] == "name"

    async def test_409_name_taken_along_the_tree(
        self, service: Running, admin: Person, root_admin: Person
    ) -> None:
        await created(admin, "engineer")
        above = await root_admin.post("/roles", {"name": "engineer", "permissions": []})
        assert above.status_code == 409
        tenant = await service.add_tenant("below", service.acme)
        below = await person(service, TENANT_ADMIN, tenant.id)
        answer = await below.post("/roles", {"name": "Engineer", "permissions": []})
        assert answer.status_code == 409
        beside = await person(service, TENANT_ADMIN, service.globex)
        assert (await created(beside, "engineer"))["tenant_id"] == service.globex

    async def test_409_too_many_roles(self, admin: Person, monkeypatch: pytest.MonkeyPatch) -> None:
        items = (await admin.get("/roles")).json()["items"]
        own = sum(item["tenant_id"] == admin.tenant for item in items)
        monkeypatch.setattr(roles_module, "MAX_ROLES", own + 1)
        await created(admin, "one")
        answer = await admin.post("/roles", {"name": "two", "permissions": []})
        assert answer.status_code == 409

    async def test_409_too_many_permissions(self, admin: Person) -> None:
        names = [f"assets:{number}" for number in range(201)]
        answer = await admin.post("/roles", {"name": "x", "permissions": names})
        assert answer.status_code == 409
        body = {"service": "x", "method": "GET", "path": "/", "name": "x"}
        known = await admin.post("/endpoints", {**body, "opened_by": [names[:199]]})
        assert known.status_code == 201
        most = [*names[:199], "roles:read", "roles:read"]
        assert (await admin.post("/roles", {"name": "x", "permissions": most})).status_code == 201


class TestListRoles:
    async def test_200_built_in_own_and_above(
        self, service: Running, admin: Person, root_admin: Person
    ) -> None:
        above = await created(root_admin, "platform")
        own = await created(admin, "engineer")
        tenant = await service.add_tenant("below", service.acme)
        await service.add_role(tenant.id, "below")
        beside = await person(service, TENANT_ADMIN, service.globex)
        await created(beside, "beside")
        items = (await admin.get("/roles")).json()["items"]
        assert [item["name"] for item in items] == sorted(
            ["platform", "engineer", *DEMO_ROLES, *(role.name for role in BUILT_IN_ROLES)]
        )
        assert own in items
        assert above in items
        built_in = {item["name"] for item in items if item["built_in"]}
        assert built_in == {role.name for role in BUILT_IN_ROLES}

    async def test_200_page_by_page(self, admin: Person) -> None:
        for name in ("a", "ä", "z", "Zz"):
            await created(admin, name)
        seen: list[str] = []
        cursor: str | None = None
        for _ in range(20):
            params = {"limit": 3, **({"cursor": cursor} if cursor else {})}
            page = (await admin.get("/roles", params=params)).json()
            assert len(page["items"]) <= 3
            seen += [item["name"] for item in page["items"]]
            cursor = page["next_cursor"]
            if cursor is None:
                break
        assert seen == [item["name"] for item in (await admin.get("/roles")).json()["items"]]
        assert len(seen) == len(BUILT_IN_ROLES) + len(DEMO_ROLES) + 4

    @pytest.mark.parametrize(
        "params",
        [
            {"limit": 0},
            {"limit": 201},
            {"limit": "x"},
            {"cursor": "x"},
            {"cursor": "WyJhIiwiYiJd"},
            {"cursor": ""},
            {"all": "true"},
        ],
        ids=str,
    )
    async def test_400_parameters(self, admin: Person, params: dict[str, str]) -> None:
        assert (await admin.get("/roles", params=params)).status_code == 400

    async def test_403_without_the_permission(self, service: Running) -> None:
        who = await holder(
            service,
            {"id": (await service.add_role(service.acme, "none")).id, "name": "none",
             "permissions": [], "tenant_id": service.acme},
            service.acme,
        )  # fmt: skip
        assert (await who.get("/roles")).status_code == 403


class TestGetRole:
    async def test_404_of_tenants_below_and_beside(
        self, service: Running, admin: Person, root_admin: Person
    ) -> None:
        own = await created(admin, "engineer")
        beside = await person(service, TENANT_ADMIN, service.globex)
        missing = await admin.get(f"/roles/{new_id()}")
        for who, path in [
            (root_admin, own["id"]),
            (beside, own["id"]),
            (admin, new_id()),
            (admin, "x"),
            (admin, "%00"),
        ]:
            answer = await who.get(f"/roles/{path}")
            assert answer.status_code == 404
            assert answer.json()["detail"] == missing.json()["detail"]

    async def test_200_of_tenants_above(self, service: Running, admin: Person) -> None:
        own = await created(admin, "engineer")
        tenant = await service.add_tenant("below", service.acme)
        below = await person(service, VIEWER, tenant.id)
        assert (await below.get(f"/roles/{own['id']}")).json() == own


class TestChangeRole:
    async def test_200_p3_takes_effect_at_once(self, service: Running, admin: Person) -> None:
        await registered(admin, "assets:read", "assets:write")
        role = await created(admin, "engineer", "assets:read", "tenants:read")
        who = await holder(service, role, service.acme)
        tenant = await service.add_tenant("below", service.acme)
        below = await holder(service, role, tenant.id)
        for holding in (who, below):
            assert (await holding.get("/tenants")).status_code == 200
        answer = await admin.patch(
            f"/roles/{role['id']}", {"permissions": ["assets:write", "tenants:read"]}
        )
        assert answer.status_code == 200
        assert answer.json() == {**role, "permissions": ["assets:write", "tenants:read"]}
        for holding in (who, below):
            assert (await holding.get("/tenants")).status_code == 401
            scope = (await again(service, holding))["scope"]
            assert scope == "assets:write tenants:read"

    async def test_200_reaches_who_is_given_it_meanwhile(
        self, service: Running, admin: Person
    ) -> None:
        role = await created(admin, "engineer", "tenants:read")
        user = await service.add_user(home=service.acme)
        store = service.service.parts.store
        async with store.transaction() as tx:
            given = Membership(user.id, service.acme, role["id"], service.clock())
            await tx.memberships.add(given)
            change = asyncio.create_task(admin.patch(f"/roles/{role['id']}", {"permissions": []}))
            # Long enough for the change to come to what it must wait for.
            await asyncio.sleep(0.3)
            assert not change.done()
        assert (await change).status_code == 200
        async with store.transaction() as tx:
            after = await tx.users.get(user.id)
        assert after is not None
        assert after.epoch == user.epoch + 1

    async def test_200_a_new_name_is_in_new_tokens(self, service: Running, admin: Person) -> None:
        role = await created(admin, "engineer", "tenants:read")
        who = await holder(service, role, service.acme)
        answer = await admin.patch(f"/roles/{role['id']}", {"name": "ENGINEER"})
        assert answer.json()["name"] == "ENGINEER"
        assert (await who.get("/tenants")).status_code == 401
        who.token = (await again(service, who))["access_token"]
        assert (await who.get("/tenants/current")).json()["roles"] == ["ENGINEER"]

    async def test_200_a_description_ends_no_token(self, service: Running, admin: Person) -> None:
        role = await created(admin, "engineer", "tenants:read")
        who = await holder(service, role, service.acme)
        answer = await admin.patch(f"/roles/{role['id']}", {"description": "New."})
        assert answer.json() == {**role, "description": "New."}
        assert (await who.get("/tenants")).status_code == 200

    async def test_200_nothing_to_change(self, admin: Person) -> None:
        role = await created(admin, "engineer", "tenants:read")
        before = await admin.get(f"/roles/{role['id']}")
        for body in ({}, {"name": "engineer", "permissions": ["tenants:read"]}):
            answer = await admin.patch(f"/roles/{role['id']}", body)
            assert (answer.json(), answer.headers["etag"]) == (role, before.headers["etag"])

    @pytest.mark.parametrize(
        "body",
        [{"name": None}, {"permissions": None}, {"description": None}, {"built_in": True}, []],
        ids=str,
    )
    async def test_400(self, admin: Person, body: object) -> None:
        role = await created(admin, "engineer")
        assert (await admin.patch(f"/roles/{role['id']}", body)).status_code == 400

    async def test_400_unknown_permission(self, admin: Person) -> None:
        role = await created(admin, "engineer")
        answer = await admin.patch(f"/roles/{role['id']}", {"permissions": ["assets:fly"]})
        assert answer.json()["errors"][0]["field"] == "permissions.0"

    async def test_403_what_the_caller_could_not_give(
        self, service: Running, admin: Person
    ) -> None:
        await registered(admin, "assets:write")
        strong = await created(admin, "strong", "assets:write", "users:write")
        own = await created(admin, "own", "roles:write", "roles:read", "keys:read")
        maker = await holder(service, own, service.acme)
        maker = await person(
            service, Role(own["id"], "own", frozenset(own["permissions"])), service.acme
        )
        for role, change in [
            (own, {"permissions": [*own["permissions"], "users:write"]}),
            (own, {"permissions": sorted(OWN)}),
            (strong, {"permissions": []}),
            (strong, {"permissions": ["assets:write"]}),
            (strong, {"name": "tame"}),
        ]:
            assert (await maker.patch(f"/roles/{role['id']}", change)).status_code == 403
        assert (await maker.delete(f"/roles/{strong['id']}")).status_code == 403
        less = await maker.patch(f"/roles/{own['id']}", {"permissions": ["roles:write"]})
        assert less.status_code == 200
        assert (await maker.get("/roles")).status_code == 401

    async def test_404_a_role_above_or_elsewhere(
        self, service: Running, admin: Person, root_admin: Person
    ) -> None:
        above = await created(root_admin, "platform")
        beside = await created(await person(service, TENANT_ADMIN, service.globex), "beside")
        for path in (above["id"], beside["id"], new_id(), "x"):
            assert (await admin.patch(f"/roles/{path}", {"name": "y"})).status_code == 404
            assert (await admin.delete(f"/roles/{path}")).status_code == 404

    async def test_409_built_in(self, admin: Person) -> None:
        for role in BUILT_IN_ROLES:
            assert (await admin.patch(f"/roles/{role.id}", {"name": "x"})).status_code == 409
            for force in ("", "?force=true"):
                assert (await admin.delete(f"/roles/{role.id}{force}")).status_code == 409

    async def test_409_name(self, admin: Person) -> None:
        await created(admin, "engineer")
        role = await created(admin, "other")
        answer = await admin.patch(f"/roles/{role['id']}", {"name": "Engineer"})
        assert answer.status_code == 409

    async def test_412_stale(self, admin: Person) -> None:
        role = await created(admin, "engineer")
        path = f"/roles/{role['id']}"
        seen = (await admin.get(path)).headers["etag"]
        changed = await admin.patch(path, {"name": "x"}, headers={"If-Match": seen})
        assert changed.headers["etag"] != seen
        for again_ in (
            admin.patch(path, {"name": "y"}, headers={"If-Match": seen}),
            admin.delete(path, headers={"If-Match": seen}),
        ):
            assert (await again_).status_code == 412
        assert (await admin.get(path)).json()["name"] == "x"

    async def test_the_audit_trail_has_before_and_after(self, admin: Person) -> None:
        role = await created(admin, "engineer", "roles:read")
        await admin.patch(f"/roles/{role['id']}", {"permissions": [], "description": "New."})
        await admin.delete(f"/roles/{role['id']}")
        events = await admin.get("/audit-events", params={"target": role["id"]})
        deleted, changed, made = events.json()["items"]
        before = {"name": "engineer", "description": "", "permissions": ["roles:read"]}
        after = {"name": "engineer", "description": "New.", "permissions": []}
        assert (made["action"], made["data"]) == ("role.created", {"after": before})
        assert changed["data"] == {"before": before, "after": after}
        assert (deleted["action"], deleted["data"]) == ("role.deleted", {"before": after})


class TestDeleteRole:
    async def test_204(self, admin: Person) -> None:
        role = await created(admin, "engineer")
        assert (await admin.delete(f"/roles/{role['id']}")).status_code == 204
        assert (await admin.get(f"/roles/{role['id']}")).status_code == 404
        await created(admin, "engineer")

    async def test_204_in_use_by_force_ends_tokens(self, service: Running, admin: Person) -> None:
        role = await created(admin, "engineer", "tenants:read")
        who = await holder(service, role, service.acme)
        assert (await admin.delete(f"/roles/{role['id']}")).status_code == 409
        assert (await who.get("/tenants")).status_code == 200
        assert (await admin.delete(f"/roles/{role['id']}?force=true")).status_code == 204
        assert (await who.get("/tenants")).status_code == 401
        key = await service.add_key(user_id=who.user.id)
        refused = await service.token(
            headers={"x-tenant-id": service.acme},
            grant_type="password",
            username=who.user.username,
            password=key.text,
        )
        assert refused.status_code == 403

    async def test_204_a_key_narrowed_to_it_never_widens(
        self, service: Running, admin: Person
    ) -> None:
        role = await created(admin, "engineer", "tenants:read")
        who = await holder(service, role, service.acme)
        await service.give(who.user.id, service.acme, EDITOR.id)
        key = await service.add_key(user_id=who.user.id, role_ids=(role["id"],))
        user = who.user.username
        tokens = await service.exchange(tenant=service.acme, key=key, user=user)
        assert tokens["scope"] == "tenants:read"
        assert (await admin.delete(f"/roles/{role['id']}?force=true")).status_code == 204
        answer = await service.get("/iam/tenants/current", tokens["access_token"], service.acme)
        assert answer.status_code == 401
        assert (await service.refresh(tokens["refresh_token"])).status_code == 400
        everywhere = await service.exchange(key=key, user=user)
        assert everywhere["scope"] == ""
        me = await service.get("/iam/users/me", everywhere["access_token"])
        assert me.json()["roles"] == []

    async def test_409_while_a_key_is_narrowed_to_it(self, service: Running, admin: Person) -> None:
        role = await created(admin, "engineer", "tenants:read")
        await service.add_key(role_ids=(role["id"], VIEWER.id))
        assert (await admin.delete(f"/roles/{role['id']}")).status_code == 409

    @pytest.mark.parametrize("query", ["?force=maybe", "?all=true", "?force=true&force=true"])
    async def test_400(self, admin: Person, query: str) -> None:
        role = await created(admin, "engineer")
        assert (await admin.delete(f"/roles/{role['id']}{query}")).status_code == 400
