"""`/members`: who holds which roles in a tenant itself."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from keyturn.server.domain.ids import new_id
from keyturn.server.domain.model import UserKind
from keyturn.server.domain.permissions import AUDITOR, EDITOR, TENANT_ADMIN, VIEWER
from tests.http.conftest import Running
from tests.http.management.conftest import Person, person


async def roles_of(caller: Person, user_id: str) -> list[str]:
    answer = await caller.get(f"/members/{user_id}")
    if answer.status_code == 404:
        return []
    return [role["role_name"] for role in answer.json()["roles"]]


class TestListMembers:
    async def test_200_people_and_service_users(self, service: Running, admin: Person) -> None:
        colleague = await person(service, VIEWER, service.acme)
        await service.give(colleague.user.id, service.acme, AUDITOR.id)
        items = {item["user_id"]: item for item in (await admin.get("/members")).json()["items"]}
        assert set(items) == {admin.user.id, colleague.user.id, service.demo.user.id}
        assert items[colleague.user.id] == {
            "user_id": colleague.user.id,
            "href": f"/iam/members/{colleague.user.id}",
            "kind": "human",
            "name": colleague.user.display_name,
            "email": colleague.user.username,
            "disabled_at": None,
            "roles": [
                {"role_id": AUDITOR.id, "role_name": "auditor"},
                {"role_id": VIEWER.id, "role_name": "viewer"},
            ],
        }
        assert items[service.demo.user.id]["kind"] == "service"
        assert (await admin.get(f"/members/{colleague.user.id}")).json() == items[colleague.user.id]

    async def test_200_pages(self, service: Running, admin: Person) -> None:
        for _ in range(4):
            await person(service, VIEWER, service.acme)
        found: list[str] = []
        params: dict[str, Any] = {"limit": "2"}
        while True:
            page = (await admin.get("/members", params=params)).json()
            found += [item["user_id"] for item in page["items"]]
            if page["next_cursor"] is None:
                break
            params["cursor"] = page["next_cursor"]
        assert len(found) == len(set(found)) == 6
        assert found == sorted(found)

    async def test_200_by_name_and_address(self, service: Running, admin: Person) -> None:
        await service.give(service.demo.user.id, service.acme, EDITOR.id)

        async def found(query: str) -> set[str]:
            answer = await admin.get("/members", params={"query": query})
            return {item["user_id"] for item in answer.json()["items"]}

        assert await found("demo SERV") == {service.demo.user.id}
        assert await found(admin.user.username[5:].upper()) == {admin.user.id}
        assert await found("_") == set()

    async def test_200_p5_with_those_of_the_tenants_below(
        self, service: Running, admin: Person
    ) -> None:
        product = await service.add_tenant("product", service.acme)
        inside = await person(service, VIEWER, product.id)
        await service.give(inside.user.id, service.acme, VIEWER.id)
        await service.give(inside.user.id, product.id, EDITOR.id)
        await person(service, VIEWER, service.globex)
        found: list[tuple[str, str]] = []
        params = {"below": "true", "limit": "1"}
        while True:
            page = (await admin.get("/members", params=params)).json()
            found += [(item["tenant_name"], item["user_id"]) for item in page["items"]]
            if page["next_cursor"] is None:
                break
            params["cursor"] = page["next_cursor"]
        here = {service.demo.user.id, admin.user.id, inside.user.id}
        assert len(found) == 4
        assert set(found) == {("product", inside.user.id)} | {("acme", user) for user in here}
        params = {"below": "true", "query": inside.user.username}
        both = (await admin.get("/members", params=params)).json()["items"]
        roles = {item["tenant_id"]: [r["role_name"] for r in item["roles"]] for item in both}
        assert roles == {service.acme: ["viewer"], product.id: ["editor", "viewer"]}
        # Whoever is in the product alone sees nobody of the organisation.
        alone = await person(service, VIEWER, product.id)
        seen = (await alone.get("/members", params={"below": "true"})).json()["items"]
        assert {item["tenant_id"] for item in seen} == {product.id}

    async def test_404_of_other_tenants(
        self, service: Running, admin: Person, root_admin: Person
    ) -> None:
        product = await service.add_tenant("product", service.acme)
        below = await person(service, VIEWER, product.id)
        for user_id in (root_admin.user.id, below.user.id, new_id(), "junk"):
            for verb, path in (("GET", ""), ("DELETE", ""), ("DELETE", f"/roles/{VIEWER.id}")):
                answer = await admin.call(verb, f"/members/{user_id}{path}")
                assert answer.status_code == 404


class TestAddMember:
    async def test_201_one_role_more(self, service: Running, admin: Person) -> None:
        colleague = await person(service, VIEWER, service.acme)
        body = {"user_id": colleague.user.id, "role_id": EDITOR.id}
        answer = await admin.post("/members", body)
        assert answer.status_code == 201
        assert answer.headers["location"] == f"/iam/members/{colleague.user.id}"
        assert [role["role_name"] for role in answer.json()["roles"]] == ["editor", "viewer"]
        # What it may do has changed: what it held before has ended (P3).
        assert (await colleague.get("/members")).status_code == 401
        colleague.token = (await service.exchange_for(colleague.user))["access_token"]
        assert (await colleague.get("/api-keys")).status_code == 200

    async def test_201_once_with_an_idempotency_key(self, service: Running, admin: Person) -> None:
        colleague = await person(service, VIEWER, service.acme)
        body = {"user_id": colleague.user.id, "role_id": EDITOR.id}
        headers = {"Idempotency-Key": "once"}
        first = await admin.post("/members", body, headers=headers)
        again = await admin.post("/members", body, headers=headers)
        assert (again.status_code, again.json()) == (201, first.json())

    async def test_201_at_home_here_without_a_role(self, service: Running, admin: Person) -> None:
        user = await service.add_user(UserKind.HUMAN)
        answer = await admin.post("/members", {"user_id": user.id, "role_id": VIEWER.id})
        assert answer.status_code == 201

    async def test_201_from_elsewhere_with_a_role_here(
        self, service: Running, admin: Person
    ) -> None:
        guest = await person(service, VIEWER, service.acme, home=service.globex)
        body = {"user_id": guest.user.id, "role_id": EDITOR.id}
        assert (await admin.post("/members", body)).status_code == 201

    async def test_400_others_are_invited(
        self, service: Running, admin: Person, root_admin: Person
    ) -> None:
        product = await service.add_tenant("product", service.acme)
        below = await person(service, VIEWER, product.id)
        apart = await person(service, VIEWER, service.globex)
        answers = [
            await admin.post("/members", {"user_id": user_id, "role_id": VIEWER.id})
            for user_id in (root_admin.user.id, below.user.id, apart.user.id, new_id())
        ]
        assert {answer.status_code for answer in answers} == {400}
        assert [answer.json()["errors"][0]["field"] for answer in answers] == ["user_id"] * 4
        assert len({answer.json()["detail"] for answer in answers}) == 1

    async def test_400_unknown_role_or_another_tenants(
        self, service: Running, admin: Person
    ) -> None:
        theirs = await service.add_role(service.globex, "theirs", "assets:read")
        for role_id in (theirs.id, new_id()):
            answer = await admin.post("/members", {"user_id": admin.user.id, "role_id": role_id})
            assert answer.status_code == 400
            assert answer.json()["errors"][0]["field"] == "role_id"

    async def test_409_has_it_already(self, service: Running, admin: Person) -> None:
        body = {"user_id": admin.user.id, "role_id": TENANT_ADMIN.id}
        assert (await admin.post("/members", body)).status_code == 409

    async def test_403_what_the_caller_lacks(self, service: Running) -> None:
        role = await service.add_role(service.acme, "manager", "users:read", "users:write")
        caller = await person(service, role, service.acme)
        plain = await service.add_user(UserKind.HUMAN)
        editor = await person(service, EDITOR, service.acme)
        for user_id, role_id in (
            (caller.user.id, TENANT_ADMIN.id),
            (plain.id, VIEWER.id),
            # Nobody disposes of somebody who has more.
            (editor.user.id, role.id),
        ):
            answer = await caller.post("/members", {"user_id": user_id, "role_id": role_id})
            assert answer.status_code == 403
        answer = await caller.post("/members", {"user_id": plain.id, "role_id": role.id})
        assert answer.status_code == 201

    @pytest.mark.parametrize("role", [EDITOR, VIEWER], ids=lambda role: role.name)
    async def test_403_without_the_permission(self, service: Running, role: Any) -> None:
        caller = await person(service, role, service.acme)
        body = {"user_id": caller.user.id, "role_id": AUDITOR.id}
        assert (await caller.post("/members", body)).status_code == 403


class TestRemoveMember:
    async def test_204_all_roles_at_once(self, service: Running, admin: Person) -> None:
        colleague = await person(service, VIEWER, service.acme)
        await service.give(colleague.user.id, service.acme, EDITOR.id)
        await service.give(colleague.user.id, service.globex, VIEWER.id)
        assert (await admin.delete(f"/members/{colleague.user.id}")).status_code == 204
        assert await roles_of(admin, colleague.user.id) == []
        assert (await colleague.get("/members")).status_code == 401
        again = await service.exchange_for(colleague.user)
        colleague.token = again["access_token"]
        assert (await colleague.get("/members")).status_code == 403
        colleague.tenant = service.globex
        assert (await colleague.get("/members")).status_code == 200

    async def test_204_is_told_by_the_audit_trail(self, service: Running, admin: Person) -> None:
        colleague = await person(service, VIEWER, service.acme)
        await admin.delete(f"/members/{colleague.user.id}")
        params = {"action": "membership.deleted"}
        [event] = (await admin.get("/audit-events", params=params)).json()["items"]
        assert event["target"] == colleague.user.id
        assert event["data"] == {"before": {"role": "viewer"}}

    async def test_204_a_second_administrator(self, service: Running, admin: Person) -> None:
        second = await person(service, TENANT_ADMIN, service.acme)
        assert (await admin.delete(f"/members/{second.user.id}")).status_code == 204

    async def test_409_last_administrator(self, service: Running, admin: Person) -> None:
        for path in ("", f"/roles/{TENANT_ADMIN.id}"):
            answer = await admin.delete(f"/members/{admin.user.id}{path}")
            assert answer.status_code == 409
            assert answer.json()["detail"] == "The tenant's last administrator stays."
        assert await roles_of(admin, admin.user.id) == ["tenant-admin"]

    async def test_409_for_one_of_two_who_remove_each_other(
        self, service: Running, admin: Person
    ) -> None:
        second = await person(service, TENANT_ADMIN, service.acme)
        answers = await asyncio.gather(
            admin.delete(f"/members/{second.user.id}"), second.delete(f"/members/{admin.user.id}")
        )
        # Whoever comes second is not admitted any more, or is the last one.
        statuses = sorted(answer.status_code for answer in answers)
        assert statuses[0] == 204
        assert statuses[1] in (401, 403, 409)

    async def test_409_a_disabled_administrator_does_not_count(
        self, service: Running, admin: Person
    ) -> None:
        second = await person(service, TENANT_ADMIN, service.acme)
        async with service.service.parts.store.transaction() as tx:
            await tx.users.set_disabled(second.user.id, await tx.now())
        assert (await admin.delete(f"/members/{admin.user.id}")).status_code == 409
        assert (await admin.delete(f"/members/{second.user.id}")).status_code == 204

    async def test_403_one_with_more_than_the_caller_has(self, service: Running) -> None:
        role = await service.add_role(service.acme, "manager", "users:read", "users:write")
        caller = await person(service, role, service.acme)
        editor = await person(service, EDITOR, service.acme)
        await service.give(editor.user.id, service.acme, role.id)
        for path in ("", f"/roles/{role.id}", f"/roles/{EDITOR.id}"):
            answer = await caller.delete(f"/members/{editor.user.id}{path}")
            assert answer.status_code == 403


class TestTakeRole:
    async def test_204_the_others_stay(self, service: Running, admin: Person) -> None:
        colleague = await person(service, VIEWER, service.acme)
        await service.give(colleague.user.id, service.acme, EDITOR.id)
        path = f"/members/{colleague.user.id}/roles/{EDITOR.id}"
        assert (await admin.delete(path)).status_code == 204
        assert await roles_of(admin, colleague.user.id) == ["viewer"]
        assert (await admin.delete(path)).status_code == 404
        assert (await colleague.get("/members")).status_code == 401

    async def test_404_one_that_is_not_held(self, admin: Person) -> None:
        for role_id in (VIEWER.id, new_id(), "junk"):
            path = f"/members/{admin.user.id}/roles/{role_id}"
            assert (await admin.delete(path)).status_code == 404
