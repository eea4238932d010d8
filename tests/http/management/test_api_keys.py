"""`/iam/api-keys`: what administrators do with the keys of their tenant."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from keyturn.server.domain.ids import new_id
from keyturn.server.domain.model import UserKind
from keyturn.server.domain.permissions import EDITOR, TENANT_ADMIN, VIEWER
from keyturn.server.services.management import key_making as rules
from tests.http.conftest import Running
from tests.http.management.conftest import Person, person
from tests.http.management.keys import (
    add_endpoint,
    audited,
    exchange,
    fields,
    holder,
    made,
    policy,
    role_id,
)

DAY = 86_400


class TestCreate:
    async def test_201_c2_name_roles_and_expiry_and_the_secret_once(
        self, admin: Person, service: Running
    ) -> None:
        operator = await role_id(service, service.acme, "operator")
        key = await made(admin, name="export", role_ids=[operator], expires_in=3600)
        assert key["secret"].startswith(f"kt_{key['id']}_")
        assert (key["name"], key["role_ids"], key["state"]) == ("export", [operator], "active")
        assert key["created_by"] == admin.user.id
        answer = await admin.get(f"/api-keys/{key['id']}")
        body = (await exchange(service, key["secret"])).json()
        # A role less than the user has: globex is not reached by it.
        token = Person(service, service.demo.user, body["access_token"], None)
        assert {r["role_id"] for r in (await token.get("/users/me")).json()["roles"]} == {operator}
        del key["secret"]
        whose = {"user_name": service.demo.user.display_name, "user_kind": "service"}
        assert answer.json() == {**key, **whose, "live_sessions": {"count": 0, "more": False}}
        listed = await admin.get("/api-keys")
        assert {key["user_name"] for key in listed.json()["items"]} >= {whose["user_name"]}
        assert "secret" not in listed.text.replace("old_secret", "")

    async def test_201_f8_custom_durations(self, admin: Person, service: Running) -> None:
        """Of a second and of years; N2: nothing but these bounds them here."""
        assert (await made(admin, expires_in=1))["expires_at"] is not None
        assert (await made(admin, expires_at="2049-12-31T23:59:59+02:00"))["expires_at"].startswith(
            "2049-12-31T21:59:59"
        )

    async def test_201_w2_keys_do_not_expire_unless_asked(self, admin: Person) -> None:
        assert (await made(admin))["expires_at"] is None

    async def test_201_w2_bound_to_a_tenant(self, admin: Person, service: Running) -> None:
        key = await made(admin, tenant_id=service.globex)
        assert (await exchange(service, key["secret"], tenant=service.acme)).status_code == 403
        body = (await exchange(service, key["secret"])).json()
        told = (await service.introspect(body["access_token"])).json()
        assert told["tenant_id"] == service.globex

    async def test_201_n5_the_first_key_automates_everything(
        self, root_admin: Person, service: Running
    ) -> None:
        """N5: with nothing but the key of the first start."""
        new = (await root_admin.post("/tenants", {"name": "customer"})).json()
        token = await service.exchange(
            key=service.demo.platform.key, user=root_admin.user.username, tenant=new["id"]
        )
        there = Person(service, root_admin.user, token["access_token"], new["id"])
        user = await service.add_user(UserKind.SERVICE, home=new["id"])
        await service.give(user.id, new["id"], VIEWER.id)
        key = await made(there, user_id=user.id)
        assert (await exchange(service, key["secret"], user.username)).status_code == 200

    async def test_201_the_same_request_again_makes_no_second_key(
        self, admin: Person, service: Running
    ) -> None:
        body = {"name": "once", "user_id": service.demo.user.id}
        headers = {"Idempotency-Key": "a-1"}
        first = await admin.post("/api-keys", body, headers=headers)
        again = await admin.post("/api-keys", body, headers=headers)
        assert (first.status_code, again.status_code) == (201, 201)
        assert first.json() == again.json()
        assert again.headers["idempotency-replayed"] == "true"
        other = await admin.post("/api-keys", {**body, "name": "x"}, headers=headers)
        assert other.status_code == 422
        # Somebody else's Idempotency-Key is their own: the name is taken, and nothing is shown.
        second = await person(service, TENANT_ADMIN, service.acme)
        assert (await second.post("/api-keys", body, headers=headers)).status_code == 409

    async def test_201_audited_without_the_secret(self, admin: Person, service: Running) -> None:
        key = await made(admin, name="told", networks=["192.0.2.0/24"])
        [event, *_] = await audited(service, service.acme, "api_key.created")
        assert event["target"] == key["id"]
        assert event["after"]["networks"] == ["192.0.2.0/24"]
        assert key["secret"] not in str(event)

    async def test_400_past_expiry(self, admin: Person, service: Running) -> None:
        body = {"name": "x", "user_id": service.demo.user.id}
        for wrong in ("2020-01-01T00:00:00Z", "9999-12-31T23:59:59-10:00", "0001-01-01T00:00:00Z"):
            answer = await admin.post("/api-keys", {**body, "expires_at": wrong})
            assert (answer.status_code, fields(answer)) == (400, ["expires_at"])
        both = {**body, "expires_at": "2049-01-01T00:00:00Z", "expires_in": 5}
        answer = await admin.post("/api-keys", both)
        assert (answer.status_code, fields(answer)) == (400, ["expires_in"])

    @pytest.mark.parametrize(
        ("wanted", "field"),
        [
            ({"role_ids": []}, "role_ids"),
            ({"role_ids": ["01a201a3-0000-7000-8000-000000000000"]}, "role_ids.0"),
            ({"role_ids": ["x"]}, "role_ids.0"),
            ({"endpoint_ids": []}, "endpoint_ids"),
            ({"endpoint_ids": ["01a201a3-0000-7000-8000-000000000000"]}, "endpoint_ids.0"),
            ({"networks": []}, "networks"),
            ({"networks": ["192.0.2.0/24", "192.0.2.1/24"]}, "networks.1"),
            ({"networks": ["10.0.0.0/33"]}, "networks.0"),
            ({"tenant_id": "01a201a3-0000-7000-8000-000000000000"}, "tenant_id"),
            ({"expires_at": "tomorrow"}, "expires_at"),
            ({"expires_in": 0}, "expires_in"),
            ({"idle_timeout": 0}, "idle_timeout"),
            ({"idle_timeout": True}, "idle_timeout"),
            ({"name": ""}, "name"),
            ({"name": "x" * 129}, "name"),
            ({"secret": "mine"}, "secret"),
        ],
    )
    async def test_400_names_the_field(
        self, admin: Person, service: Running, wanted: dict[str, Any], field: str
    ) -> None:
        body = {"name": "x", "user_id": service.demo.user.id, **wanted}
        answer = await admin.post("/api-keys", body)
        assert (answer.status_code, fields(answer)) == (400, [field])
        assert len((await admin.get("/api-keys")).json()["items"]) == 2  # demo's and the admin's

    async def test_400_f6_what_administers_users_stands_on_no_list(
        self, admin: Person, service: Running
    ) -> None:
        for more in (
            await add_endpoint(service, service.acme, "POST", "/a", "users:write"),
            await add_endpoint(service, service.acme, "POST", "/b", administrative=True),
        ):
            wanted = {"name": "x", "user_id": service.demo.user.id, "endpoint_ids": [more.id]}
            answer = await admin.post("/api-keys", wanted)
            assert (answer.status_code, fields(answer)) == (400, ["endpoint_ids.0"])

    async def test_400_endpoints_of_a_tenant_apart(self, admin: Person, service: Running) -> None:
        below = await service.add_tenant("below", service.acme)
        # Not even of those the user works in: who edits these says what the key carries at home.
        for tenant in (below.id, service.globex):
            endpoint = await add_endpoint(service, tenant, "GET", "/a", "assets:manage")
            wanted = {"name": "x", "user_id": service.demo.user.id, "endpoint_ids": [endpoint.id]}
            assert fields(await admin.post("/api-keys", wanted)) == ["endpoint_ids.0"]
        for tenant in (service.demo.platform.tenant.id, service.acme):
            endpoint = await add_endpoint(service, tenant, "GET", "/a", "assets:manage")
            await made(admin, endpoint_ids=[endpoint.id])

    async def test_400_longer_than_the_policy_lets_keys_live(
        self, admin: Person, root_admin: Person, service: Running
    ) -> None:
        await policy(root_admin, service.acme, max_api_key_lifetime=DAY)
        body = {"name": "x", "user_id": service.demo.user.id}
        for field, value in (("expires_in", DAY + 1), ("expires_at", "2049-01-01T00:00:00Z")):
            answer = await admin.post("/api-keys", {**body, field: value})
            assert (answer.status_code, fields(answer)) == (400, [field])
        assert (await made(admin, expires_in=DAY))["expires_at"] is not None

    async def test_201_with_the_longest_expiry_where_the_policy_wants_one(
        self, admin: Person, root_admin: Person, service: Running
    ) -> None:
        # Of the tenants above: nobody gets out of what they demand.
        await policy(root_admin, service.demo.platform.tenant.id, max_api_key_lifetime=DAY)
        key = await made(admin)
        service.clock.shift = timedelta(seconds=DAY - 60)
        assert (await exchange(service, key["secret"])).status_code == 200
        service.clock.shift = timedelta(seconds=DAY + 1)
        assert (await exchange(service, key["secret"])).status_code == 400

    async def test_403_roles_that_the_caller_could_not_give(self, service: Running) -> None:
        """N3: an editor makes no key for somebody who may do more."""
        editor = await person(service, EDITOR, service.acme)
        strong = await service.add_user()
        await service.give(strong.id, service.acme, TENANT_ADMIN.id)
        body = {"name": "x", "user_id": strong.id}
        assert (await editor.post("/api-keys", body)).status_code == 403
        weak = await service.add_user()
        await service.give(weak.id, service.acme, VIEWER.id)
        assert (await editor.post("/api-keys", {**body, "user_id": weak.id})).status_code == 201

    async def test_403_for_oneself(self, service: Running) -> None:
        """A service user would make itself a wider key than the one it has."""
        bot = await person(service, EDITOR, service.acme, kind=UserKind.SERVICE)
        body = {"name": "x", "user_id": bot.user.id}
        assert (await bot.post("/api-keys", body)).status_code == 403

    async def test_403_a_viewer(self, service: Running) -> None:
        viewer = await person(service, VIEWER, service.acme)
        body = {"name": "x", "user_id": service.demo.user.id}
        assert (await viewer.post("/api-keys", body)).status_code == 403
        assert (await viewer.get("/api-keys")).status_code == 200

    async def test_404_n3_nobody_makes_keys_for_another_human(
        self, admin: Person, service: Running
    ) -> None:
        human = await service.add_user(UserKind.HUMAN)
        stranger = await service.add_user(home=service.globex)
        answers = {
            (await admin.post("/api-keys", {"name": "x", "user_id": user_id})).status_code
            for user_id in (human.id, stranger.id, new_id())
        }
        assert answers == {404}

    async def test_409_duplicate_name(self, admin: Person, service: Running) -> None:
        key = await made(admin, name="twice")
        body = {"name": "twice", "user_id": service.demo.user.id}
        answer = await admin.post("/api-keys", body)
        assert (answer.status_code, fields(answer)) == (409, ["name"])
        other = await service.add_user()
        await made(admin, name="twice", user_id=other.id)
        await admin.post(f"/api-keys/{key['id']}/revoke")
        await made(admin, name="twice")

    async def test_409_as_many_as_the_policy_allows(
        self, admin: Person, root_admin: Person, service: Running
    ) -> None:
        await policy(root_admin, service.acme, max_api_keys=3)
        key = await made(admin)
        body = {"name": "x", "user_id": service.demo.user.id}
        assert (await admin.post("/api-keys", body)).status_code == 409
        await admin.post(f"/api-keys/{key['id']}/revoke")
        assert (await admin.post("/api-keys", body)).status_code == 201

    async def test_409_as_many_as_one_user_may_have(
        self, admin: Person, service: Running, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(rules, "MAX_KEYS", 2)
        key = await made(admin)
        body = {"name": "x", "user_id": service.demo.user.id}
        assert (await admin.post("/api-keys", body)).status_code == 409
        await made(admin, user_id=(await service.add_user()).id)
        await admin.post(f"/api-keys/{key['id']}/revoke")
        assert (await admin.post("/api-keys", body)).status_code == 201


class TestList:
    async def test_200_dead_keys_stay_listed_with_the_reason(
        self, admin: Person, root_admin: Person, service: Running
    ) -> None:
        past = service.clock() - timedelta(days=2)
        disabled = await service.add_user()
        keys = {
            "active": await service.add_key(),
            "expired": await service.add_key(expires_at=past),
            "revoked": await service.add_key(revoked_at=past, revoked_reason="offboarding"),
            "idle": await service.add_key(idle_timeout=DAY, created_at=past),
            "user_disabled": await service.add_key(user_id=disabled.id),
        }
        async with service.service.parts.store.transaction() as tx:
            await tx.users.set_disabled(disabled.id, past)
        items = {item["id"]: item for item in (await admin.get("/api-keys")).json()["items"]}
        told = {state: items[key.key_id] for state, key in keys.items()}
        assert {state: item["state"] for state, item in told.items()} == {s: s for s in keys}
        assert told["active"]["reason"] is None
        assert all(item["reason"] for state, item in told.items() if state != "active")
        for state, key in keys.items():
            found = (await admin.get("/api-keys", params={"state": state})).json()["items"]
            assert key.key_id in {item["id"] for item in found}
            assert {item["state"] for item in found} == {state}
        params = {"expires_before": service.clock().isoformat(), "state": "expired"}
        [ended] = (await admin.get("/api-keys", params=params)).json()["items"]
        assert ended["id"] == keys["expired"].key_id
        params = {"unused_since": (service.clock() - timedelta(days=1)).isoformat()}
        [unused] = (await admin.get("/api-keys", params=params)).json()["items"]
        assert unused["id"] == keys["idle"].key_id
        # The policy's idle timeout counts where the key has none of its own.
        old = await service.add_key(created_at=past)
        await policy(root_admin, service.acme, api_key_idle_timeout=DAY)
        assert (await admin.get(f"/api-keys/{old.key_id}")).json()["state"] == "idle"
        assert (await exchange(service, old.text)).status_code == 400

    async def test_200_pages_and_one_users(self, admin: Person, service: Running) -> None:
        user = await service.add_user()
        names = [(await made(admin, user_id=user.id))["name"] for _ in range(5)]
        seen: list[str] = []
        params: dict[str, Any] = {"user_id": user.id, "limit": 2}
        while True:
            body = (await admin.get("/api-keys", params=params)).json()
            seen += [item["name"] for item in body["items"]]
            if body["next_cursor"] is None:
                break
            params["cursor"] = body["next_cursor"]
        assert seen == names

    async def test_200_last_used_when_from_where_how_often(
        self, admin: Person, service: Running
    ) -> None:
        key = await made(admin)
        assert (key["last_used_at"], key["use_count"]) == (None, 0)
        body = (await exchange(service, key["secret"])).json()
        await exchange(service, key["secret"])
        await service.refresh(body["refresh_token"])
        await service.service.usage.flush()
        told = (await admin.get(f"/api-keys/{key['id']}")).json()
        assert (told["use_count"], told["last_used_from"]) == (3, "127.0.0.1")
        assert told["last_used_at"] is not None

    async def test_200_what_ends_with_it(self, admin: Person, service: Running) -> None:
        key = await service.add_key()
        before = await service.exchange(key=key)
        path = f"/api-keys/{key.key_id}"
        assert (await admin.get(path)).json()["live_sessions"] == {"count": 0, "more": False}
        for _ in range(101):
            tokens = await service.exchange(key=key)
            assert (await service.refresh(tokens["refresh_token"])).status_code == 200
        assert (await admin.get(path)).json()["live_sessions"] == {"count": 100, "more": True}
        assert (await service.refresh(before["refresh_token"])).status_code == 200
        await admin.post(f"{path}/revoke")
        assert (await admin.get(path)).json()["live_sessions"] == {"count": 0, "more": False}

    async def test_200_a_client_that_only_introspects_uses_its_key(
        self, admin: Person, service: Running
    ) -> None:
        """P7: or a resource server's key would go idle while it is asked every second."""
        before = await service.exchange()
        await service.introspect(before["access_token"])
        await service.service.usage.flush()
        async with service.service.parts.store.transaction() as tx:
            key = await tx.api_keys.get(service.demo.platform.key.key_id)
        assert key is not None
        assert key.use_count == 1

    async def test_200_n3_an_administrator_sees_humans_keys_and_revokes_them(
        self, admin: Person, service: Running
    ) -> None:
        human = await person(service, VIEWER, service.acme)
        [key] = (await admin.get("/api-keys", params={"user_id": human.user.id})).json()["items"]
        answer = await admin.post(f"/api-keys/{key['id']}/revoke")
        assert (answer.status_code, answer.json()["state"]) == (200, "revoked")
        assert (await human.get("/users/me")).status_code == 401

    async def test_404_keys_of_other_tenants(
        self, admin: Person, root_admin: Person, service: Running
    ) -> None:
        elsewhere = await person(service, TENANT_ADMIN, service.globex)
        key = await made(admin)
        # Not from beside, nor from above: the tenant is chosen by x-tenant-id.
        for who in (elsewhere, root_admin):
            answers = [
                await who.get(f"/api-keys/{key['id']}"),
                await who.patch(f"/api-keys/{key['id']}", {"name": "x"}),
                await who.post(f"/api-keys/{key['id']}/rotate", {}),
                await who.post(f"/api-keys/{key['id']}/revoke"),
                await who.get("/api-keys/nothing"),
            ]
            assert {answer.status_code for answer in answers} == {404}
            assert len({answer.json()["detail"] for answer in answers}) == 1
        listed = (await elsewhere.get("/api-keys", params={"user_id": service.demo.user.id})).json()
        assert listed["items"] == []


