"""Who may take a service user into their hands: by its roles' places, and by their own key."""

from __future__ import annotations

from typing import Any

import pytest

from keyturn.server.domain.model import User, UserKind
from keyturn.server.domain.permissions import EDITOR, TENANT_ADMIN, VIEWER
from tests.http.conftest import Running
from tests.http.management.conftest import Person, person
from tests.http.management.keys import add_endpoint, fields, holder, made


async def robot(service: Running, *places: str, role: str = TENANT_ADMIN.id) -> User:
    """A service user at home in acme, with `role` in these tenants."""
    user = await service.add_user()
    for place in places:
        await service.give(user.id, place, role)
    return user


async def tries(who: Person, user: User, key_id: str) -> list[int]:
    """What is answered to whoever would act as `user`."""
    answers = [
        await who.post("/api-keys", {"name": f"by {who.user.id}", "user_id": user.id}),
        await who.post(f"/api-keys/{key_id}/rotate", {}),
        await who.patch(f"/api-keys/{key_id}", {"networks": None}),
        await who.post(f"/service-users/{user.id}/enable"),
    ]
    return [answer.status_code for answer in answers]


class TestRolesAbove:
    async def test_403_an_administrator_below_does_not_become_one_above(
        self, admin: Person, service: Running
    ) -> None:
        """The platform gave acme's service user a role: acme's administrator gains none."""
        user = await robot(service, service.demo.platform.tenant.id)
        key = await service.add_key(user_id=user.id, networks=("192.0.2.0/24",))
        assert await tries(admin, user, key.key_id) == [403] * 4

    async def test_200_who_holds_as_much_there(self, root_admin: Person, service: Running) -> None:
        user = await robot(service, service.demo.platform.tenant.id)
        key = await service.add_key(user_id=user.id)
        root_admin.tenant = service.acme
        assert await tries(root_admin, user, key.key_id) == [201, 200, 200, 200]

    async def test_403_less_there_than_here(self, service: Running) -> None:
        root = service.demo.platform.tenant.id
        user = await robot(service, root)
        caller = await person(service, VIEWER, root)
        await service.give(caller.user.id, service.acme, TENANT_ADMIN.id)
        body = await service.exchange_for(caller.user)
        caller.token, caller.tenant = body["access_token"], service.acme
        key = await service.add_key(user_id=user.id)
        assert await tries(caller, user, key.key_id) == [403] * 4

    async def test_403_with_a_token_that_does_not_carry_it(
        self, root_admin: Person, service: Running
    ) -> None:
        """One for acme, and one of a key that leaves the role above out."""
        user = await robot(service, service.demo.platform.tenant.id)
        key = await service.add_key(user_id=user.id)
        tokens = [
            await service.exchange_for(root_admin.user, tenant=service.acme),
        ]
        caller = await person(service, TENANT_ADMIN, service.acme)
        role = await service.add_role(
            service.demo.platform.tenant.id, "all", *TENANT_ADMIN.permissions
        )
        await service.give(caller.user.id, service.demo.platform.tenant.id, role.id)
        narrow = await service.add_key(user_id=caller.user.id, role_ids=(TENANT_ADMIN.id,))
        tokens.append(await service.exchange(key=narrow, user=caller.user.username))
        for body in tokens:
            caller.token = body["access_token"]
            assert await tries(caller, user, key.key_id) == [403] * 4

    async def test_200_its_home_takes_away(self, admin: Person, service: Running) -> None:
        """Whoever answers for a service user can end it, whatever it was given elsewhere."""
        user = await robot(service, service.demo.platform.tenant.id)
        key = await service.add_key(user_id=user.id)
        assert (await admin.post(f"/api-keys/{key.key_id}/revoke")).status_code == 200
        assert (await admin.post(f"/service-users/{user.id}/disable")).status_code == 200


class TestRolesApart:
    @pytest.mark.parametrize("role", [TENANT_ADMIN, VIEWER], ids=lambda role: role.name)
    async def test_403_an_editor(self, service: Running, role: Any) -> None:
        user = await robot(service, service.globex, role=role.id)
        key = await service.add_key(user_id=user.id)
        caller = await person(service, EDITOR, service.acme)
        assert await tries(caller, user, key.key_id) == [403] * 4

    async def test_200_an_administrator_of_its_home(self, admin: Person, service: Running) -> None:
        user = await robot(service, service.globex)
        key = await service.add_key(user_id=user.id)
        assert await tries(admin, user, key.key_id) == [201, 200, 200, 200]

    async def test_200_below_as_at_home(self, service: Running) -> None:
        product = await service.add_tenant("product", service.acme)
        user = await robot(service, product.id, role=VIEWER.id)
        key = await service.add_key(user_id=user.id)
        caller = await person(service, EDITOR, service.acme)
        assert (await tries(caller, user, key.key_id))[:3] == [201, 200, 200]


