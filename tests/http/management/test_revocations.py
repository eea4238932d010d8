"""What administrators end at once: it is dead everywhere, and what comes after is good."""

from __future__ import annotations

from typing import Any

import pytest

from keyturn.server.domain.ids import new_id
from keyturn.server.domain.model import UserKind
from keyturn.server.domain.permissions import TENANT_ADMIN
from keyturn.server.services.management import revocations
from tests.http.conftest import Running
from tests.http.management.conftest import Person, person
from tests.http.management.keys import audited, policy
from tests.http.management.test_sessions import dead, listed, session
from tests.http.test_exchange import claims

PATH = "/revocations"

#: Nothing's.
SOME_ID = "01a20259-2241-7725-b8d9-387fb9a38059"


async def revoke(who: Person, **what: Any) -> int:
    return (await who.post(PATH, what)).status_code


async def tokens_of(service: Running, home: str) -> dict[str, Any]:
    """Tokens of somebody new at home there, with the user's id."""
    user = await service.add_user(home=home)
    return {**await service.exchange_for(user), "user_id": user.id}


@pytest.fixture
async def sessions(service: Running) -> list[dict[str, Any]]:
    """Of the demo's user: one that was never refreshed, one that was."""
    return [await session(service, refreshed=refreshed) for refreshed in (False, True)]


class TestUser:
    async def test_204_all_the_user_has(
        self, admin: Person, service: Running, sessions: list[dict[str, Any]]
    ) -> None:
        other = await tokens_of(service, service.acme)
        key = await service.add_key()
        sessions.append(await session(service, key=key))
        assert await revoke(admin, user_id=service.demo.user.id) == 204
        for body in sessions:
            assert await dead(service, body)
        assert not await dead(service, other)
        assert not await dead(service, await session(service))
        items = await listed(admin, "/sessions", user_id=service.demo.user.id)
        assert sorted(str(item["end_reason"]) for item in items) == [
            "None",
            "superseded",
            "superseded",
        ]
        [event] = await audited(service, service.acme, "tokens.revoked")
        assert (event["target"], event["what"]) == (service.demo.user.id, "user")

    async def test_204_oneself(self, admin: Person) -> None:
        assert await revoke(admin, user_id=admin.user.id) == 204
        assert (await admin.get("/members")).status_code == 401

    async def test_204_from_above_audited_in_both_places(
        self, root_admin: Person, service: Running, sessions: list[dict[str, Any]]
    ) -> None:
        assert await revoke(root_admin, user_id=service.demo.user.id) == 204
        for body in sessions:
            assert await dead(service, body)
        for tenant in (service.acme, service.demo.platform.tenant.id):
            assert len(await audited(service, tenant, "tokens.revoked")) == 1

    async def test_204_twice_with_an_exchange_in_between(
        self, admin: Person, service: Running
    ) -> None:
        for _ in range(2):
            body = await session(service, refreshed=False)
            assert await revoke(admin, user_id=service.demo.user.id) == 204
            assert await dead(service, body)


class TestKey:
    async def test_204_all_the_key_gave_and_no_more(
        self, admin: Person, service: Running, sessions: list[dict[str, Any]]
    ) -> None:
        key = await service.add_key()
        other = [await session(service, key=key, refreshed=r) for r in (False, True)]
        assert await revoke(admin, api_key_id=service.demo.key.key_id) == 204
        for body in sessions:
            assert await dead(service, body)
        for body in other:
            # The user's access tokens ended; those sessions give new ones.
            answer = await service.refresh(body["refresh_token"])
            assert answer.status_code == 200
            used = await service.get("/iam/users/me", answer.json()["access_token"])
            assert used.status_code == 200
        assert not await dead(service, await session(service))
        # A session that began after it outlives what raises the epoch otherwise.
        [event] = await audited(service, service.acme, "tokens.revoked")
        assert (event["target"], event["what"]) == (service.demo.key.key_id, "key")

    async def test_204_sessions_begun_later_live_through_other_changes(
        self, admin: Person, service: Running
    ) -> None:
        assert await revoke(admin, api_key_id=service.demo.key.key_id) == 204
        body = await session(service, refreshed=False)
        await service.reauthorise()
        assert (await service.refresh(body["refresh_token"])).status_code == 200


class TestSession:
    async def test_204(
        self, admin: Person, service: Running, sessions: list[dict[str, Any]]
    ) -> None:
        fresh, refreshed = sessions
        assert await revoke(admin, session_id=refreshed["sid"]) == 204
        assert await dead(service, refreshed)
        assert not await dead(service, fresh)
        [event] = await audited(service, service.acme, "tokens.revoked")
        assert (event["target"], event["what"]) == (refreshed["sid"], "session")


class TestToken:
    async def test_204_by_its_id_from_the_root(self, root_admin: Person, service: Running) -> None:
        body = await service.exchange()
        jti = claims(service, body["access_token"])["jti"]
        assert await revoke(root_admin, token_id=jti) == 204
        assert (await service.get("/iam/users/me", body["access_token"])).status_code == 401
        assert (await service.introspect(body["access_token"])).json() == {"active": False}
        # Its session goes on.
        assert (await service.refresh(body["refresh_token"])).status_code == 200
        root = service.demo.platform.tenant.id
        [event] = await audited(service, root, "tokens.revoked")
        assert (event["target"], event["what"]) == (jti, "token")

    async def test_403_elsewhere(self, admin: Person, service: Running) -> None:
        body = await service.exchange()
        jti = claims(service, body["access_token"])["jti"]
        assert await revoke(admin, token_id=jti) == 403
        assert not await dead(service, body)