class TestRevoke:
    async def test_200_everything_issued_dies_at_once(
        self, admin: Person, service: Running
    ) -> None:
        key = await made(admin)
        body = (await exchange(service, key["secret"])).json()
        token = Person(service, service.demo.user, body["access_token"], None)
        assert (await token.get("/users/me")).status_code == 200
        told = (await admin.post(f"/api-keys/{key['id']}/revoke")).json()
        assert (told["state"], told["reason"]) == ("revoked", "It was revoked.")
        assert (await token.get("/users/me")).status_code == 401
        assert (await service.introspect(body["access_token"])).json() == {"active": False}
        assert (await service.refresh(body["refresh_token"])).status_code == 400
        assert (await exchange(service, key["secret"])).status_code == 400
        again = await admin.post(f"/api-keys/{key['id']}/revoke")
        assert (again.status_code, again.json()["revoked_at"]) == (200, told["revoked_at"])
        assert len(await audited(service, service.acme, "api_key.revoked")) == 1

    async def test_403_the_key_of_somebody_with_more(self, admin: Person, service: Running) -> None:
        editor = await person(service, EDITOR, service.acme)
        strong = await service.add_user()
        await service.give(strong.id, service.acme, TENANT_ADMIN.id)
        key = await service.add_key(user_id=strong.id)
        [humans] = (await admin.get("/users/me/api-keys")).json()["items"]
        for key_id in (key.key_id, humans["id"]):
            assert (await editor.post(f"/api-keys/{key_id}/revoke")).status_code == 403
        weak = await person(service, VIEWER, service.acme)
        [key_of_weak] = (await weak.get("/users/me/api-keys")).json()["items"]
        answer = await editor.post(f"/api-keys/{key_of_weak['id']}/revoke")
        assert answer.status_code == 200

    async def test_403_with_reading_alone(self, service: Running) -> None:
        viewer = await person(service, VIEWER, service.acme)
        answer = await viewer.post(f"/api-keys/{service.demo.key.key_id}/revoke")
        assert answer.status_code == 403