class TestNoWiderThanTheCallersKey:
    """Else two service users with narrow keys would make each other wide ones."""

    @pytest.fixture
    async def weak(self, service: Running) -> User:
        """Whose keys are made."""
        return await robot(service, service.acme, role=VIEWER.id)

    async def caller(self, service: Running, **narrow: Any) -> Person:
        user = await robot(service, service.acme)
        key = await service.add_key(user_id=user.id, **narrow)
        return await holder(service, key.text, user.username, header=service.acme)

    async def test_201_inherited(self, admin: Person, service: Running, weak: User) -> None:
        own = await made(
            admin,
            user_id=(await robot(service, service.acme)).id,
            networks=["127.0.0.0/8"],
            tenant_id=service.acme,
            expires_in=3600,
            idle_timeout=60,
        )
        async with service.service.parts.store.transaction() as tx:
            user = await tx.users.get(own["user_id"])
        assert user is not None
        me = await holder(service, own["secret"], user.username, header=service.acme)
        key = await made(me, user_id=weak.id)
        kept = ["networks", "tenant_id", "expires_at", "idle_timeout"]
        assert {name: key[name] for name in kept} == {name: own[name] for name in kept}
        assert key["role_ids"] is None

    @pytest.mark.parametrize(
        ("narrow", "wider", "field"),
        [
            ({"networks": ("127.0.0.0/8",)}, {"networks": ["0.0.0.0/0"]}, "networks"),
            ({"idle_timeout": 60}, {"idle_timeout": 61}, "idle_timeout"),
        ],
    )
    async def test_403_wider(
        self, service: Running, weak: User, narrow: Any, wider: Any, field: str
    ) -> None:
        me = await self.caller(service, **narrow)
        answer = await me.post("/api-keys", {"name": "x", "user_id": weak.id, **wider})
        assert (answer.status_code, fields(answer)) == (403, [field])

    async def test_403_in_another_tenant(self, service: Running, weak: User) -> None:
        product = await service.add_tenant("product", service.acme)
        me = await self.caller(service, tenant_id=service.acme)
        body = {"name": "x", "user_id": weak.id, "tenant_id": product.id}
        answer = await me.post("/api-keys", body)
        assert (answer.status_code, fields(answer)) == (403, ["tenant_id"])

    async def test_201_endpoints_within_its_own(self, service: Running, weak: User) -> None:
        ours = await add_endpoint(
            service, service.acme, "POST", "/iam/api-keys", "keys:write", of="Keyturn"
        )
        read = await add_endpoint(service, service.acme, "GET", "/assets", *VIEWER.permissions)
        role = await service.add_role(service.acme, "maker", "keys:write")
        strong = await robot(service, service.acme, role=role.id)
        key = await service.add_key(user_id=strong.id, endpoint_ids=(ours.id,))
        me = await holder(service, key.text, strong.username, header=service.acme)
        user = await robot(service, service.acme, role=role.id)
        assert (await made(me, user_id=user.id))["endpoint_ids"] == [ours.id]
        answer = await me.post(
            "/api-keys", {"name": "x", "user_id": user.id, "endpoint_ids": [read.id]}
        )
        assert (answer.status_code, fields(answer)) == (403, ["endpoint_ids"])

    async def test_403_neither_widened_nor_rotated(self, service: Running, weak: User) -> None:
        me = await self.caller(service, networks=("127.0.0.0/8",))
        wide = await service.add_key(user_id=weak.id)
        narrow = await service.add_key(user_id=weak.id, networks=("127.0.0.1/32",))
        assert (await me.post(f"/api-keys/{wide.key_id}/rotate", {})).status_code == 403
        assert (await me.post(f"/api-keys/{narrow.key_id}/rotate", {})).status_code == 200
        for networks, status in ((None, 403), (["::/0"], 403), (["127.0.0.0/8"], 200)):
            answer = await me.patch(f"/api-keys/{narrow.key_id}", {"networks": networks})
            assert answer.status_code == status
        answer = await me.patch(f"/api-keys/{wide.key_id}", {"networks": ["127.0.0.1/32"]})
        assert answer.status_code == 200

    async def test_201_the_first_key_too(self, service: Running) -> None:
        """A human's: the rule is the same for all."""
        human = await service.add_user(UserKind.HUMAN)
        await service.give(human.id, service.acme, TENANT_ADMIN.id)
        key = await service.add_key(user_id=human.id, networks=("127.0.0.0/8",))
        me = await holder(service, key.text, human.username, header=service.acme)
        body = {"name": "bot", "role_id": VIEWER.id, "api_key": {"name": "k"}}
        answer = await me.post("/service-users", body)
        assert answer.json()["api_key"]["networks"] == ["127.0.0.0/8"]
        wide = {"name": "k", "networks": ["0.0.0.0/0"]}
        answer = await me.post("/service-users", {**body, "name": "other", "api_key": wide})
        assert (answer.status_code, fields(answer)) == (403, ["api_key.networks"])
