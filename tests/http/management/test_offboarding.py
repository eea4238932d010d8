"""What becomes of a departing person's service users and keys (N1; the policy `offboarding`)."""

from __future__ import annotations

from typing import Any

import pytest

from keyturn.server.domain.permissions import TENANT_ADMIN, VIEWER
from keyturn.server.domain.policy import Offboarding, Policy
from tests.http.conftest import Running
from tests.http.management.conftest import Person, person
from tests.http.management.test_service_users import exchange, make, settle


async def status(service: Running, made: dict[str, Any]) -> int:
    """Of an exchange with its key."""
    answered: int = (await exchange(service, made)).status_code
    return answered


@pytest.fixture
async def leaving(service: Running, admin: Person) -> Person:
    """A second administrator of acme, who is going to leave."""
    return await person(service, TENANT_ADMIN, service.acme)


class TestKeep:
    async def test_204_n1_a_service_user_outlives_its_creator(
        self, service: Running, admin: Person, leaving: Person
    ) -> None:
        made = await make(leaving, api_key={"name": "k"})
        token = (await exchange(service, made)).json()["access_token"]
        assert (await admin.delete(f"/members/{leaving.user.id}")).status_code == 204
        assert (await service.get("/iam/users/me", token)).status_code == 200
        assert await status(service, made) == 200
        read = (await admin.get(f"/service-users/{made['id']}")).json()
        assert (read["created_by"], read["disabled_at"]) == (leaving.user.id, None)


class TestDisable:
    async def test_204_users_disabled_and_keys_revoked(
        self, service: Running, admin: Person, leaving: Person
    ) -> None:
        await settle(service, service.acme, Policy(offboarding=Offboarding.DISABLE))
        made = await make(leaving, api_key={"name": "k"})
        others = await make(admin, "others", api_key={"name": "k"})
        key = await leaving.post("/api-keys", {"user_id": others["id"], "name": "theirs"})
        token = (await exchange(service, others, key.json()["secret"])).json()["access_token"]
        assert (await admin.delete(f"/members/{leaving.user.id}")).status_code == 204

        read = (await admin.get(f"/service-users/{made['id']}")).json()
        assert read["disabled_at"] is not None
        assert await status(service, made) == 400
        # Of others' service users only the key that the person knew has ended.
        assert (await service.get("/iam/users/me", token)).status_code == 401
        assert (await exchange(service, others, key.json()["secret"])).status_code == 400
        assert await status(service, others) == 200
        listed = (await admin.get(f"/api-keys/{key.json()['id']}")).json()
        assert listed["state"] == "revoked"
        assert listed["reason"] == "The person who made it has left."
        # Enabled again, it does not open to the person's old key.
        assert (await admin.post(f"/service-users/{made['id']}/enable")).status_code == 200
        assert await status(service, made) == 400

    async def test_204_when_the_last_role_is_taken(
        self, service: Running, admin: Person, leaving: Person
    ) -> None:
        await settle(service, service.acme, Policy(offboarding=Offboarding.DISABLE))
        await service.give(leaving.user.id, service.acme, VIEWER.id)
        leaving.token = (await service.exchange_for(leaving.user))["access_token"]
        made = await make(leaving, api_key={"name": "k"})
        path = f"/members/{leaving.user.id}/roles"
        assert (await admin.delete(f"{path}/{TENANT_ADMIN.id}")).status_code == 204
        assert await status(service, made) == 200
        assert (await admin.delete(f"{path}/{VIEWER.id}")).status_code == 204
        assert await status(service, made) == 400

    async def test_204_what_is_at_home_elsewhere_stays(
        self, service: Running, admin: Person, leaving: Person
    ) -> None:
        await settle(service, service.acme, Policy(offboarding=Offboarding.DISABLE))
        await service.give(leaving.user.id, service.globex, TENANT_ADMIN.id)
        leaving.token = (await service.exchange_for(leaving.user))["access_token"]
        leaving.tenant = service.globex
        made = await make(leaving, api_key={"name": "k"})
        assert (await admin.delete(f"/members/{leaving.user.id}")).status_code == 204
        assert await status(service, made) == 200


