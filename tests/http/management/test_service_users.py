"""`/service-users`: API-only users (F1, F7; P1, P4 to P6; N3; W1, W3 of the reference list)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from keyturn.server.domain.ids import new_id
from keyturn.server.domain.model import Role, UserKind
from keyturn.server.domain.permissions import AUDITOR, EDITOR, TENANT_ADMIN, VIEWER
from keyturn.server.domain.policy import Policy
from tests.http.conftest import Running
from tests.http.management.conftest import Person, person


async def make(caller: Person, name: str = "backup", **more: Any) -> dict[str, Any]:
    """A service user, a viewer unless said otherwise."""
    roles = {} if "memberships" in more else {"role_id": VIEWER.id}
    answer = await caller.post("/service-users", {"name": name, **roles, **more})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def exchange(service: Running, made: dict[str, Any], secret: str = "") -> Any:
    return await service.token(
        grant_type="password",
        username=made["email"],
        password=secret or made["api_key"]["secret"],
    )


async def as_service_user(service: Running, made: dict[str, Any], tenant: str) -> Person:
    """The service user, calling with its own key."""
    answer = await exchange(service, made)
    assert answer.status_code == 200, answer.text
    async with service.service.parts.store.transaction() as tx:
        user = await tx.users.get(made["id"])
    assert user is not None
    return Person(service, user, answer.json()["access_token"], tenant)


async def settle(service: Running, tenant: str, policy: Policy) -> None:
    async with service.service.parts.store.transaction() as tx:
        found = await tx.tenants.get(tenant)
        assert found is not None
        await tx.tenants.save(replace(found, policy=policy))


class TestCreateServiceUser:
    async def test_201_f1_user_and_key_in_one_call(self, service: Running, admin: Person) -> None:
        made = await make(admin, description="copies\nall", api_key={"name": "host"})
        assert made["roles"] == [
            {"tenant_id": service.acme, "role_id": VIEWER.id, "role_name": "viewer"}
        ]
        assert made["api_key"]["secret"].startswith("kt_")
        assert made["api_key"]["created_by"] == admin.user.id
        caller = await as_service_user(service, made, service.acme)
        assert (await caller.get("/members")).status_code == 200

    async def test_201_w1_what_is_answered(self, service: Running, admin: Person) -> None:
        answer = await admin.post(
            "/service-users",
            {
                "name": "Night Backup",
                "description": "d",
                "role_id": VIEWER.id,
                "api_key": {"name": "host"},
            },
        )
        made = answer.json()
        assert answer.headers["location"] == made["href"] == f"/iam/service-users/{made['id']}"
        assert (made["name"], made["description"], made["kind"]) == ("Night Backup", "d", "service")
        assert made["email"] == "night-backup@acme.service.keyturn.internal"
        assert made["home_tenant_id"] == service.acme
        assert made["created_by"] == admin.user.id
        assert (made["disabled_at"], made["single_token"]) == (None, None)
        read = await admin.get(f"/service-users/{made['id']}")
        # The secret is shown at the creation alone.
        assert read.json() == {name: made[name] for name in made if name != "api_key"}
        assert read.headers["etag"] == answer.headers["etag"]
        assert made["api_key"]["secret"] not in read.text

    async def test_201_p1_one_organisation_reaches_its_products(
        self, service: Running, admin: Person
    ) -> None:
        product = await service.add_tenant("product", service.acme)
        made = await make(admin, api_key={"name": "k"})
        caller = await as_service_user(service, made, product.id)
        assert (await caller.get("/members")).status_code == 200

    async def test_201_p1_one_product_and_nothing_else(
        self, service: Running, admin: Person
    ) -> None:
        product = await service.add_tenant("product", service.acme)
        other = await service.add_tenant("other", service.acme)
        given = [{"tenant_id": product.id, "role_id": VIEWER.id}]
        made = await make(admin, memberships=given, api_key={"name": "k"})
        caller = await as_service_user(service, made, product.id)
        assert (await caller.get("/members")).status_code == 200
        for elsewhere in (service.acme, other.id, service.globex):
            caller.tenant = elsewhere
            assert (await caller.get("/members")).status_code == 403

    async def test_201_p4_its_permissions_are_its_roles_alone(
        self, service: Running, admin: Person
    ) -> None:
        made = await make(admin, role_id=AUDITOR.id, api_key={"name": "k"})
        body = (await exchange(service, made)).json()
        assert set(body["scope"].split()) == AUDITOR.permissions

    async def test_201_idempotency_key_makes_one_key(self, admin: Person) -> None:
        headers = {"Idempotency-Key": "once"}
        body = {"name": "n", "role_id": VIEWER.id, "api_key": {"name": "k"}}
        first = await admin.post("/service-users", body, headers=headers)
        again = await admin.post("/service-users", body, headers=headers)
        assert again.status_code == 201
        assert again.json() == first.json()

    async def test_201_two_of_one_name_get_different_emails(
        self, service: Running, admin: Person
    ) -> None:
        first = await make(admin, "a b")
        second = await make(admin, "a-b")
        twin = await service.add_tenant("acme", service.acme)
        elsewhere = await person(service, TENANT_ADMIN, twin.id)
        third = await make(elsewhere, "A B")
        assert len({user["email"] for user in (first, second, third)}) == 3

    async def test_201_f7_root_admin_and_tenant_admin(
        self, service: Running, admin: Person, root_admin: Person
    ) -> None:
        await make(admin)
        await make(root_admin)
        root_admin.tenant = service.globex
        made = await make(root_admin)
        assert made["home_tenant_id"] == service.globex

    @pytest.mark.parametrize("role", [EDITOR, VIEWER, AUDITOR], ids=lambda role: role.name)
    async def test_403_f7_others(self, service: Running, role: Role) -> None:
        caller = await person(service, role, service.acme)
        answer = await caller.post("/service-users", {"name": "n", "role_id": AUDITOR.id})
        assert answer.status_code == 403

    async def test_403_f7_p6_service_users_unless_the_policy_says_so(
        self, service: Running
    ) -> None:
        caller = await person(service, TENANT_ADMIN, service.acme, kind=UserKind.SERVICE)
        body = {"name": "n", "role_id": VIEWER.id}
        assert (await caller.post("/service-users", body)).status_code == 403
        await settle(service, service.acme, Policy(service_users_administer=True))
        assert (await caller.post("/service-users", body)).status_code == 201

    async def test_403_more_than_the_caller_has(self, service: Running) -> None:
        role = await service.add_role(service.acme, "manager", "users:read", "users:write")
        caller = await person(service, role, service.acme)
        product = await service.add_tenant("product", service.acme)
        for roles in (
            {"role_id": TENANT_ADMIN.id},
            {"role_id": VIEWER.id},
            {"memberships": [{"tenant_id": product.id, "role_id": TENANT_ADMIN.id}]},
        ):
            answer = await caller.post("/service-users", {"name": "n", **roles})
            assert answer.status_code == 403
        await make(caller, role_id=role.id)
        assert len((await caller.get("/service-users")).json()["items"]) == 2

    async def test_403_a_key_needs_its_own_permission(self, service: Running) -> None:
        role = await service.add_role(service.acme, "manager", "users:read", "users:write")
        caller = await person(service, role, service.acme)
        body = {"name": "n", "role_id": role.id, "api_key": {"name": "k"}}
        assert (await caller.post("/service-users", body)).status_code == 403
        assert len((await caller.get("/service-users")).json()["items"]) == 1

    @pytest.mark.parametrize(
        ("body", "field"),
        [
            ({"name": "n"}, "role_id"),
            ({"name": "n", "role_id": None, "memberships": None}, "role_id"),
            ({"name": "n", "memberships": []}, "memberships"),
            ({"name": "n", "role_id": "01a201a3-0000-7000-8000-000000000000"}, "role_id"),
            ({"name": "n", "role_id": "junk"}, "role_id"),
            ({"role_id": VIEWER.id}, "name"),
            ({"name": "", "role_id": VIEWER.id}, "name"),
            ({"name": "n", "role_id": VIEWER.id, "description": 1}, "description"),
            ({"name": "n", "role_id": VIEWER.id, "password": "x"}, "password"),
            ({"name": "n", "role_id": VIEWER.id, "email": "a@b.example"}, "email"),
            ({"name": "n", "role_id": VIEWER.id, "api_key": {}}, "api_key.name"),
            (
                {"name": "n", "role_id": VIEWER.id, "api_key": {"name": "k", "role_ids": []}},
                "api_key.role_ids",
            ),
            (
                {"name": "n", "role_id": VIEWER.id, "api_key": {"name": "k", "networks": ["x"]}},
                "api_key.networks.0",
            ),
        ],
        ids=lambda value: str(value)[:40],
    )
    async def test_400_names_the_field(
        self, admin: Person, body: dict[str, Any], field: str
    ) -> None:
        answer = await admin.post("/service-users", body)
        assert answer.status_code == 400
        assert answer.json()["errors"][0]["field"] == field

    async def test_400_f1_both_a_role_and_a_list(self, service: Running, admin: Person) -> None:
        listed = [{"tenant_id": service.acme, "role_id": VIEWER.id}]
        body = {"name": "n", "role_id": VIEWER.id, "memberships": listed}
        answer = await admin.post("/service-users", body)
        assert answer.status_code == 400
        assert answer.json()["errors"][0]["field"] == "memberships"

    async def test_400_tenants_not_at_or_below_this_one(
        self, service: Running, admin: Person
    ) -> None:
        for tenant in (service.globex, service.demo.platform.tenant.id, new_id()):
            listed = [
                {"tenant_id": service.acme, "role_id": VIEWER.id},
                {"tenant_id": tenant, "role_id": VIEWER.id},
            ]
            answer = await admin.post("/service-users", {"name": "n", "memberships": listed})
            assert answer.status_code == 400
            assert answer.json()["errors"] == [
                {
                    "field": "memberships.1.tenant_id",
                    "detail": "There is no such tenant at or below this one.",
                }
            ]

    async def test_400_roles_of_other_tenants_twice_or_too_many(
        self, service: Running, admin: Person
    ) -> None:
        product = await service.add_tenant("product", service.acme)
        theirs = await service.add_role(service.globex, "theirs", "assets:read")
        below = await service.add_role(product.id, "below", "assets:read")
        here, there = service.acme, product.id
        for listed, field in (
            ([(here, theirs.id)], "memberships.0.role_id"),
            ([(here, below.id)], "memberships.0.role_id"),
            ([(there, below.id), (there, below.id)], "memberships.1"),
            ([(here, VIEWER.id)] * 51, "memberships"),
        ):
            given = [{"tenant_id": tenant, "role_id": role} for tenant, role in listed]
            answer = await admin.post("/service-users", {"name": "n", "memberships": given})
            assert answer.status_code == 400
            assert answer.json()["errors"][0]["field"] == field
        await make(admin, memberships=[{"tenant_id": there, "role_id": below.id}])

    async def test_409_duplicate_name_in_any_case(self, service: Running, admin: Person) -> None:
        await make(admin, "Straße")
        answer = await admin.post("/service-users", {"name": "STRASSE", "role_id": VIEWER.id})
        assert answer.status_code == 409
        assert answer.json()["errors"][0]["field"] == "name"
        await make(await person(service, TENANT_ADMIN, service.globex), "Straße")

    async def test_409_as_many_as_the_policy_allows(self, service: Running, admin: Person) -> None:
        # The demo's is the first.
        await settle(service, service.acme, Policy(max_service_users=2))
        await make(admin, "one")
        answer = await admin.post("/service-users", {"name": "two", "role_id": VIEWER.id})
        assert answer.status_code == 409
        await settle(service, service.acme, Policy(max_service_users=0))
        answer = await admin.post("/service-users", {"name": "two", "role_id": VIEWER.id})
        assert answer.status_code == 409

    async def test_a_refused_key_makes_no_user(self, admin: Person) -> None:
        before = (await admin.get("/service-users")).json()
        body = {"name": "n", "role_id": VIEWER.id}
        narrow = {"name": "k", "role_ids": [EDITOR.id]}
        answer = await admin.post("/service-users", {**body, "api_key": narrow})
        assert answer.status_code == 400
        assert answer.json()["errors"][0]["field"] == "api_key.role_ids.0"
        assert (await admin.get("/service-users")).json() == before


class TestListServiceUsers:
    async def test_200_p5_in_the_products_view_and_in_the_organisations(
        self, service: Running, admin: Person
    ) -> None:
        product = await service.add_tenant("product", service.acme)
        inside = await person(service, TENANT_ADMIN, product.id)
        here, there = await make(admin, "here"), await make(inside, "there")

        async def names(caller: Person, **params: str) -> set[str]:
            items = (await caller.get("/service-users", params=params)).json()["items"]
            return {item["name"] for item in items}

        assert await names(inside) == {"there"}
        assert await names(admin) == {"here", "Demo service"}
        assert await names(admin, below="true") == {"here", "there", "Demo service"}
        below = (await admin.get("/service-users", params={"below": "true"})).json()["items"]
        homes = {item["name"]: item["home_tenant_name"] for item in below}
        assert (homes["here"], homes["there"]) == ("acme", "product")
        assert await names(admin, query="HER") == {"here"}
        assert await names(admin, query="her", below="true") == {"here", "there"}
        assert await names(admin, query="@", below="true") == {"here", "there", "Demo service"}
        assert await names(admin, query="%", below="true") == set()
        team = (await inside.get("/members")).json()["items"]
        assert there["id"] in {item["user_id"] for item in team}
        assert here["id"] not in {item["user_id"] for item in team}

    async def test_200_pages(self, admin: Person) -> None:
        for name in "abcd":
            await make(admin, name)
        for below in ("false", "true"):
            found: list[str] = []
            cursor = None
            while True:
                params = {"limit": "2", "below": below, **({"cursor": cursor} if cursor else {})}
                page = (await admin.get("/service-users", params=params)).json()
                found += [item["name"] for item in page["items"]]
                cursor = page["next_cursor"]
                if cursor is None:
                    break
            assert sorted(found) == ["Demo service", "a", "b", "c", "d"]

    async def test_200_humans_are_not_among_them(self, service: Running, admin: Person) -> None:
        await service.add_user(UserKind.HUMAN)
        items = (await admin.get("/service-users")).json()["items"]
        assert {item["kind"] for item in items} == {"service"}


class TestGetServiceUser:
    async def test_404_of_other_tenants_and_humans(
        self, service: Running, admin: Person, root_admin: Person
    ) -> None:
        product = await service.add_tenant("product", service.acme)
        inside = await person(service, TENANT_ADMIN, product.id)
        bodies = set()
        for user_id in (
            (await make(inside, "below"))["id"],
            (await make(root_admin, "above"))["id"],
            (await make(await person(service, TENANT_ADMIN, service.globex)))["id"],
            admin.user.id,
            new_id(),
            "junk",
        ):
            for verb, path, body in (
                ("GET", "", None),
                ("PATCH", "", {"name": "x"}),
                ("DELETE", "", None),
                ("POST", "/disable", None),
                ("POST", "/enable", None),
            ):
                more = {} if body is None else {"json": body}
                answer = await admin.call(verb, f"/service-users/{user_id}{path}", **more)
                assert answer.status_code == 404
                bodies.add(answer.json()["detail"])
        assert len(bodies) == 1


class TestEditServiceUser:
    async def test_200_w1_name_and_description(self, admin: Person) -> None:
        made = await make(admin)
        path = f"/service-users/{made['id']}"
        answer = await admin.patch(path, {"name": "Other", "description": "", "single_token": True})
        assert answer.status_code == 200
        assert answer.json() == {
            **made,
            "name": "Other",
            "description": "",
            "single_token": True,
        }
        assert (await admin.get(path)).json() == answer.json()

    async def test_200_what_is_omitted_stays(self, admin: Person) -> None:
        made = await make(admin, description="d")
        path = f"/service-users/{made['id']}"
        await admin.patch(path, {"single_token": False})
        assert (await admin.patch(path, {})).json() == {**made, "single_token": False}
        assert (await admin.patch(path, {"single_token": None})).json() == made

    async def test_200_its_own_name_in_other_case(self, admin: Person) -> None:
        made = await make(admin, "one")
        answer = await admin.patch(f"/service-users/{made['id']}", {"name": "ONE"})
        assert answer.json()["name"] == "ONE"

    async def test_409_anothers_name(self, admin: Person) -> None:
        await make(admin, "one")
        made = await make(admin, "two")
        answer = await admin.patch(f"/service-users/{made['id']}", {"name": "One"})
        assert answer.status_code == 409

    async def test_412_changed_since_it_was_read(self, admin: Person) -> None:
        made = await make(admin)
        path = f"/service-users/{made['id']}"
        seen = {"If-Match": (await admin.get(path)).headers["etag"]}
        assert (await admin.patch(path, {"name": "a"}, headers=seen)).status_code == 200
        assert (await admin.patch(path, {"name": "b"}, headers=seen)).status_code == 412
        assert (await admin.delete(path, headers=seen)).status_code == 412
        assert (await admin.get(path)).json()["name"] == "a"

    @pytest.mark.parametrize(
        "body", [{"name": None}, {"description": None}, {"email": "x"}, {"single_token": "yes"}]
    )
    async def test_400(self, admin: Person, body: dict[str, Any]) -> None:
        made = await make(admin)
        answer = await admin.patch(f"/service-users/{made['id']}", body)
        assert answer.status_code == 400
        assert answer.json()["errors"][0]["field"] in body

    async def test_403_p6_its_own(self, service: Running, admin: Person) -> None:
        made = await make(admin, role_id=TENANT_ADMIN.id, api_key={"name": "k"})
        caller = await as_service_user(service, made, service.acme)
        answer = await caller.patch(f"/service-users/{made['id']}", {"name": "x"})
        assert answer.status_code == 403


class TestDisable:
    async def test_200_tokens_end_at_once_and_keys_rest(
        self, service: Running, admin: Person
    ) -> None:
        made = await make(admin, api_key={"name": "k"})
        tokens = (await exchange(service, made)).json()
        path = f"/service-users/{made['id']}"
        answer = await admin.post(f"{path}/disable")
        assert answer.status_code == 200
        assert answer.json()["disabled_at"] is not None
        assert (await service.get("/iam/users/me", tokens["access_token"])).status_code == 401
        assert (await service.refresh(tokens["refresh_token"])).status_code == 400
        assert (await exchange(service, made)).status_code == 400
        assert (await admin.post(f"{path}/disable")).json() == answer.json()

    async def test_200_enabled_again_its_keys_work(self, service: Running, admin: Person) -> None:
        made = await make(admin, api_key={"name": "k"})
        before = (await exchange(service, made)).json()["access_token"]
        path = f"/service-users/{made['id']}"
        await admin.post(f"{path}/disable")
        answer = await admin.post(f"{path}/enable")
        assert answer.json() == (await admin.get(path)).json()
        assert answer.json()["disabled_at"] is None
        assert (await exchange(service, made)).status_code == 200
        # What ended has ended.
        assert (await service.get("/iam/users/me", before)).status_code == 401

    async def test_403_one_with_more_than_the_caller_has(
        self, service: Running, admin: Person
    ) -> None:
        product = await service.add_tenant("product", service.acme)
        role = await service.add_role(service.acme, "manager", "users:read", "users:write")
        caller = await person(service, role, service.acme)
        above = await make(admin, "above", role_id=EDITOR.id)
        deep = [{"tenant_id": product.id, "role_id": EDITOR.id}]
        below = await make(admin, "below", memberships=deep)
        apart = await make(admin, "apart", role_id=role.id)
        await service.give(apart["id"], service.globex, EDITOR.id)
        for user in (above, below):
            path = f"/service-users/{user['id']}"
            assert (await caller.post(f"{path}/disable")).status_code == 403
            assert (await caller.post(f"{path}/enable")).status_code == 403
            assert (await caller.delete(path)).status_code == 403
        assert (await caller.post(f"/service-users/{apart['id']}/disable")).status_code == 200

    async def test_409_last_administrator(self, service: Running, root_admin: Person) -> None:
        await settle(service, service.globex, Policy(service_users_administer=True))
        product = await service.add_tenant("product", service.globex)
        root_admin.token = (await service.exchange_for(root_admin.user))["access_token"]
        root_admin.tenant = service.globex
        given = [{"tenant_id": product.id, "role_id": TENANT_ADMIN.id}]
        made = await make(root_admin, memberships=given)
        path = f"/service-users/{made['id']}"
        assert (await root_admin.post(f"{path}/disable")).status_code == 409
        assert (await root_admin.delete(path)).status_code == 409
        await make(root_admin, "second", memberships=given)
        assert (await root_admin.delete(path)).status_code == 204


class TestDeleteServiceUser:
    async def test_204_w3_keys_tokens_and_refresh_tokens_at_once(
        self, service: Running, admin: Person
    ) -> None:
        made = await make(admin, api_key={"name": "k"})
        tokens = (await exchange(service, made)).json()
        refreshed = (await service.refresh(tokens["refresh_token"])).json()
        path = f"/service-users/{made['id']}"
        assert (await admin.delete(path)).status_code == 204
        for token in (tokens["access_token"], refreshed["access_token"]):
            assert (await service.get("/iam/users/me", token)).status_code == 401
            assert (await service.introspect(token)).json() == {"active": False}
        assert (await service.refresh(refreshed["refresh_token"])).status_code == 400
        assert (await exchange(service, made)).status_code == 400
        assert (await admin.get(path)).status_code == 404
        assert (await admin.delete(path)).status_code == 404
        keys = (await admin.get("/api-keys")).json()["items"]
        assert made["api_key"]["id"] not in {key["id"] for key in keys}

    async def test_204_its_name_is_free_again(self, admin: Person) -> None:
        made = await make(admin)
        await admin.delete(f"/service-users/{made['id']}")
        again = await make(admin)
        assert (again["email"], again["id"] == made["id"]) == (made["email"], False)

    async def test_204_is_told_by_the_audit_trail(self, admin: Person) -> None:
        made = await make(admin, api_key={"name": "k"})
        await admin.delete(f"/service-users/{made['id']}")
        params = {"target": made["id"]}
        answer = await admin.get("/audit-events", params=params)
        assert made["api_key"]["secret"] not in answer.text
        events = answer.json()["items"]
        told = {event["action"]: event for event in events}
        assert set(told) == {
            *("service_user.created", "service_user.deleted"),
            *("membership.created", "membership.deleted"),
        }
        deleted = told["service_user.deleted"]
        assert deleted["data"]["before"] == {"name": "backup", "email": made["email"]}
        assert deleted["actor"]["user_id"] == admin.user.id

    async def test_409_last_administrator_of_a_tenant_above(
        self, service: Running, admin: Person
    ) -> None:
        above = await service.add_tenant("above")
        await settle(service, above.id, Policy(service_users_administer=True))
        below = await service.add_tenant("below", above.id)
        caller = await person(service, TENANT_ADMIN, below.id)
        made = await make(caller)
        await service.give(made["id"], above.id, TENANT_ADMIN.id)
        assert (await caller.delete(f"/service-users/{made['id']}")).status_code == 409

    async def test_204_in_a_tenant_apart_it_may_be_the_last_administrator(
        self, service: Running, admin: Person
    ) -> None:
        made = await make(admin)
        await service.give(made["id"], service.globex, TENANT_ADMIN.id)
        assert (await admin.delete(f"/service-users/{made['id']}")).status_code == 204


class TestServiceUsersAreNotPeople:
    async def test_p6_no_password_and_no_administering(
        self, service: Running, admin: Person
    ) -> None:
        made = await make(admin, role_id=TENANT_ADMIN.id, api_key={"name": "k"})
        caller = await as_service_user(service, made, service.acme)
        async with service.service.parts.store.transaction() as tx:
            assert await tx.users.password(made["id"]) is None
        for verb, path, body in (
            ("POST", "/service-users", {"name": "n", "role_id": VIEWER.id}),
            ("DELETE", f"/members/{admin.user.id}", None),
            ("POST", "/members", {"user_id": made["id"], "role_id": EDITOR.id}),
        ):
            more = {} if body is None else {"json": body}
            assert (await caller.call(verb, path, **more)).status_code == 403
        assert (await caller.get("/service-users")).status_code == 200

    async def test_p6_no_password_of_its_own_and_no_mail(
        self, service: Running, admin: Person
    ) -> None:
        made = await make(admin, api_key={"name": "k"})
        caller = await as_service_user(service, made, service.acme)
        caller.tenant = None
        password = {"current": None, "new": "correct horse battery staple"}
        assert (await caller.post("/users/me/password", password)).status_code == 403
        other = await person(service, TENANT_ADMIN, service.globex)
        offer = {"email": made["email"], "role_id": VIEWER.id}
        answer = await other.post("/invitations", offer)
        assert (answer.status_code, answer.json()["mailed"]) == (201, False)

    async def test_n3_an_administrator_makes_its_further_keys(
        self, service: Running, admin: Person
    ) -> None:
        made = await make(admin)
        answer = await admin.post("/api-keys", {"user_id": made["id"], "name": "by hand"})
        assert answer.status_code == 201
        assert (await exchange(service, made, answer.json()["secret"])).status_code == 200
