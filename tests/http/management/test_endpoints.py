"""`/endpoints`: the catalogue, imports into it, and what opens a call."""

from __future__ import annotations

from typing import Any

import pytest

from keyturn.server.domain.ids import new_id
from keyturn.server.domain.model import Role, User, UserKind
from keyturn.server.domain.permissions import EDITOR, OWN, TENANT_ADMIN, VIEWER
from keyturn.server.services.callers import OWN_SERVICE, Needs
from keyturn.server.services.management import catalogue as catalogue_module
from keyturn.server.services.management import imports as imports_module
from tests.http.conftest import Running
from tests.http.contract import document as own_document
from tests.http.management.conftest import Person, person
from tests.http.management.test_permissions import DEMO
from tests.http.management.test_roles import FIVE, created

NEW: dict[str, Any] = {
    "service": "fleet",
    "method": "GET",
    "path": "/hosts/{host_id}/report",
    "name": "Read a host's report",
    "opened_by": [["hosts:read"], ["reports:read", "hosts:list"]],
}


async def registered(who: Person, **changes: Any) -> dict[str, Any]:
    answer = await who.post("/endpoints", NEW | changes)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def found(who: Person, **params: Any) -> list[str]:
    """Paths of what a search finds."""
    answer = await who.get("/endpoints", params=params)
    assert answer.status_code == 200, answer.text
    return [item["path"] for item in answer.json()["items"]]


async def by_call(who: Person) -> dict[str, dict[str, Any]]:
    """The catalogue, by path and method."""
    items = (await who.get("/endpoints", params={"limit": 200})).json()["items"]
    return {item["path"] + item["method"]: item for item in items}


async def narrowed(
    service: Running, *endpoint_ids: str, role: Role = TENANT_ADMIN
) -> tuple[User, dict[str, Any]]:
    """A service user in acme, and the tokens of its key that lists these endpoints."""
    user = await service.add_user(home=service.acme)
    await service.give(user.id, service.acme, role.id)
    return user, await renewed(service, user, *endpoint_ids)


async def renewed(service: Running, user: User, *endpoint_ids: str) -> dict[str, Any]:
    """Tokens of a new key that lists these endpoints."""
    key = await service.add_key(user_id=user.id, endpoint_ids=endpoint_ids)
    return await service.exchange(tenant=service.acme, key=key, user=user.username)


async def alive(service: Running, tokens: dict[str, Any]) -> bool:
    answer = await service.introspect(tokens["access_token"])
    active: bool = answer.json()["active"]
    return active