class TestDelete:
    async def test_204_users_with_their_keys(
        self, service: Running, admin: Person, leaving: Person
    ) -> None:
        await settle(service, service.acme, Policy(offboarding=Offboarding.DELETE))
        made = await make(leaving, api_key={"name": "k"})
        others = await make(admin, "others")
        key = await leaving.post("/api-keys", {"user_id": others["id"], "name": "theirs"})
        token = (await exchange(service, made)).json()["access_token"]
        assert (await admin.delete(f"/members/{leaving.user.id}")).status_code == 204
        assert (await admin.get(f"/service-users/{made['id']}")).status_code == 404
        assert (await service.get("/iam/users/me", token)).status_code == 401
        assert await status(service, made) == 400
        assert (await exchange(service, others, key.json()["secret"])).status_code == 400

        params = {"target": made["id"], "action": "service_user.deleted"}
        [event] = (await admin.get("/audit-events", params=params)).json()["items"]
        assert event["data"]["reason"] == "offboarding"

    async def test_204_only_people_depart(self, service: Running, admin: Person) -> None:
        both = Policy(offboarding=Offboarding.DELETE, service_users_administer=True)
        await settle(service, service.acme, both)
        maker = await make(admin, "maker", role_id=TENANT_ADMIN.id, api_key={"name": "k"})
        token = (await exchange(service, maker)).json()["access_token"]
        made = await make(Person(service, admin.user, token, service.acme), api_key={"name": "k"})
        assert made["created_by"] == maker["id"]
        assert (await admin.delete(f"/members/{maker['id']}")).status_code == 204
        assert await status(service, made) == 200


class TestTree:
    async def test_204_below_by_the_policy_there(
        self, service: Running, admin: Person, leaving: Person
    ) -> None:
        strict = await service.add_tenant("strict", service.acme)
        mild = await service.add_tenant("mild", service.acme)
        await settle(service, strict.id, Policy(offboarding=Offboarding.DELETE))
        leaving.token = (await service.exchange_for(leaving.user))["access_token"]
        made = {}
        for tenant in (strict.id, mild.id):
            leaving.tenant = tenant
            made[tenant] = await make(leaving, api_key={"name": "k"})
        assert (await admin.delete(f"/members/{leaving.user.id}")).status_code == 204
        assert await status(service, made[strict.id]) == 400
        assert await status(service, made[mild.id]) == 200

    async def test_204_who_still_has_a_role_above_has_not_left(
        self, service: Running, admin: Person, root_admin: Person
    ) -> None:
        await settle(service, service.acme, Policy(offboarding=Offboarding.DELETE))
        await service.give(root_admin.user.id, service.acme, VIEWER.id)
        root_admin.tenant = service.acme
        made = await make(root_admin, api_key={"name": "k"})
        assert (await admin.delete(f"/members/{root_admin.user.id}")).status_code == 204
        assert await status(service, made) == 200

    async def test_204_who_still_has_a_role_below_has_not_left_there(
        self, service: Running, admin: Person, leaving: Person
    ) -> None:
        await settle(service, service.acme, Policy(offboarding=Offboarding.DELETE))
        product = await service.add_tenant("product", service.acme)
        await service.give(leaving.user.id, product.id, VIEWER.id)
        leaving.token = (await service.exchange_for(leaving.user))["access_token"]
        here = await make(leaving, api_key={"name": "k"})
        leaving.tenant = product.id
        there = await make(leaving, api_key={"name": "k"})
        assert (await admin.delete(f"/members/{leaving.user.id}")).status_code == 204
        assert await status(service, here) == 400
        assert await status(service, there) == 200

    async def test_409_with_it_the_last_administrator_would_go(
        self, service: Running, admin: Person, leaving: Person
    ) -> None:
        policy = Policy(offboarding=Offboarding.DISABLE, service_users_administer=True)
        await settle(service, service.acme, policy)
        product = await service.add_tenant("product", service.acme)
        leaving.token = (await service.exchange_for(leaving.user))["access_token"]
        given = [{"tenant_id": product.id, "role_id": TENANT_ADMIN.id}]
        made = await make(leaving, memberships=given, api_key={"name": "k"})
        assert (await admin.delete(f"/members/{leaving.user.id}")).status_code == 409
        assert await status(service, made) == 200
        assert (await admin.get(f"/members/{leaving.user.id}")).status_code == 200
