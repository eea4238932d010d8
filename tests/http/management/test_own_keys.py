"""`/iam/users/me/api-keys`: who has a key makes keys, and none of them is wider."""

from __future__ import annotations

from typing import Any

import pytest

from keyturn.server.domain.ids import new_id
from keyturn.server.domain.model import UserKind
from keyturn.server.domain.permissions import EDITOR, TENANTS_READ, VIEWER
from tests.http.conftest import Running
from tests.http.management.conftest import Person, person
from tests.http.management.keys import add_endpoint, exchange, fields, holder, made, role_id

OWN = "/users/me/api-keys"


class TestCreate:
    async def test_201_n3_humans_make_keys_for_themselves(self, service: Running) -> None:
        human = await person(service, VIEWER, service.acme)
        key = await made(human, OWN, name="laptop")
        assert (key["user_id"], key["created_by"]) == (human.user.id, human.user.id)
        assert key["href"] == f"/iam{OWN}/{key['id']}"
        assert (await exchange(service, key["secret"], human.user.username)).status_code == 200

    async def test_201_as_wide_as_the_present_one(self, service: Running) -> None:
        me = await holder(service, service.api_key)
        key = await made(me, OWN)
        assert (key["tenant_id"], key["role_ids"], key["networks"]) == (None, None, None)
        body = (await exchange(service, key["secret"])).json()
        assert body["scope"] == (await service.exchange())["scope"]

    async def test_201_w6_a_persistent_key_in_another_account(self, service: Running) -> None:
        """W6, W2: with a token of globex, a key of globex, which gives access only there."""
        there = await holder(service, service.api_key, tenant=service.globex)
        key = await made(there, OWN, name="globex")
        assert key["tenant_id"] == service.globex
        assert (await exchange(service, key["secret"], tenant=service.globex)).status_code == 200
        assert (await exchange(service, key["secret"], tenant=service.acme)).status_code == 403

    async def test_201_the_header_binds_the_key_too(self, service: Running) -> None:
        me = await holder(service, service.api_key, header=service.globex)
        assert (await made(me, OWN))["tenant_id"] == service.globex
        assert (await made(me, OWN, tenant_id=service.globex))["tenant_id"] == service.globex
        answer = await me.post(OWN, {"name": "x", "tenant_id": service.acme})
        assert (answer.status_code, fields(answer)) == (400, ["tenant_id"])

    async def test_201_once(self, service: Running) -> None:
        me = await holder(service, service.api_key)
        headers = {"Idempotency-Key": "k"}
        first = await me.post(OWN, {"name": "once"}, headers=headers)
        again = await me.post(OWN, {"name": "once"}, headers=headers)
        assert first.json()["secret"] == again.json()["secret"]
        # A token that carries less does not get the secret by the same request.
        narrow = await holder(service, service.api_key, scope="assets:manage")
        assert (await narrow.post(OWN, {"name": "once"}, headers=headers)).status_code == 403
        bound = await holder(service, service.api_key, tenant=service.globex)
        assert (await bound.post(OWN, {"name": "once"}, headers=headers)).status_code == 409

    async def test_400_unknown_tenants_and_foreign_fields(self, service: Running) -> None:
        me = await holder(service, service.api_key)
        for wrong, field in (
            ({"tenant_id": new_id()}, "tenant_id"),
            ({"tenant_id": service.demo.platform.tenant.id}, "tenant_id"),
            ({"user_id": service.demo.platform.user.id}, "user_id"),
        ):
            answer = await me.post(OWN, {"name": "x", **wrong})
            assert (answer.status_code, fields(answer)) == (400, [field])

    async def test_400_malformed_header(self, service: Running) -> None:
        me = await holder(service, service.api_key, header="acme")
        assert (await me.post(OWN, {"name": "x"})).status_code == 400

    async def test_403_with_a_token_for_another_tenant(self, service: Running) -> None:
        me = await holder(service, service.api_key, tenant=service.acme, header=service.globex)
        assert (await me.post(OWN, {"name": "x"})).status_code == 403
        answer = await me.post(
            OWN, {"name": "x", "tenant_id": service.globex}, headers={"x-tenant-id": service.acme}
        )
        assert answer.status_code == 400

    async def test_403_without_a_role_anywhere(self, service: Running) -> None:
        """Who was removed fills no tenant with keys."""
        gone = await person(service, None, service.acme)
        gone.tenant = None
        assert (await gone.post(OWN, {"name": "x"})).status_code == 403
        assert (await gone.get(OWN)).status_code == 200

    async def test_409_duplicate_name(self, service: Running) -> None:
        me = await holder(service, service.api_key)
        await made(me, OWN, name="twice")
        answer = await me.post(OWN, {"name": "twice"})
        assert (answer.status_code, fields(answer)) == (409, ["name"])