class TestAudit:
    async def test_an_issuance_is_told_in_the_users_home(self, service: Running) -> None:
        await service.exchange()
        await service.exchange(tenant=service.globex)
        await service.token(grant_type="password", username="nobody", password=service.api_key)
        assert len(await audited(service, service.acme, "token.issued")) == 1
        assert len(await audited(service, service.globex, "token.issued")) == 1
        [refused] = await audited(service, service.acme, "token.refused")
        assert refused["why"] == "the key is another user's"

    async def test_of_a_session_too(self, service: Running) -> None:
        body = await service.exchange()
        await service.client.post("/iam/auth/revoke", data={"token": body["access_token"]})
        await service.client.post("/iam/auth/revoke", data={"token": body["refresh_token"]})
        assert len(await audited(service, service.acme, "token.revoked")) == 1
        assert len(await audited(service, service.acme, "session.revoked")) == 1


async def test_tokens_of_a_key_are_as_narrow_as_it(admin: Person, service: Running) -> None:
    key = await made(admin, tenant_id=service.acme, expires_in=60)
    token = await holder(service, key["secret"], header=service.acme)
    assert (await token.get("/tenants/current")).status_code == 200
    body = (await exchange(service, key["secret"])).json()
    assert body["expires_in"] <= 60
    assert body["refresh_expires_in"] <= 60
