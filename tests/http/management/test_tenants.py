"""`/tenants`: a tree that its administrators build (P1, P5 of the reference list)."""

from __future__ import annotations

import pytest

from keyturn.server.domain.ids import new_id
from keyturn.server.domain.permissions import EDITOR, TENANT_ADMIN, VIEWER
from tests.http.conftest import Running
from tests.http.management.conftest import Person, person


async def child(admin: Person, name: str = "gateways") -> dict[str, str]:
    answer = await admin.post("/tenants", {"name": name})
    assert answer.status_code == 201, answer.text
    made: dict[str, str] = answer.json()
    return made


class TestCreateTenant:
    async def test_201(self, admin: Person) -> None:
        answer = await admin.post("/tenants", {"name": "gateways"})
        assert answer.status_code == 201
        body = answer.json()
        assert body["parent_id"] == admin.tenant
        assert answer.headers["location"] == body["href"] == f"/iam/tenants/{body['id']}"
        read = await admin.get(f"/tenants/{body['id']}")
        assert read.json() == body
        assert read.headers["etag"] == answer.headers["etag"]

    async def test_201_roles_above_reach_it(self, service: Running, admin: Person) -> None:
        made = await child(admin)
        token = (await service.exchange_for(admin.user))["access_token"]
        me = (await service.get("/iam/users/me", token)).json()
        assert (made["id"], "tenant-admin") in {
            (item["tenant_id"], item["role_name"]) for item in me["roles"]
        }

    async def test_409_duplicate_name_in_any_case(self, admin: Person) -> None:
        await child(admin, "Straße")
        answer = await admin.post("/tenants", {"name": "STRASSE"})
        assert answer.status_code == 409

    @pytest.mark.parametrize(
        "body",
        [
            {},
            {"name": ""},
            {"name": 1},
            {"name": None},
            {"name": "x" * 129},
            {"name": " x"},
            {"name": "a\u0000b"},
            {"name": "a\nb"},
            {"name": "x", "parent_id": "01a201a3-0000-7000-8000-000000000000"},
            [],
            "x",
        ],
        ids=lambda body: (
            str(body)[:24].translate({0: "0", 10: "n"}) if len(str(body)) < 60 else "long"
        ),
    )
    async def test_400_names_the_field(self, admin: Person, body: object) -> None:
        answer = await admin.post("/tenants", body)
        assert answer.status_code == 400
        assert answer.json()["errors"][0].keys() == {"field", "detail"}

    async def test_400_lone_surrogate(self, admin: Person) -> None:
        answer = await admin.call(
            "POST",
            "/tenants",
            content=b'{"name": "\\ud800"}',
            headers={"content-type": "application/json"},
        )
        assert answer.status_code == 400

    async def test_400_repeated_member(self, admin: Person) -> None:
        answer = await admin.call(
            "POST",
            "/tenants",
            content=b'{"name": "a", "name": "b"}',
            headers={"content-type": "application/json"},
        )
        assert answer.status_code == 400

    @pytest.mark.parametrize("role", [EDITOR, VIEWER], ids=lambda role: role.name)
    async def test_403_without_the_permission(self, service: Running, role: object) -> None:
        caller = await person(service, role, service.acme)  # type: ignore[arg-type]
        assert (await caller.post("/tenants", {"name": "x"})).status_code == 403


class TestIdempotencyKey:
    async def test_201_the_same_answer_and_one_tenant(self, admin: Person) -> None:
        headers = {"Idempotency-Key": "once"}
        first = await admin.post("/tenants", {"name": "one"}, headers=headers)
        again = await admin.post("/tenants", {"name": "one"}, headers=headers)
        assert first.status_code == again.status_code == 201
        assert again.json() == first.json()
        assert again.headers["idempotency-replayed"] == "true"
        assert len((await admin.get("/tenants")).json()["items"]) == 1

    async def test_422_for_another_request(self, admin: Person) -> None:
        headers = {"Idempotency-Key": "once"}
        await admin.post("/tenants", {"name": "one"}, headers=headers)
        answer = await admin.post("/tenants", {"name": "two"}, headers=headers)
        assert answer.status_code == 422

    async def test_a_refusal_is_not_kept(self, admin: Person) -> None:
        headers = {"Idempotency-Key": "once"}
        made = await child(admin, "one")
        assert (await admin.post("/tenants", {"name": "one"}, headers=headers)).status_code == 409
        assert (await admin.delete(f"/tenants/{made['id']}")).status_code == 204
        assert (await admin.post("/tenants", {"name": "one"}, headers=headers)).status_code == 201

    async def test_somebody_elses_key_is_another(self, service: Running, admin: Person) -> None:
        headers = {"Idempotency-Key": "once"}
        other = await person(service, TENANT_ADMIN, service.globex)
        first = await admin.post("/tenants", {"name": "one"}, headers=headers)
        second = await other.post("/tenants", {"name": "one"}, headers=headers)
        assert first.json()["id"] != second.json()["id"]

    @pytest.mark.parametrize("key", ["", "x" * 256, "a\tb"], ids=["empty", "long", "tab"])
    async def test_400_malformed(self, admin: Person, key: str) -> None:
        answer = await admin.post("/tenants", {"name": "x"}, headers={"Idempotency-Key": key})
        assert answer.status_code == 400