class TestEverything:
    async def test_204_in_the_root(
        self, root_admin: Person, admin: Person, service: Running, sessions: list[dict[str, Any]]
    ) -> None:
        sessions.append(await tokens_of(service, service.globex))
        assert await revoke(root_admin, everything=True) == 204
        for body in sessions:
            assert await dead(service, body)
        for who in (root_admin, admin):
            assert (await who.get("/members")).status_code == 401
        # Keys stay good, and changes after it are told from those before.
        for _ in range(2):
            body = await session(service)
            assert not await dead(service, body)
        await service.reauthorise()
        assert (await service.get("/iam/users/me", body["access_token"])).status_code == 401
        body = await session(service)
        me = Person(service, service.demo.user, body["access_token"], None)
        items = await listed(me, "/users/me/sessions")
        assert [item["end_reason"] for item in items] == [None, None, None, "superseded"]
        root = service.demo.platform.tenant.id
        [event] = await audited(service, root, "tokens.revoked")
        assert (event["target"], event["what"]) == ("*", "everything")

    async def test_204_in_another_tenant_those_at_home_there_and_below(
        self,
        admin: Person,
        service: Running,
        sessions: list[dict[str, Any]],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(revocations, "_CHUNK", 2)
        below = await service.add_tenant("below", parent_id=service.acme)
        sessions += [await tokens_of(service, home) for home in [below.id, service.acme] * 3]
        beside = await tokens_of(service, service.globex)
        above = (await person(service, None, service.demo.platform.tenant.id)).token
        assert await revoke(admin, everything=True) == 204
        for body in sessions:
            assert await dead(service, body)
        assert not await dead(service, beside)
        assert (await service.get("/iam/users/me", above)).status_code == 200
        # The caller is at home there, too, and came last.
        assert (await admin.get("/members")).status_code == 401
        events = await audited(service, service.acme, "tokens.revoked")
        assert {(event["target"], event["what"]) for event in events} == {
            (service.acme, "everything")
        }
        assert sum(event["users"] for event in events) == 8
        assert not await dead(service, await session(service))

    async def test_204_an_administrator_from_elsewhere_stays(
        self, service: Running, sessions: list[dict[str, Any]]
    ) -> None:
        guest = await person(service, TENANT_ADMIN, service.acme, home=service.globex)
        assert await revoke(guest, everything=True) == 204
        for body in sessions:
            assert await dead(service, body)
        assert (await guest.get("/members")).status_code == 200

    async def test_403_somebody_who_could_not_end_them_one_by_one(self, service: Running) -> None:
        role = await service.add_role(service.acme, "watch", "tokens:revoke", "tenants:read")
        watch = await person(service, role, service.acme)
        assert await revoke(watch, everything=True) == 403


class TestWhose:
    async def test_404_above_beside_and_nobodys(self, admin: Person, service: Running) -> None:
        above = service.demo.platform
        username, _ = service.admin
        root = await service.exchange(key=above.key, user=username)
        root = (await service.refresh(root["refresh_token"])).json()
        beside = await tokens_of(service, service.globex)
        for what in (
            {"user_id": above.user.id},
            {"user_id": beside["user_id"]},
            {"user_id": new_id()},
            {"api_key_id": above.key.key_id},
            {"api_key_id": "nothing"},
            {"session_id": claims(service, root["access_token"])["sid"]},
            {"session_id": new_id()},
        ):
            assert await revoke(admin, **what) == 404
        assert not await dead(service, root)
        assert not await dead(service, beside)

    async def test_403_somebody_with_more(self, service: Running) -> None:
        role = await service.add_role(service.acme, "watch", "tokens:revoke", "tenants:read")
        watch = await person(service, role, service.acme)
        body = await session(service)
        for what in (
            {"user_id": service.demo.user.id},
            {"api_key_id": service.demo.key.key_id},
            {"session_id": body["sid"]},
        ):
            assert await revoke(watch, **what) == 403
        assert not await dead(service, body)
        # But those with no more, and oneself.
        peer = await person(service, role, service.acme)
        assert await revoke(watch, user_id=peer.user.id) == 204
        assert await revoke(watch, user_id=watch.user.id) == 204

    async def test_403_a_service_user_unless_the_policy_lets_it(
        self, root_admin: Person, service: Running
    ) -> None:
        program = await person(service, TENANT_ADMIN, service.acme, kind=UserKind.SERVICE)
        assert await revoke(program, user_id=service.demo.user.id) == 403
        await policy(root_admin, service.acme, service_users_administer=True)
        assert await revoke(program, user_id=service.demo.user.id) == 204

    @pytest.mark.parametrize(
        "what",
        [
            {},
            {"user_id": None},
            {"user_id": "x"},
            {"everything": False},
            {"everything": "yes"},
            {"token_id": "x"},
            {"api_key_id": ""},
            {"user_id": SOME_ID, "everything": True},
            {"user_id": SOME_ID, "session_id": None},
            {"tenant_id": SOME_ID},
        ],
        ids=str,
    )
    async def test_400_one_thing_that_is_known(self, admin: Person, what: dict[str, Any]) -> None:
        assert await revoke(admin, **what) == 400