class TestNoWider:
    """What is omitted is inherited; what is given lies within."""

    async def test_201_inherits_all_that_narrows(self, admin: Person, service: Running) -> None:
        operator = await role_id(service, service.acme, "operator")
        ours = await add_endpoint(
            service, service.acme, "POST", f"/iam{OWN}", "assets:manage", of="Keyturn"
        )
        narrow = await made(
            admin,
            tenant_id=service.acme,
            role_ids=[operator],
            endpoint_ids=[ours.id],
            networks=["127.0.0.0/8", "192.0.2.0/24"],
            expires_in=3600,
            idle_timeout=600,
        )
        me = await holder(service, narrow["secret"])
        key = await made(me, OWN)
        kept = ["tenant_id", "role_ids", "endpoint_ids", "networks", "expires_at", "idle_timeout"]
        assert {name: key[name] for name in kept} == {name: narrow[name] for name in kept}
        within = await made(
            me, OWN, networks=["127.0.0.1/32"], expires_in=60, idle_timeout=60, role_ids=[operator]
        )
        assert within["networks"] == ["127.0.0.1/32"]

    @pytest.mark.parametrize(
        ("narrow", "wider", "field"),
        [
            ({"networks": ["127.0.0.0/8"]}, {"networks": ["0.0.0.0/0"]}, "networks"),
            ({"networks": ["127.0.0.0/8"]}, {"networks": ["::/0"]}, "networks"),
            ({"expires_in": 60}, {"expires_in": 90}, "expires_at"),
            ({"idle_timeout": 60}, {"idle_timeout": 61}, "idle_timeout"),
        ],
    )
    async def test_403_wider(
        self,
        admin: Person,
        service: Running,
        narrow: dict[str, Any],
        wider: dict[str, Any],
        field: str,
    ) -> None:
        key = await made(admin, **narrow)
        me = await holder(service, key["secret"])
        answer = await me.post(OWN, {"name": "x", **wider})
        assert (answer.status_code, fields(answer)) == (403, [field])

    async def test_403_other_roles_and_tenants(self, admin: Person, service: Running) -> None:
        operator = await role_id(service, service.acme, "operator")
        key = await made(admin, role_ids=[operator])
        me = await holder(service, key["secret"])
        answer = await me.post(OWN, {"name": "x", "role_ids": [operator, VIEWER.id]})
        assert (answer.status_code, fields(answer)) == (403, ["role_ids"])
        bound = await made(admin, tenant_id=service.acme)
        me = await holder(service, bound["secret"])
        answer = await me.post(OWN, {"name": "x", "tenant_id": service.globex})
        assert (answer.status_code, fields(answer)) == (403, ["tenant_id"])

    async def test_403_other_endpoints(self, admin: Person, service: Running) -> None:
        ours = await add_endpoint(
            service, service.acme, "POST", f"/iam{OWN}", "assets:manage", of="Keyturn"
        )
        other = await add_endpoint(service, service.acme, "GET", "/assets", "assets:manage")
        key = await made(admin, endpoint_ids=[ours.id])
        me = await holder(service, key["secret"])
        answer = await me.post(OWN, {"name": "x", "endpoint_ids": [other.id]})
        assert (answer.status_code, fields(answer)) == (403, ["endpoint_ids"])

    async def test_403_a_token_narrowed_by_scope_makes_none(self, service: Running) -> None:
        for tenant in (None, service.acme):
            me = await holder(service, service.api_key, tenant=tenant, scope="assets:manage")
            answer = await me.post(OWN, {"name": "x"})
            assert answer.status_code == 403
        # Nor one that carries a whole role, and leaves out a tenant where the user has others.
        me = await holder(service, service.api_key, scope=" ".join(sorted(VIEWER.permissions)))
        assert (await me.post(OWN, {"name": "x"})).status_code == 403

    async def test_403_a_refreshed_token_that_carries_less_than_its_key(
        self, service: Running
    ) -> None:
        body = await service.exchange()
        await service.give(service.demo.user.id, service.acme, EDITOR.id)
        token = (await service.refresh(body["refresh_token"])).json()["access_token"]
        me = Person(service, service.demo.user, token, None)
        assert (await me.post(OWN, {"name": "x"})).status_code == 403
        assert (await (await holder(service, service.api_key)).post(OWN, {"name": "x"})).is_success

    async def test_201_tenants_that_came_and_went_below_do_not_matter(
        self, root_admin: Person, service: Running
    ) -> None:
        """N5: who makes tenants with the first key, makes keys with the same token."""
        root_admin.tenant = None
        await service.add_tenant("late")
        await made(root_admin, OWN)
        me = await holder(service, service.api_key)
        headers = {"x-tenant-id": service.demo.platform.tenant.id}
        answer = await root_admin.post(f"/tenants/{service.globex}/suspend", headers=headers)
        assert answer.status_code == 200
        await made(me, OWN)

    async def test_201_with_more_tenants_than_a_token_lists(self, service: Running) -> None:
        for number in range(21):
            await service.add_tenant(f"product {number}", parent_id=service.acme)
        me = await holder(service, service.api_key)
        assert (await made(me, OWN))["tenant_id"] is None


