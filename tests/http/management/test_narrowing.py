"""What narrows a key, and where it is felt: at the exchange, at refresh, and at every call."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from keyturn.server.domain.model import UserKind
from keyturn.server.domain.permissions import EDITOR, TENANT_ADMIN, VIEWER
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
HERE, ELSEWHERE = "192.0.2.7", "198.51.100.7"


class TestChange:
    """F3: omitted stays, null is all, an empty list is refused."""

    async def test_200_f3_omitted_null_and_given(self, admin: Person, service: Running) -> None:
        operator = await role_id(service, service.acme, "operator")
        key = await made(admin, role_ids=[operator], networks=["127.0.0.0/8"])
        at = f"/api-keys/{key['id']}"
        told = (await admin.patch(at, {"name": "renamed"})).json()
        assert (told["role_ids"], told["networks"]) == ([operator], ["127.0.0.0/8"])
        told = (await admin.patch(at, {"role_ids": None})).json()
        assert (told["name"], told["role_ids"]) == ("renamed", None)
        assert told["networks"] == ["127.0.0.0/8"]
        told = (await admin.patch(at, {"role_ids": [operator, operator]})).json()
        assert told["role_ids"] == [operator]
        shown = (await admin.get(at)).json()
        assert {name: shown[name] for name in told} == told

    async def test_200_tokens_from_before_die(self, admin: Person, service: Running) -> None:
        key = await made(admin)
        me = await holder(service, key["secret"])
        at = f"/api-keys/{key['id']}"
        await admin.patch(at, {"name": "still alive"})
        assert (await me.get("/users/me")).status_code == 200
        await admin.patch(at, {"networks": ["127.0.0.0/8"]})
        assert (await me.get("/users/me")).status_code == 401
        me = await holder(service, key["secret"])
        await admin.patch(at, {"networks": None})
        assert (await me.get("/users/me")).status_code == 401

    async def test_200_audited_with_before_and_after(self, admin: Person, service: Running) -> None:
        key = await made(admin, networks=["127.0.0.0/8"])
        await admin.patch(f"/api-keys/{key['id']}", {"networks": ["10.0.0.0/8"]})
        [event] = await audited(service, service.acme, "api_key.changed")
        assert event["before"]["networks"] == ["127.0.0.0/8"]
        assert event["after"]["networks"] == ["10.0.0.0/8"]

    @pytest.mark.parametrize("field", ["role_ids", "endpoint_ids", "networks"])
    async def test_400_f3_an_empty_list(self, admin: Person, field: str) -> None:
        key = await made(admin)
        answer = await admin.patch(f"/api-keys/{key['id']}", {field: []})
        assert (answer.status_code, fields(answer)) == (400, [field])

    @pytest.mark.parametrize("field", ["expires_at", "expires_in", "secret", "tenant_id"])
    async def test_400_n2_what_never_changes(self, admin: Person, field: str) -> None:
        key = await made(admin)
        answer = await admin.patch(f"/api-keys/{key['id']}", {field: None})
        assert (answer.status_code, fields(answer)) == (400, [field])

    async def test_400_a_name_of_nothing(self, admin: Person) -> None:
        key = await made(admin)
        answer = await admin.patch(f"/api-keys/{key['id']}", {"name": None})
        assert (answer.status_code, fields(answer)) == (400, ["name"])

    async def test_400_roles_that_do_not_reach_the_keys_tenant(
        self, admin: Person, service: Running
    ) -> None:
        key = await made(admin, tenant_id=service.acme)
        answer = await admin.patch(f"/api-keys/{key['id']}", {"role_ids": [VIEWER.id]})
        assert (answer.status_code, fields(answer)) == (400, ["role_ids"])

    async def test_403_what_the_caller_could_not_give(self, service: Running) -> None:
        editor = await person(service, EDITOR, service.acme)
        at = f"/api-keys/{service.demo.key.key_id}"
        for change in ({"networks": ["127.0.0.0/8"]}, {"networks": None}, {"name": "x"}):
            assert (await editor.patch(at, change)).status_code == 403

    async def test_403_humans_keys(self, admin: Person, service: Running) -> None:
        human = await person(service, VIEWER, service.acme)
        [key] = (await human.get("/users/me/api-keys")).json()["items"]
        answer = await admin.patch(f"/api-keys/{key['id']}", {"networks": None})
        assert answer.status_code == 403

    async def test_409_duplicate_name(self, admin: Person) -> None:
        await made(admin, name="taken")
        key = await made(admin)
        answer = await admin.patch(f"/api-keys/{key['id']}", {"name": "taken"})
        assert (answer.status_code, fields(answer)) == (409, ["name"])

    async def test_412_stale(self, admin: Person) -> None:
        key = await made(admin)
        at = f"/api-keys/{key['id']}"
        await admin.patch(at, {"name": "second"})
        answer = await admin.patch(at, {"name": "third"}, headers={"If-Match": '"1"'})
        assert answer.status_code == 412


class TestNetworks:
    @pytest.fixture
    async def service(self, start: Callable[..., Any]) -> Running:
        """Behind a proxy, so that calls come from many addresses."""
        running: Running = await start(trusted_proxies=["127.0.0.1/32"])
        return running

    async def test_one_answer_to_all_bad_credentials(self, admin: Person, service: Running) -> None:
        key = await made(admin, networks=["192.0.2.0/24", "2001:db8::/32"])
        secret = key["secret"]
        assert (await exchange(service, secret, address=HERE)).status_code == 200
        assert (await exchange(service, secret, address=f"::ffff:{HERE}")).status_code == 200
        assert (await exchange(service, secret, address="2001:db8::5")).status_code == 200
        refused = await exchange(service, secret, address=ELSEWHERE)
        wrong = await exchange(service, service.admin[1], address=ELSEWHERE)
        assert refused.status_code == 400
        assert (refused.json(), refused.status_code) == (wrong.json(), wrong.status_code)
        events = await audited(service, service.acme, "token.refused")
        [event] = [event for event in events if event["target"] == key["id"]]
        assert event["why"] == "address not allowed"
        assert event["actor"].address == ELSEWHERE

    async def test_at_refresh(self, admin: Person, service: Running) -> None:
        key = await made(admin, networks=["192.0.2.0/24"])
        token = (await exchange(service, key["secret"], address=HERE)).json()["refresh_token"]

        async def refresh(address: str) -> int:
            answer = await service.token(
                headers={"x-forwarded-for": address},
                grant_type="refresh_token",
                refresh_token=token,
            )
            return answer.status_code

        assert await refresh(ELSEWHERE) == 400
        # It was not spent by that.
        assert await refresh(HERE) == 200

    async def test_at_every_call_to_keyturn(self, admin: Person, service: Running) -> None:
        key = await made(admin, networks=["192.0.2.0/24"])
        token = (await exchange(service, key["secret"], address=HERE)).json()["access_token"]
        me = Person(service, service.demo.user, token, service.acme)
        for path in ("/users/me", "/users/me/api-keys", "/tenants/current"):
            for address, status in ((HERE, 200), (ELSEWHERE, 401)):
                answer = await me.get(path, headers={"x-forwarded-for": address})
                assert answer.status_code == status

    async def test_of_a_client(self, root_admin: Person, service: Running) -> None:
        async with service.service.parts.store.transaction() as tx:
            key = await tx.api_keys.get(service.demo.platform.key.key_id)
        token = (await service.exchange())["access_token"]
        new = await service.add_key(
            user_id=root_admin.user.id,
            home_tenant_id=key and key.home_tenant_id,
            networks=("192.0.2.0/24",),
        )
        auth = (root_admin.user.username, new.text)
        for path in ("introspect", "revoke"):
            for address, status in ((ELSEWHERE, 401), (HERE, 200)):
                answer = await service.client.post(
                    f"/iam/auth/{path}",
                    data={"token": token if path == "introspect" else "x"},
                    auth=auth,
                    headers={"x-forwarded-for": address},
                )
                assert answer.status_code == status


class TestExpiry:
    """P7: a set expiry and a rolling one, felt wherever the key or its tokens are."""

    @pytest.mark.parametrize("how", ["own", "policy"])
    async def test_idle(
        self, admin: Person, root_admin: Person, service: Running, how: str
    ) -> None:
        if how == "own":
            key = await made(admin, idle_timeout=200)
        else:
            await policy(root_admin, service.acme, api_key_idle_timeout=200)
            key = await made(admin)
        body = (await exchange(service, key["secret"])).json()
        await service.service.usage.flush()
        me = Person(service, service.demo.user, body["access_token"], None)
        # Each use begins the time anew.
        service.clock.shift = timedelta(seconds=150)
        assert (await exchange(service, key["secret"])).status_code == 200
        await service.service.usage.flush()
        service.clock.shift = timedelta(seconds=290)
        assert (await me.get("/users/me")).status_code == 200
        fresh = (await exchange(service, key["secret"])).json()
        await service.service.usage.flush()
        service.clock.shift = timedelta(seconds=500)
        me.token = fresh["access_token"]
        assert (await me.get("/users/me")).status_code == 401
        assert (await service.introspect(fresh["access_token"])).json() == {"active": False}
        assert (await service.introspect(fresh["refresh_token"])).json() == {"active": False}
        assert (await service.refresh(fresh["refresh_token"])).status_code == 400
        assert (await exchange(service, key["secret"])).status_code == 400
        events = await audited(service, service.acme, "token.refused")
        assert {event["why"] for event in events} == {"unused for too long"}

    async def test_a_refresh_is_a_use(self, admin: Person, service: Running) -> None:
        key = await made(admin, idle_timeout=600)
        body = (await exchange(service, key["secret"])).json()
        for seconds in (500, 1000, 1500):
            service.clock.shift = timedelta(seconds=seconds)
            answer = await service.refresh(body["refresh_token"])
            assert answer.status_code == 200
            body = answer.json()
            await service.service.usage.flush()

    async def test_set(self, admin: Person, service: Running) -> None:
        key = await made(admin, expires_in=100)
        body = (await exchange(service, key["secret"])).json()
        service.clock.shift = timedelta(seconds=101)
        assert (await exchange(service, key["secret"])).status_code == 400
        assert (await service.refresh(body["refresh_token"])).status_code == 400
        assert (await service.introspect(body["access_token"])).json() == {"active": False}


class TestEndpoints:
    async def test_f2_only_narrows(self, admin: Person, service: Running) -> None:
        allowed = await add_endpoint(service, service.acme, "GET", "/assets", "assets:manage")
        forbidden = await add_endpoint(service, service.acme, "PUT", "/system", "system:manage")
        key = await made(admin, endpoint_ids=[allowed.id, forbidden.id])
        body = (await exchange(service, key["secret"], tenant=service.acme)).json()
        assert body["scope"] == "assets:manage"
        told = (await service.introspect(body["access_token"])).json()
        assert told["roles"] == []  # none is carried whole

    async def test_f2_a_catalogue_below_widens_nothing(
        self, admin: Person, root_admin: Person, service: Running
    ) -> None:
        root = service.demo.platform.tenant.id
        user = await service.add_user(home=root)
        await service.give(user.id, root, EDITOR.id)
        below = await add_endpoint(service, service.acme, "GET", "/assets", "users:read")
        above = await add_endpoint(service, root, "GET", "/assets", "keys:read")
        key = await service.add_key(
            user_id=user.id, home_tenant_id=root, endpoint_ids=(below.id, above.id)
        )
        wider = {"opened_by": [["keys:write"], ["endpoints:write"], ["users:read"]]}
        assert (await admin.patch(f"/endpoints/{below.id}", wider)).status_code == 200
        for tenant in (root, service.acme, service.globex):
            body = await service.exchange(tenant=tenant, key=key, user=user.username)
            assert body["scope"] == "keys:read"

    async def test_f3_null_opens_all_again(self, admin: Person, service: Running) -> None:
        allowed = await add_endpoint(service, service.acme, "GET", "/assets", "assets:manage")
        key = await made(admin, endpoint_ids=[allowed.id])
        await admin.patch(f"/api-keys/{key['id']}", {"endpoint_ids": None})
        body = (await exchange(service, key["secret"], tenant=service.acme)).json()
        assert body["scope"] == (await service.exchange(tenant=service.acme))["scope"]

    async def test_403_f5_what_is_not_on_the_list_or_not_in_the_catalogue(
        self, admin: Person, service: Running
    ) -> None:
        user = await service.add_user(UserKind.SERVICE)
        await service.give(user.id, service.acme, VIEWER.id)
        listed = await add_endpoint(
            service, service.acme, "GET", "/iam/tenants/current", "tenants:read", of="Keyturn"
        )
        own = await add_endpoint(
            service, service.acme, "GET", "/iam/users/me/api-keys/:id", of="Keyturn"
        )
        # Neither what is in the catalogue, nor what another service has at the same path.
        await add_endpoint(service, service.acme, "GET", "/iam/roles", "roles:read", of="Keyturn")
        foreign = await add_endpoint(service, service.acme, "GET", "/iam/tenants", "tenants:read")
        key = await made(admin, user_id=user.id, endpoint_ids=[listed.id, own.id, foreign.id])
        me = await holder(service, key["secret"], user.username, header=service.acme)
        for path, status in (
            ("/tenants/current", 200),
            (f"/users/me/api-keys/{key['id']}", 200),
            ("/users/me", 200),  # C4: with any key's token
            ("/tenants", 403),
            ("/api-keys", 403),
            ("/users/me/api-keys", 403),
        ):
            answer = await me.get(path)
            assert (path, answer.status_code) == (path, status)
        assert (await me.post("/tenants", {"name": "x"})).status_code == 403

    async def test_403_a_client_whose_list_has_nothing_of_introspection(
        self, admin: Person, service: Running
    ) -> None:
        user = await service.add_user()
        await service.give(user.id, service.acme, TENANT_ADMIN.id)
        listed = await add_endpoint(service, service.acme, "GET", "/assets", "tenants:read")
        key = await made(admin, user_id=user.id, endpoint_ids=[listed.id])
        whole = await made(admin, user_id=user.id)
        token = (await service.exchange())["access_token"]
        for secret, status in ((key["secret"], 403), (whole["secret"], 200)):
            answer = await service.introspect(token, auth=(user.username, secret))
            assert answer.status_code == status

    async def test_400_f6_later_listed_no_more(self, admin: Person, service: Running) -> None:
        key = await made(admin)
        endpoint = await add_endpoint(service, service.acme, "POST", "/users", "users:write")
        answer = await admin.patch(f"/api-keys/{key['id']}", {"endpoint_ids": [endpoint.id]})
        assert (answer.status_code, fields(answer)) == (400, ["endpoint_ids.0"])