class TestListTenants:
    async def test_200_pages_in_a_stable_order(self, admin: Person) -> None:
        for name in ("b", "A", "c", "ä", "Z"):
            await child(admin, name)
        names: list[str] = []
        cursor = None
        while True:
            params = {"limit": "2", **({"cursor": cursor} if cursor else {})}
            page = (await admin.get("/tenants", params=params)).json()
            names += [item["name"] for item in page["items"]]
            cursor = page["next_cursor"]
            if cursor is None:
                break
        assert names == ["A", "b", "c", "Z", "ä"]

    async def test_200_below_on_all_levels_and_by_name(self, admin: Person) -> None:
        outer = await child(admin, "Outer")
        inside = Person(admin.service, admin.user, admin.token, outer["id"])
        inner = await child(inside, "Inner_%")
        near = (await admin.get("/tenants")).json()["items"]
        assert [item["id"] for item in near] == [outer["id"]]
        far = (await admin.get("/tenants", params={"below": "true"})).json()["items"]
        assert [item["id"] for item in far] == [outer["id"], inner["id"]]
        for name, found in (("inner_%", [inner["id"]]), ("inner__", []), ("out", [outer["id"]])):
            params = {"below": "true", "name": name}
            items = (await admin.get("/tenants", params=params)).json()["items"]
            assert [item["id"] for item in items] == found

    @pytest.mark.parametrize(
        "query",
        [
            "limit=0",
            "limit=201",
            "limit=x",
            "cursor=x",
            "cursor=WzFd",
            "nonsense=1",
            "limit=1&limit=2",
            "below=perhaps",
        ],
    )
    async def test_400(self, admin: Person, query: str) -> None:
        assert (await admin.get(f"/tenants?{query}")).status_code == 400


class TestReadTenant:
    async def test_404_others_like_missing(self, service: Running, admin: Person) -> None:
        bodies = []
        for tenant in (service.globex, new_id(), "x", service.demo.platform.tenant.id):
            answer = await admin.get(f"/tenants/{tenant}")
            assert answer.status_code == 404
            bodies.append({k: v for k, v in answer.json().items() if k != "request_id"})
        assert all(body == bodies[0] for body in bodies)


class TestRenameTenant:
    async def test_200_with_the_right_version(self, admin: Person) -> None:
        made = await child(admin)
        tag = (await admin.get(f"/tenants/{made['id']}")).headers["etag"]
        path = f"/tenants/{made['id']}"
        answer = await admin.patch(path, {"name": "new"}, headers={"If-Match": tag})
        assert (answer.status_code, answer.json()["name"]) == (200, "new")
        assert answer.headers["etag"] != tag
        stale = await admin.patch(path, {"name": "newer"}, headers={"If-Match": tag})
        assert stale.status_code == 412
        weak = await admin.patch(path, {"name": "newer"}, headers={"If-Match": f"W/{tag}"})
        assert weak.status_code == 412
        many = await admin.patch(
            path, {"name": "newer"}, headers={"If-Match": f"{tag}, {answer.headers['etag']}"}
        )
        assert many.status_code == 200

    async def test_409(self, admin: Person) -> None:
        await child(admin, "taken")
        made = await child(admin)
        assert (await admin.patch(f"/tenants/{made['id']}", {"name": "Taken"})).status_code == 409