class TestOwn:
    async def test_200_list_and_read_without_any_permission(self, service: Running) -> None:
        user = await service.add_user()
        key = await service.add_key(user_id=user.id)
        me = await holder(service, key.text, user.username)
        [item] = (await me.get(OWN)).json()["items"]
        assert item["id"] == key.key_id
        assert (await me.get(f"{OWN}/{key.key_id}")).json() == item
        assert (await me.get(f"{OWN}/{service.demo.key.key_id}")).status_code == 404
        assert (await me.post(f"{OWN}/{service.demo.key.key_id}/revoke")).status_code == 404

    async def test_200_rename(self, service: Running) -> None:
        me = await holder(service, service.api_key)
        at = f"{OWN}/{service.demo.key.key_id}"
        etag = (await me.get(at)).headers["etag"]
        answer = await me.patch(at, {"name": "other"}, headers={"If-Match": etag})
        assert (answer.status_code, answer.json()["name"]) == (200, "other")
        # The token lives on: what it may do has not changed.
        stale = await me.patch(at, {"name": "third"}, headers={"If-Match": etag})
        assert stale.status_code == 412
        await made(me, OWN, name="taken")
        assert (await me.patch(at, {"name": "taken"})).status_code == 409

    @pytest.mark.parametrize("field", ["role_ids", "endpoint_ids", "networks"])
    async def test_403_f3_not_what_narrows_it(self, service: Running, field: str) -> None:
        me = await holder(service, service.api_key)
        answer = await me.patch(f"{OWN}/{service.demo.key.key_id}", {field: None})
        assert answer.status_code == 403

    async def test_400_n2_neither_secret_nor_expiry(self, service: Running) -> None:
        me = await holder(service, service.api_key)
        for field in ("secret", "expires_at", "tenant_id", "user_id"):
            answer = await me.patch(f"{OWN}/{service.demo.key.key_id}", {field: None})
            assert (answer.status_code, fields(answer)) == (400, [field])

    async def test_200_revoke_also_the_present_one(self, service: Running) -> None:
        me = await holder(service, service.api_key)
        answer = await me.post(f"{OWN}/{service.demo.key.key_id}/revoke")
        assert (answer.status_code, answer.json()["state"]) == (200, "revoked")
        assert (await me.get(OWN)).status_code == 401
        assert (await exchange(service, service.api_key)).status_code == 400

    async def test_403_revoking_another_with_less(self, admin: Person, service: Running) -> None:
        narrow = await made(admin, networks=["127.0.0.0/8"])
        wide = f"{OWN}/{service.demo.key.key_id}/revoke"
        for me in (
            await holder(service, narrow["secret"]),
            await holder(service, narrow["secret"], scope="assets:manage"),
        ):
            assert (await me.post(wide)).status_code == 403
            assert (await me.get(f"{OWN}/{service.demo.key.key_id}")).status_code == 200
        # The present one by a token that carries all of it: it is handed on with less.
        assert (await me.post(f"{OWN}/{narrow['id']}/revoke")).status_code == 403
        me = await holder(service, narrow["secret"])
        assert (await me.post(f"{OWN}/{narrow['id']}/revoke")).status_code == 200
        whole = await holder(service, service.api_key)
        other = await made(whole, OWN)
        scoped = await holder(service, service.api_key, scope="assets:manage")
        assert (await scoped.post(f"{OWN}/{other['id']}/revoke")).status_code == 403
        assert (await whole.post(f"{OWN}/{other['id']}/revoke")).status_code == 200

    async def test_403_by_the_administrators_way_what_narrows_ones_own(
        self, service: Running
    ) -> None:
        """F3: nobody edits their own allow-list, administrators neither."""
        role = await service.add_role(
            service.acme, "keeper", "keys:write", "keys:read", TENANTS_READ
        )
        user = await service.add_user(UserKind.SERVICE)
        await service.give(user.id, service.acme, role.id)
        key = await service.add_key(user_id=user.id, networks=("127.0.0.0/8",))
        me = await holder(service, key.text, user.username, header=service.acme)
        answer = await me.patch(f"/api-keys/{key.key_id}", {"networks": None})
        assert answer.status_code == 403
        assert (await me.patch(f"/api-keys/{key.key_id}", {"name": "mine"})).status_code == 200