class TestRegisterEndpoint:
    async def test_201(self, admin: Person) -> None:
        answer = await admin.post("/endpoints", NEW)
        assert answer.status_code == 201
        body = answer.json()
        assert body == {
            **NEW,
            "id": body["id"],
            "href": f"/iam/endpoints/{body['id']}",
            "opened_by": [["hosts:read"], ["hosts:list", "reports:read"]],
            "listable": True,
            "deprecated": False,
            "experimental": False,
            "administrative": False,
            "tenant_id": admin.tenant,
            "created_at": body["created_at"],
            "updated_at": body["created_at"],
        }
        assert answer.headers["location"] == body["href"]
        read = await admin.get(f"/endpoints/{body['id']}")
        assert (read.json(), read.headers["etag"]) == (body, answer.headers["etag"])

    async def test_201_registers_unknown_permissions(self, admin: Person) -> None:
        await admin.put("/permissions/hosts:read", {"description": "Read hosts."})
        await registered(admin, opened_by=[["hosts:read"], ["hosts:list", "users:read"]])
        items = (await admin.get("/permissions")).json()["items"]
        foreign = {i["name"]: i["description"] for i in items if i["name"] not in OWN | DEMO}
        assert foreign == {"hosts:read": "Read hosts.", "hosts:list": ""}

    @pytest.mark.parametrize(
        "changes",
        [
            {"opened_by": [["users:write"]]},
            {"opened_by": [["hosts:read"], ["hosts:read", "roles:write"]]},
            {"opened_by": [["tenants:write"]]},
            {"administrative": True},
        ],
        ids=str,
    )
    async def test_201_f6_what_administers_users_is_not_listable(
        self, admin: Person, changes: dict[str, Any]
    ) -> None:
        made = await registered(admin, **changes)
        assert made["listable"] is False
        [item] = (await admin.get("/endpoints")).json()["items"]
        assert item["listable"] is False

    @pytest.mark.parametrize(
        ("method", "path"),
        [
            ("POST", "/iam/service-users"),
            ("PATCH", "/iam/service-users/:id/invitations/:id"),
            ("POST", "/iam/invitations"),
            ("DELETE", "/members/{user_id}"),
            ("PUT", "/iam/permissions/{name}"),
        ],
    )
    async def test_201_f6_own_endpoints_are_known_by_name(
        self, admin: Person, method: str, path: str
    ) -> None:
        own = {"service": OWN_SERVICE, "method": method, "path": path}
        harmless: dict[str, Any] = {"opened_by": [["users:read"]], "administrative": False}
        made = await registered(admin, **own, **harmless)
        assert (made["administrative"], made["listable"]) == (True, False)
        changed = (await admin.patch(f"/endpoints/{made['id']}", harmless)).json()
        assert (changed["administrative"], changed["listable"]) == (True, False)
        others = await registered(admin, **own | harmless | {"service": "fleet"})
        assert others["listable"] is True
        item = {method.lower(): {"x-permissions": "users:read"}}
        await imported(admin, DOCUMENT | {"paths": {path: item, "/iam/roles": ANY}}, OWN_SERVICE)
        catalogue = {i["id"]: i for i in (await admin.get("/endpoints")).json()["items"]}
        assert catalogue[made["id"]]["listable"] is False

    @pytest.mark.parametrize("opened_by", [[], [[]]], ids=str)
    async def test_201_for_nobody_and_for_everybody(
        self, admin: Person, opened_by: list[list[str]]
    ) -> None:
        assert (await registered(admin, opened_by=opened_by))["opened_by"] == opened_by

    async def test_201_once_with_an_idempotency_key(self, admin: Person) -> None:
        headers = {"Idempotency-Key": "k-1"}
        first, second = [await admin.post("/endpoints", NEW, headers=headers) for _ in range(2)]
        assert (second.status_code, second.json()) == (201, first.json())
        assert len(await found(admin)) == 1

    @pytest.mark.parametrize(
        ("change", "field"),
        [
            ({"service": ""}, "service"),
            ({"service": "a\nb"}, "service"),
            ({"method": "get"}, "method"),
            ({"method": "TRACE"}, "method"),
            ({"path": ""}, "path"),
            ({"path": "hosts"}, "path"),
            ({"path": "/hosts?x=1"}, "path"),
            ({"path": "/a b"}, "path"),
            ({"path": "/a\u0000"}, "path"),
            ({"path": "/{"}, "path"),
            ({"path": "/" + "a" * 512}, "path"),
            ({"path": "/a" * 33}, "path"),
            ({"name": " "}, "name"),
            ({"opened_by": None}, "opened_by"),
            ({"opened_by": "hosts:read"}, "opened_by"),
            ({"opened_by": ["hosts:read"]}, "opened_by.0"),
            ({"opened_by": [["hosts:read"], ["Hosts"]]}, "opened_by.1.0"),
            ({"opened_by": [[f"a:{n}" for n in range(100)], [f"b:{n}" for n in range(100)]]},
             "opened_by"),
            ({"deprecated": "no"}, "deprecated"),
            ({"tenant_id": VIEWER.id}, "tenant_id"),
        ],
        ids=lambda value: str(value)[:30].translate({0: "0"}),
    )  # fmt: skip
    async def test_400_names_the_field(
        self, admin: Person, change: dict[str, Any], field: str
    ) -> None:
        answer = await admin.post("/endpoints", NEW | change)
        assert answer.status_code == 400
        assert answer.json()["errors"][0]["field"] == field
        assert await found(admin, experimental="true") == []

    async def test_403_viewer(self, service: Running) -> None:
        viewer = await person(service, VIEWER, service.acme)
        assert (await viewer.post("/endpoints", NEW)).status_code == 403

    async def test_409_whatever_parameters_are_called(self, admin: Person) -> None:
        await registered(admin)
        answer = await admin.post("/endpoints", NEW | {"path": "/hosts/:id/report/"})
        assert answer.status_code == 409
        await registered(admin, method="PUT")
        await registered(admin, service="other")

    async def test_409_too_many(self, admin: Person, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(catalogue_module, "MAX_ENDPOINTS", 2)
        await registered(admin)
        await registered(admin, method="PUT")
        assert (await admin.post("/endpoints", NEW | {"method": "POST"})).status_code == 409
        for service, status in (("other", 409), ("fleet", 200)):
            body = {"service": service, "document": DOCUMENT | {"paths": {NEW["path"]: ANY}}}
            assert (await admin.post("/endpoints/import", body)).status_code == status

    async def test_409_too_many_with_those_above(
        self, admin: Person, root_admin: Person, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(catalogue_module, "MAX_VISIBLE", 2)
        await registered(root_admin)
        await registered(admin)
        assert (await admin.post("/endpoints", NEW | {"method": "POST"})).status_code == 409
        await registered(root_admin, method="POST")


class TestSearchEndpoints:
    @pytest.mark.parametrize(
        "query",
        [
            "/hosts/:id/report",
            "/hosts/{id}/report",
            "/hosts/<int:id>/report",
            "/HOSTS/:HostId/report",
            "hosts/:id/",
            "host_id",
            "a HOST's",
            "report",
        ],
    )
    async def test_200_f4_by_name_and_path(self, admin: Person, query: str) -> None:
        await registered(admin)
        await registered(admin, path="/hosts", name="All of them")
        assert await found(admin, q=query) == [NEW["path"]]

    async def test_200_f4_experimental_left_out_deprecated_marked(self, admin: Person) -> None:
        await registered(admin, path="/a", deprecated=True)
        await registered(admin, path="/b", experimental=True)
        await registered(admin, path="/c", service="other")
        body = (await admin.get("/endpoints")).json()
        assert [(i["path"], i["deprecated"]) for i in body["items"]] == [
            ("/a", True),
            ("/c", False),
        ]
        assert body["meta"]["count"] == 2
        assert await found(admin, experimental="true") == ["/a", "/b", "/c"]
        assert await found(admin, deprecated="false") == ["/c"]
        assert await found(admin, deprecated="true") == ["/a"]
        assert await found(admin, service="other") == ["/c"]
        assert await found(admin, service="oth") == []

    async def test_200_f4_pages_and_the_true_total(self, admin: Person) -> None:
        paths = [f"/p/{number}" for number in range(7)]
        for path in paths:
            await registered(admin, path=path)
        await registered(admin, path="/other")
        seen: list[list[str]] = []
        metas: list[tuple[int, bool, bool]] = []
        cursor: str | None = None
        while not seen or cursor:
            params = {"limit": 3, "q": "/p", **({"cursor": cursor} if cursor else {})}
            body = (await admin.get("/endpoints", params=params)).json()
            meta = body["meta"]
            seen.append([item["path"] for item in body["items"]])
            metas.append((meta["count"], meta["has_previous_results"], meta["has_next_results"]))
            cursor = body["next_cursor"]
        assert seen == [paths[:3], paths[3:6], paths[6:]]
        assert metas == [(7, False, True), (7, True, True), (7, True, False)]

    async def test_200_nothing_found(self, admin: Person) -> None:
        body = (await admin.get("/endpoints", params={"q": "/nothing"})).json()
        meta = {"count": 0, "has_next_results": False, "has_previous_results": False}
        assert body == {"items": [], "next_cursor": None, "meta": meta}

    async def test_200_own_and_above_not_beside(
        self, service: Running, admin: Person, root_admin: Person
    ) -> None:
        await registered(root_admin, path="/above")
        await registered(await person(service, TENANT_ADMIN, service.globex), path="/beside")
        await registered(admin, path="/own")
        assert await found(admin) == ["/above", "/own"]
        assert await found(root_admin) == ["/above"]

    @pytest.mark.parametrize(
        "params",
        [{"limit": "0"}, {"q": "x" * 513}, {"deprecated": "?"}, {"cursor": "x"}, {"x": "y"}],
        ids=lambda params: str(params)[:20],
    )
    async def test_400(self, admin: Person, params: dict[str, str]) -> None:
        assert (await admin.get("/endpoints", params=params)).status_code == 400

    async def test_400_a_cursor_of_another_list(self, admin: Person) -> None:
        await registered(admin)
        cursor = (await admin.get("/roles", params={"limit": 1})).json()["next_cursor"]
        answer = await admin.get("/endpoints", params={"cursor": cursor})
        assert answer.status_code == 400


class TestGetEndpoint:
    async def test_200_of_tenants_above(self, admin: Person, root_admin: Person) -> None:
        made = await registered(root_admin)
        assert (await admin.get(f"/endpoints/{made['id']}")).json() == made

    async def test_404(self, service: Running, admin: Person, root_admin: Person) -> None:
        made = await registered(admin)
        beside = await person(service, TENANT_ADMIN, service.globex)
        for who, path in [
            (beside, made["id"]),
            (root_admin, made["id"]),
            (admin, new_id()),
            (admin, "x"),
        ]:
            assert (await who.get(f"/endpoints/{path}")).status_code == 404


class TestChangeEndpoint:
    async def test_200(self, admin: Person) -> None:
        made = await registered(admin)
        path = f"/endpoints/{made['id']}"
        seen = (await admin.get(path)).headers["etag"]
        change = {
            "name": "New",
            "opened_by": [["users:write"]],
            "deprecated": True,
            "experimental": True,
            "administrative": True,
        }
        answer = await admin.patch(path, change, headers={"If-Match": seen})
        assert answer.status_code == 200
        body = answer.json()
        assert body == {**made, **change, "listable": False, "updated_at": body["updated_at"]}
        assert body["updated_at"] > made["updated_at"]
        read = await admin.get(path)
        assert (read.json(), read.headers["etag"]) == (body, answer.headers["etag"])
        assert (await admin.patch(path, {})).headers["etag"] == answer.headers["etag"]
        stale = await admin.patch(path, {"name": "x"}, headers={"If-Match": seen})
        assert stale.status_code == 412

    async def test_200_p3_ends_what_keys_carried(self, service: Running, admin: Person) -> None:
        made = await registered(admin, opened_by=[["users:read"], ["keys:read"]])
        other = await registered(admin, path="/other", opened_by=[["roles:read"]])
        user, tokens = await narrowed(service, made["id"])
        _, unconcerned = await narrowed(service, other["id"])
        assert tokens["scope"] == "keys:read users:read"
        path = f"/endpoints/{made['id']}"
        for harmless in (
            {"name": "x", "deprecated": True},
            {"opened_by": [["keys:read"], ["users:read"]]},
        ):
            assert (await admin.patch(path, harmless)).status_code == 200
        assert await alive(service, tokens)
        assert (await admin.patch(path, {"opened_by": [["users:read"]]})).status_code == 200
        assert not await alive(service, tokens)
        assert await alive(service, unconcerned)
        assert (await renewed(service, user, made["id"]))["scope"] == "users:read"

    async def test_200_f6_what_becomes_administrative_gives_keys_nothing(
        self, service: Running, admin: Person
    ) -> None:
        made = await registered(admin, opened_by=[["audit:read"]])
        other = await registered(admin, path="/other", opened_by=[["roles:read"]])
        listed = made["id"], other["id"]
        user, tokens = await narrowed(service, *listed)
        editor = await person(service, EDITOR, service.acme)
        path = f"/endpoints/{made['id']}"
        assert (await editor.patch(path, {"administrative": True})).status_code == 200
        assert not await alive(service, tokens)
        tokens = await renewed(service, user, *listed)
        assert tokens["scope"] == "roles:read"
        # Who unsets it, gives what the endpoint opens by.
        assert (await editor.patch(path, {"administrative": False})).status_code == 403
        assert await alive(service, tokens)
        assert (await admin.patch(path, {"administrative": False})).status_code == 200
        assert not await alive(service, tokens)
        assert (await renewed(service, user, *listed))["scope"] == "audit:read roles:read"

    async def test_403_who_would_widen_a_key_beyond_what_they_have(
        self, service: Running, admin: Person
    ) -> None:
        made = await registered(admin, opened_by=[["users:read"]])
        free = await registered(admin, path="/free", opened_by=[["users:read"]])
        _, tokens = await narrowed(service, made["id"])
        editor = await person(service, EDITOR, service.acme)
        wider = {"opened_by": [["users:read", "audit:read"]]}
        assert (await editor.patch(f"/endpoints/{made['id']}", wider)).status_code == 403
        assert (await editor.patch(f"/endpoints/{free['id']}", wider)).status_code == 200
        item = {"get": {"x-permissions": "audit:read"}}
        body = {"service": "fleet", "document": DOCUMENT | {"paths": {NEW["path"]: item}}}
        assert (await editor.post("/endpoints/import", body)).status_code == 403
        assert await alive(service, tokens)
        assert (await admin.get(f"/endpoints/{made['id']}")).json() == made
        assert (await admin.post("/endpoints/import", body)).status_code == 200
        assert not await alive(service, tokens)

    @pytest.mark.parametrize(
        "change",
        [
            {"name": None},
            {"opened_by": None},
            {"deprecated": None},
            {"path": "/x"},
            {"method": "PUT"},
            {"service": "x"},
            {"opened_by": [["x"]]},
        ],
        ids=str,
    )
    async def test_400(self, admin: Person, change: dict[str, Any]) -> None:
        made = await registered(admin)
        assert (await admin.patch(f"/endpoints/{made['id']}", change)).status_code == 400

    async def test_404_of_other_tenants(
        self, service: Running, admin: Person, root_admin: Person
    ) -> None:
        above = await registered(root_admin)
        beside = await registered(await person(service, TENANT_ADMIN, service.globex))
        for path in (above["id"], beside["id"], new_id(), "x"):
            assert (await admin.patch(f"/endpoints/{path}", {"name": "x"})).status_code == 404
            assert (await admin.delete(f"/endpoints/{path}?force=true")).status_code == 404


class TestDeleteEndpoint:
    async def test_204(self, admin: Person) -> None:
        made = await registered(admin)
        stale = await admin.delete(f"/endpoints/{made['id']}", headers={"If-Match": '"7"'})
        assert stale.status_code == 412
        assert (await admin.delete(f"/endpoints/{made['id']}")).status_code == 204
        assert (await admin.get(f"/endpoints/{made['id']}")).status_code == 404
        events = await admin.get("/audit-events", params={"target": made["id"]})
        actions = [event["action"] for event in events.json()["items"]]
        assert actions == ["endpoint.deleted", "endpoint.created"]

    async def test_409_on_a_live_keys_list_204_by_force(
        self, service: Running, admin: Person
    ) -> None:
        made = await registered(admin, opened_by=[["users:read"]])
        user, tokens = await narrowed(service, made["id"])
        path = f"/endpoints/{made['id']}"
        assert (await admin.delete(path)).status_code == 409
        assert await alive(service, tokens)
        assert (await admin.delete(f"{path}?force=true")).status_code == 204
        assert not await alive(service, tokens)
        assert (await renewed(service, user, made["id"]))["scope"] == ""

    async def test_204_on_a_revoked_keys_list(self, service: Running, admin: Person) -> None:
        made = await registered(admin)
        await service.add_key(endpoint_ids=(made["id"],), revoked_at=service.clock())
        assert (await admin.delete(f"/endpoints/{made['id']}")).status_code == 204


ANY: dict[str, Any] = {"get": {"operationId": "readIt", "x-permissions": list(FIVE)}}
DOCUMENT: dict[str, Any] = {
    "openapi": "3.1.0",
    "info": {"title": "Edge", "version": "1"},
    "paths": {
        "/assetTypes": {
            **ANY,
            "post": {"operationId": "createAssetType", "x-permissions": FIVE[0]},
        },
        "/both": {"get": {"x-permissions": {"all_of": FIVE[:2]}}},
        "/nobody": {"get": {}},
    },
}


async def imported(
    who: Person, document: dict[str, Any] | None = None, service: str = "edge"
) -> dict[str, Any]:
    body = {"service": service, "document": document or DOCUMENT}
    answer = await who.post("/endpoints/import", body)
    assert answer.status_code == 200, answer.text
    report: dict[str, Any] = answer.json()
    return report


class TestImportEndpoints:
    async def test_200_c7_any_of_a_set_or_one(self, admin: Person) -> None:
        report = await imported(admin)
        warnings = report.pop("warnings")
        assert report == {"added": 4, "updated": 0, "unchanged": 0, "deprecated": 0}
        assert len(warnings) == 1
        assert warnings[0].startswith("GET /nobody: ")
        items = (await admin.get("/endpoints")).json()["items"]
        assert [(i["method"], i["path"], i["opened_by"]) for i in items] == [
            ("GET", "/assetTypes", [[name] for name in FIVE]),
            ("POST", "/assetTypes", [[FIVE[0]]]),
            ("GET", "/both", [list(FIVE[:2])]),
            ("GET", "/nobody", []),
        ]
        assert {item["service"] for item in items} == {"edge"}

    async def test_200_registers_permissions(self, admin: Person) -> None:
        await imported(admin)
        items = (await admin.get("/permissions")).json()["items"]
        assert {i["name"] for i in items if i["tenant_id"] is not None} == set(FIVE)
        await created(admin, "reader", FIVE[1])

    async def test_200_again_updates_in_place(self, service: Running, admin: Person) -> None:
        await imported(admin)
        hand = await registered(admin)
        before = {
            i["path"] + i["method"]: i for i in (await admin.get("/endpoints")).json()["items"]
        }
        assert (await imported(admin))["unchanged"] == 4
        assert await by_call(admin) == before
        paths = {
            "/assetTypes": {"get": {"summary": "Read it", "x-permissions": FIVE[0]}},
            "/new/{id}": {"get": {"x-permissions": FIVE[0]}},
        }
        report = await imported(admin, DOCUMENT | {"paths": paths})
        assert report == {
            "added": 1,
            "updated": 1,
            "unchanged": 0,
            "deprecated": 3,
            "warnings": [],
        }
        after = {
            i["path"] + i["method"]: i for i in (await admin.get("/endpoints")).json()["items"]
        }
        changed = after["/assetTypesGET"]
        assert changed["id"] == before["/assetTypesGET"]["id"]
        assert (changed["name"], changed["opened_by"]) == ("Read it", [[FIVE[0]]])
        gone = {name for name, item in after.items() if item["deprecated"]}
        assert gone == {"/assetTypesPOST", "/bothGET", "/nobodyGET"}
        assert after[hand["path"] + hand["method"]] == hand
        assert (await imported(admin, DOCUMENT | {"paths": paths}))["deprecated"] == 0
        back = await imported(admin)
        assert (back["updated"], back["deprecated"]) == (4, 1)
        all_of_them = await by_call(admin)
        assert {name for name, i in all_of_them.items() if i["deprecated"]} == {"/new/{id}GET"}
        for name, item in before.items():
            assert all_of_them[name]["id"] == item["id"]

    async def test_200_parameters_may_be_renamed(self, admin: Person) -> None:
        first = DOCUMENT | {"paths": {"/hosts/{id}": ANY}}
        await imported(admin, first)
        [before] = (await admin.get("/endpoints")).json()["items"]
        report = await imported(admin, DOCUMENT | {"paths": {"/hosts/{host_id}": ANY}})
        assert (report["added"], report["updated"], report["deprecated"]) == (0, 1, 0)
        [after] = (await admin.get("/endpoints")).json()["items"]
        assert (after["id"], after["path"]) == (before["id"], "/hosts/{host_id}")

    async def test_200_p3_ends_what_keys_carried(self, service: Running, admin: Person) -> None:
        item = {"get": {"x-permissions": ["users:read", "keys:read"]}}
        await imported(admin, DOCUMENT | {"paths": {"/a": item}})
        [endpoint] = (await admin.get("/endpoints")).json()["items"]
        user, tokens = await narrowed(service, endpoint["id"])
        await imported(admin, DOCUMENT | {"paths": {"/a": item, "/b": item}})
        assert await alive(service, tokens)
        less = {"get": {"x-permissions": "keys:read"}}
        await imported(admin, DOCUMENT | {"paths": {"/a": less}})
        assert not await alive(service, tokens)
        assert (await renewed(service, user, endpoint["id"]))["scope"] == "keys:read"

    async def test_200_warnings_are_bounded(self, admin: Person) -> None:
        paths: dict[str, Any] = {f"/nobody/{n}": {"get": {}} for n in range(150)}
        report = await imported(admin, DOCUMENT | {"paths": paths})
        assert report["added"] == 150
        assert len(report["warnings"]) == 101
        assert report["warnings"][-1] == "There are 50 more warnings."

    async def test_200_own_document(self, admin: Person) -> None:
        report = await imported(admin, own_document(), OWN_SERVICE)
        assert report["added"] > 30
        catalogue = await by_call(admin)
        assert len(catalogue) == report["added"]
        for method, path, permission in [
            ("POST", "/iam/roles", "roles:write"),
            ("PATCH", "/iam/roles/{role_id}", "roles:write"),
            ("POST", "/iam/service-users", "users:write"),
            ("POST", "/iam/members", "users:write"),
            ("POST", "/iam/invitations", "users:write"),
            ("POST", "/iam/tenants", "tenants:write"),
        ]:
            item = catalogue[path + method]
            assert item["opened_by"] == [[permission]]
            assert item["listable"] is False, path
        for method, path, permission in [
            ("GET", "/iam/roles", "roles:read"),
            ("POST", "/iam/endpoints/import", "endpoints:write"),
        ]:
            item = catalogue[path + method]
            assert item["opened_by"] == [[permission]]
            assert item["listable"] is True, path
        assert catalogue["/health/liveGET"]["opened_by"] == [[]]
        permissions = (await admin.get("/permissions")).json()["items"]
        assert {item["name"] for item in permissions} == OWN | DEMO

    async def test_200_f6_none_of_ones_own_that_administer_is_listable(
        self, admin: Person, service: Running
    ) -> None:
        paths: dict[str, Any] = {}
        surface = service.service.surface
        for operation in surface.operations:
            if isinstance(operation.access, Needs) and operation.access.administers:
                path = paths.setdefault(surface.base_path + operation.path, {})
                path[operation.method.lower()] = {"x-permissions": "users:read"}
        report = await imported(admin, DOCUMENT | {"paths": paths}, OWN_SERVICE)
        assert report["added"] > 15
        assert not any(item["listable"] for item in (await by_call(admin)).values())

    async def test_200_f5_own_endpoints_on_a_list(self, service: Running, admin: Person) -> None:
        await imported(admin, own_document(), OWN_SERVICE)
        answer = await admin.get("/endpoints", params={"q": "/iam/roles/{id}"})
        read = next(i for i in answer.json()["items"] if i["method"] == "GET")
        user, tokens = await narrowed(service, read["id"])
        program = Person(service, user, tokens["access_token"], service.acme)
        assert (await program.get(f"/roles/{VIEWER.id}")).status_code == 200
        assert (await program.get("/roles")).status_code == 403

    @pytest.mark.parametrize(
        "change",
        [
            {"service": ""},
            {"document": []},
            {"document": {}},
            {"document": "openapi: 3.1.0"},
            {"document": DOCUMENT | {"openapi": "2.0"}},
            {"document": DOCUMENT | {"paths": {"/a/{x}": ANY, "/a/{y}": ANY}}},
            {"document": DOCUMENT | {"paths": {"/a": {"get": {"x-permissions": "no"}}}}},
            {"document": DOCUMENT | {"paths": {"/a": {"get": {"x-permissions": "a:\u0000"}}}}},
            {"url": "http://localhost/openapi.json"},
        ],
        ids=lambda change: str(change)[:60].translate({0: "0"}) + str(len(str(change))),
    )
    async def test_400_nothing_is_written(self, admin: Person, change: dict[str, Any]) -> None:
        body = {"service": "edge", "document": DOCUMENT} | change
        assert (await admin.post("/endpoints/import", body)).status_code == 400
        assert await found(admin, experimental="true") == []

    async def test_409_too_many_permissions_nothing_is_written(self, admin: Person) -> None:
        operations = [
            {"get": {"x-permissions": [f"a{n}:{m}" for m in range(90)]}} for n in range(12)
        ]
        paths = {f"/{n}": operation for n, operation in enumerate(operations)}
        body = {"service": "edge", "document": DOCUMENT | {"paths": paths}}
        assert (await admin.post("/endpoints/import", body)).status_code == 409
        assert await found(admin) == []
        assert len((await admin.get("/permissions")).json()["items"]) == len(OWN | DEMO)

    async def test_413(self, admin: Person) -> None:
        info = {"title": "x" * 4 * 1024 * 1024, "version": "1"}
        body = {"service": "edge", "document": DOCUMENT | {"info": info}}
        assert (await admin.post("/endpoints/import", body)).status_code == 413

    async def test_503_too_many_at_once(
        self, admin: Person, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(imports_module, "READ_WAIT", 0.0)
        body = {"service": "edge", "document": DOCUMENT}
        assert (await admin.post("/endpoints/import", body)).status_code == 503

    async def test_403_viewer(self, service: Running) -> None:
        viewer = await person(service, VIEWER, service.acme)
        body = {"service": "edge", "document": DOCUMENT}
        assert (await viewer.post("/endpoints/import", body)).status_code == 403

    async def test_the_audit_trail_has_what_opens_otherwise(self, admin: Person) -> None:
        await imported(admin)
        paths = {"/assetTypes": {"get": {"x-permissions": FIVE[0]}}}
        await imported(admin, DOCUMENT | {"paths": paths})
        events = (await admin.get("/audit-events", params={"target": "edge"})).json()["items"]
        assert [event["action"] for event in events] == ["endpoints.imported"] * 2
        data = events[0]["data"]
        [reopened] = data.pop("reopened")
        assert data == {
            "title": "Edge",
            "added": 0,
            "updated": 1,
            "unchanged": 0,
            "deprecated": 3,
        }
        assert (reopened["before"], reopened["after"]) == (
            [[name] for name in FIVE],
            [[FIVE[0]]],
        )


class TestExplainCall:
    async def explained(self, who: Person, **params: str) -> dict[str, Any]:
        answer = await who.get("/endpoints/explain", params=params)
        assert answer.status_code == 200, answer.text
        body: dict[str, Any] = answer.json()
        return body

    async def test_200_p7_which_permission_a_call_needs(self, admin: Person) -> None:
        made = await registered(admin)
        await registered(admin, path="/hosts/all/report")
        for path in ("/hosts/42/report", "/hosts/{id}/report", "/hosts/:id/report/"):
            body = await self.explained(admin, method="GET", path=path)
            assert body["endpoints"] == [made]
        head = await self.explained(admin, method="HEAD", path="/hosts/42/report")
        assert head["endpoints"] == [made]
        literal = await self.explained(admin, method="GET", path="/hosts/all/report")
        assert literal["endpoints"][0]["path"] == "/hosts/all/report"

    async def test_200_c7_the_roles_that_open_it(self, admin: Person) -> None:
        await imported(admin)
        one = await created(admin, "one", FIVE[4])
        two = await created(admin, "two", FIVE[0], FIVE[1])
        for method, path, opening in [
            ("GET", "/assetTypes", [one, two]),
            ("POST", "/assetTypes", [two]),
            ("GET", "/both", [two]),
            ("GET", "/nobody", []),
        ]:
            body = await self.explained(admin, method=method, path=path)
            named = {role["id"] for role in body["roles"]}
            assert named & {one["id"], two["id"]} == {role["id"] for role in opening}

    async def test_200_no_roles_for_who_may_not_list_them(
        self, service: Running, admin: Person
    ) -> None:
        await registered(admin, opened_by=[["endpoints:read"]])
        searching = await service.add_role(service.acme, "searching", "endpoints:read")
        who = await person(service, searching, service.acme)
        body = await self.explained(who, method="GET", path="/hosts/1/report")
        assert (body["roles"], body["your_keys"][0]["may"]) == ([], True)
        seen = await self.explained(admin, method="GET", path="/hosts/1/report")
        assert "searching" in {role["name"] for role in seen["roles"]}

    async def test_200_one_a_service(self, admin: Person) -> None:
        await registered(admin, opened_by=[["roles:write"]])
        await registered(admin, service="other", opened_by=[["roles:read"]])
        both = await self.explained(admin, method="GET", path="/hosts/1/report")
        assert [e["service"] for e in both["endpoints"]] == ["fleet", "other"]
        assert "viewer" in {role["name"] for role in both["roles"]}
        one = await self.explained(admin, method="GET", path="/hosts/1/report", service="fleet")
        assert [e["service"] for e in one["endpoints"]] == ["fleet"]
        assert {role["name"] for role in one["roles"]} == {"tenant-admin"}

    async def test_200_which_of_my_keys_may(self, service: Running, admin: Person) -> None:
        made = await registered(admin, opened_by=[["users:read"]])
        other = await registered(admin, path="/other", opened_by=[["users:read"]])
        who = await person(service, VIEWER, service.acme, kind=UserKind.SERVICE)
        await service.give(who.user.id, service.globex, VIEWER.id)
        nothing = await service.add_role(service.acme, "nothing")
        await service.give(who.user.id, service.acme, nothing.id)
        who.token = (await service.exchange_for(who.user))["access_token"]
        now = service.clock()
        expected: list[dict[str, Any]] = []
        keys: list[tuple[str, str, dict[str, Any]]] = [
            ("revoked", "key_not_live", {"revoked_at": now}),
            ("expired", "key_not_live", {"expires_at": now}),
            ("bound elsewhere", "other_tenant", {"tenant_id": service.globex}),
            ("bound here", "ok", {"tenant_id": service.acme}),
            ("narrowed", "role_lacks_permission", {"role_ids": (nothing.id,)}),
            ("another list", "not_on_allow_list", {"endpoint_ids": (other["id"],)}),
            ("on its list", "ok", {"endpoint_ids": (other["id"], made["id"])}),
            ("open", "ok", {}),
        ]
        for name, why, changes in keys:
            key = await service.add_key(user_id=who.user.id, name=name, **changes)
            verdict = {"id": key.key_id, "name": name, "may": why == "ok", "why": why}
            expected.insert(0, verdict)
        body = await self.explained(who, method="GET", path="/hosts/1/report")
        assert body["your_keys"][: len(expected)] == expected
        assert len(body["your_keys"]) == len(expected) + 2

    async def test_404_not_in_the_catalogue(self, service: Running, admin: Person) -> None:
        beside = await person(service, TENANT_ADMIN, service.globex)
        await registered(beside)
        await registered(admin, path="/own")
        for params in [
            {"method": "GET", "path": "/hosts/1/report"},
            {"method": "PUT", "path": "/own"},
            {"method": "GET", "path": "/own", "service": "other"},
        ]:
            assert (await admin.get("/endpoints/explain", params=params)).status_code == 404

    @pytest.mark.parametrize(
        ("params", "field"),
        [
            ({"path": "/x"}, "method"),
            ({"method": "GET"}, "path"),
            ({"method": "get", "path": "/x"}, "method"),
            ({"method": "GET", "path": "x"}, "path"),
            ({"method": "GET", "path": "/x?y=1"}, "path"),
            ({"method": "GET", "path": "/a/../x"}, "path"),
            ({"method": "GET", "path": "/x", "tenant": "y"}, "tenant"),
        ],
        ids=str,
    )
    async def test_400(self, admin: Person, params: dict[str, str], field: str) -> None:
        answer = await admin.get("/endpoints/explain", params=params)
        assert answer.status_code == 400
        assert answer.json()["errors"][0]["field"] == field

    async def test_403_without_the_permission(self, service: Running) -> None:
        nothing = await service.add_role(service.acme, "nothing")
        who = await person(service, nothing, service.acme)
        params = {"method": "GET", "path": "/x"}
        assert (await who.get("/endpoints/explain", params=params)).status_code == 403