class TestSuspendTenant:
    async def test_200_ends_tokens_at_once_and_resumes(
        self, service: Running, root_admin: Person, admin: Person
    ) -> None:
        answer = await root_admin.post(f"/tenants/{service.acme}/suspend")
        assert answer.json()["suspended_at"]
        assert (await admin.get("/tenants")).status_code == 403
        again = await root_admin.post(f"/tenants/{service.acme}/suspend")
        assert again.json()["suspended_at"] == answer.json()["suspended_at"]
        read = await root_admin.get(f"/tenants/{service.acme}")
        assert read.headers["etag"] == again.headers["etag"] == answer.headers["etag"] == '"2"'
        resumed = await root_admin.post(f"/tenants/{service.acme}/resume")
        assert resumed.json()["suspended_at"] is None
        fresh = await service.exchange_for(admin.user)
        admin.token = fresh["access_token"]
        assert (await admin.get("/tenants")).status_code == 200

    async def test_200_what_is_suspended_below_stays_so(
        self, service: Running, root_admin: Person, admin: Person
    ) -> None:
        made = await child(admin)
        await admin.post(f"/tenants/{made['id']}/suspend")
        await root_admin.post(f"/tenants/{service.acme}/suspend")
        await root_admin.post(f"/tenants/{service.acme}/resume")
        admin.token = (await service.exchange_for(admin.user))["access_token"]
        me = (await service.get("/iam/users/me", admin.token)).json()
        assert {item["tenant_id"] for item in me["roles"]} == {service.acme}
        inside = Person(service, admin.user, admin.token, made["id"])
        assert (await inside.get("/tenants")).status_code == 403

    async def test_409_ones_own(self, admin: Person) -> None:
        for verb in ("suspend", "resume"):
            assert (await admin.post(f"/tenants/{admin.tenant}/{verb}")).status_code == 409

    async def test_404_a_tenant_above(self, service: Running, admin: Person) -> None:
        above = service.demo.platform.tenant.id
        assert (await admin.post(f"/tenants/{above}/suspend")).status_code == 404


class TestDeleteTenant:
    async def test_204_empty(self, service: Running, admin: Person) -> None:
        made = await child(admin)
        other = await service.add_user()
        await service.give(other.id, made["id"], VIEWER.id)
        assert (await admin.delete(f"/tenants/{made['id']}")).status_code == 204
        assert (await admin.get(f"/tenants/{made['id']}")).status_code == 404

    async def test_409_not_empty(self, service: Running, admin: Person) -> None:
        parent = await child(admin, "parent")
        await service.add_tenant("below", parent["id"])
        home = await child(admin, "home")
        await service.add_user(home=home["id"])
        for tenant in (parent, home):
            assert (await admin.delete(f"/tenants/{tenant['id']}")).status_code == 409
        assert (await admin.delete(f"/tenants/{admin.tenant}")).status_code == 409

    async def test_412(self, admin: Person) -> None:
        made = await child(admin)
        headers = {"If-Match": '"99"'}
        assert (await admin.delete(f"/tenants/{made['id']}", headers=headers)).status_code == 412


class TestPolicy:
    async def test_200_the_strictest_along_the_tree_holds(
        self, service: Running, root_admin: Person, admin: Person
    ) -> None:
        path = f"/tenants/{service.acme}/policy"
        body = (await admin.get(path)).json()
        assert set(body["policy"].values()) == {None}
        assert body["effective"]["offboarding"] == "keep"
        above = {"max_api_key_lifetime": 86_400, "offboarding": "disable"}
        root = f"/tenants/{service.demo.platform.tenant.id}/policy"
        assert (await root_admin.put(root, above)).status_code == 200
        own = {"max_api_key_lifetime": 999_999, "offboarding": "keep", "single_token": True}
        answer = await admin.put(path, own)
        effective = answer.json()["effective"]
        assert effective["max_api_key_lifetime"] == 86_400
        assert effective["offboarding"] == "disable"
        assert effective["single_token"] is True
        by = answer.json()["settled_by"]
        platform = service.demo.platform.tenant
        above = {"tenant_id": platform.id, "tenant_name": platform.name}
        assert by["max_api_key_lifetime"] == by["offboarding"] == above
        assert by["single_token"]["tenant_id"] == service.acme
        assert by["max_api_keys"] is None

    @pytest.mark.parametrize(
        "body",
        [
            {"max_api_key_lifetime": 0},
            {"max_api_key_lifetime": "1"},
            {"max_api_key_lifetime": 1.5},
            {"offboarding": "burn"},
            {"single_token": "yes"},
            {"max_api_keys": -1},
            {"unknown": True},
        ],
        ids=str,
    )
    async def test_400(self, admin: Person, body: dict[str, object]) -> None:
        answer = await admin.put(f"/tenants/{admin.tenant}/policy", body)
        assert answer.status_code == 400
        assert answer.json()["errors"][0]["field"] == next(iter(body))

    async def test_412(self, admin: Person) -> None:
        path = f"/tenants/{admin.tenant}/policy"
        tag = (await admin.get(path)).headers["etag"]
        assert (await admin.put(path, {}, headers={"If-Match": tag})).status_code == 200
        assert (await admin.put(path, {}, headers={"If-Match": tag})).status_code == 412
