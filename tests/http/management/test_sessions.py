"""Sessions, as their users see and end them, and as administrators do."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Table, update

from keyturn.server.domain.ids import new_id
from keyturn.server.domain.model import UserKind
from keyturn.server.domain.permissions import EDITOR, TENANT_ADMIN, VIEWER
from keyturn.server.storage.store import DatabaseStore
from keyturn.server.storage.tables import api_keys, sessions, users
from tests.http.conftest import Running
from tests.http.management.conftest import Person, person
from tests.http.management.keys import audited, fields, holder, policy
from tests.http.test_exchange import claims

OWN = "/users/me/sessions"


async def session(service: Running, *, refreshed: bool = True, **how: Any) -> dict[str, Any]:
    """Tokens of a new session of the demo's user, with its id."""
    body = await service.exchange(**how)
    if refreshed:
        answer = await service.refresh(body["refresh_token"])
        assert answer.status_code == 200
        body = answer.json()
    return {**body, "sid": claims(service, body["access_token"])["sid"]}


async def me(service: Running, body: dict[str, Any]) -> Person:
    return Person(service, service.demo.user, body["access_token"], None)


async def dead(service: Running, body: dict[str, Any]) -> bool:
    """Whether refresh token and access token are both refused; one alone is an error."""
    answer = await service.refresh(body["refresh_token"])
    used = await service.get("/iam/users/me", body["access_token"])
    ended = answer.status_code == 400
    assert used.status_code == (401 if ended else 200)
    assert answer.json().get("error") == ("invalid_grant" if ended else None)
    return ended


async def listed(who: Person, path: str = OWN, **params: Any) -> list[dict[str, Any]]:
    answer = await who.get(path, params=params)
    assert answer.status_code == 200, answer.text
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


async def put(service: Running, table: Table, id_: str, **values: Any) -> None:
    """Writes into a row what time would have."""
    store = service.service.parts.store
    assert isinstance(store, DatabaseStore)
    async with store._engine.begin() as connection:
        await connection.execute(update(table).where(table.c.id == id_).values(values))


class TestListOwn:
    async def test_200_the_latest_first_with_what_is_known(self, service: Running) -> None:
        first = await session(service)
        second = await session(service, tenant=service.acme)
        fresh = await session(service, refreshed=False)
        items = await listed(await me(service, second))
        assert [item["id"] for item in items] == [second["sid"], first["sid"]]
        assert [item["current"] for item in items] == [True, False]
        assert [item["tenant_id"] for item in items] == [service.acme, None]
        for item in items:
            assert item["live"] is True
            assert item["last_used_from"] == "127.0.0.1"
            assert item["ended_at"] is item["end_reason"] is None
            assert item["api_key_id"] == service.demo.key.key_id
            assert item["user_id"] == service.demo.user.id
            times = [
                datetime.fromisoformat(item[name])
                for name in ("started_at", "last_used_at", "expires_at")
            ]
            assert abs(times[1] - times[0]) < timedelta(seconds=60)
            assert times[2] > times[1] + timedelta(hours=9)
        # It has no row yet.
        assert fresh["sid"] not in [item["id"] for item in await listed(await me(service, fresh))]

    async def test_200_of_all_keys_and_nobody_elses(self, service: Running) -> None:
        other_key = await service.add_key()
        mine = await session(service, key=other_key)
        body = await service.exchange_for(await service.add_user())
        assert (await service.refresh(body["refresh_token"])).status_code == 200
        [item] = await listed(await me(service, await session(service, refreshed=False)))
        assert (item["id"], item["api_key_id"]) == (mine["sid"], other_key.key_id)

    async def test_200_page_by_page(self, service: Running) -> None:
        ids = [(await session(service))["sid"] for _ in range(3)]
        who = await me(service, await session(service, refreshed=False))
        found, params = [], {"limit": 2}
        for _ in range(2):
            page = (await who.get(OWN, params=params)).json()
            found += [item["id"] for item in page["items"]]
            params = {"limit": 2, "cursor": page["next_cursor"]}
        assert page["next_cursor"] is None
        assert found == ids[::-1]

    async def test_200_ended_ones_say_why_and_live_ones_can_be_asked_for(
        self, admin: Person, service: Running
    ) -> None:
        ended, revoked, reused, goes_on = [await session(service) for _ in range(4)]
        of_dead_key = await session(service, key=(key := await service.add_key()))
        who = await me(service, goes_on)
        assert (await who.delete(f"{OWN}/{ended['sid']}")).status_code == 204
        answer = await service.client.post(
            "/iam/auth/revoke", data={"token": revoked["refresh_token"]}
        )
        assert answer.status_code == 200
        token = reused["refresh_token"]
        for _ in range(2):
            body = (await service.refresh(reused["refresh_token"])).json()
            reused["refresh_token"] = body["refresh_token"]
        assert (await service.refresh(token)).status_code == 400
        await service.revoke_key(key.key_id)
        items = {item["id"]: item for item in await listed(who)}
        why = {id_: (item["live"], item["end_reason"]) for id_, item in items.items()}
        assert why == {
            ended["sid"]: (False, "ended"),
            revoked["sid"]: (False, "revoked"),
            reused["sid"]: (False, "reuse"),
            of_dead_key["sid"]: (False, "key_revoked"),
            goes_on["sid"]: (True, None),
        }
        assert all((item["ended_at"] is None) is item["live"] for item in items.values())
        assert [item["id"] for item in await listed(who, live="true")] == [goes_on["sid"]]
        assert len(await listed(who, live="false")) == 5

    @pytest.mark.parametrize(
        ("what", "reason"),
        [("unused", "expired"), ("idle", "key_idle"), ("disabled", "user_disabled")],
    )
    async def test_200_what_cannot_be_refreshed_is_not_live(
        self, admin: Person, service: Running, what: str, reason: str
    ) -> None:
        hours_ago = service.clock() - timedelta(hours=2)
        idle = {"created_at": hours_ago, "idle_timeout": 3600} if what == "idle" else {}
        key = await service.add_key(**idle, last_used_at=service.clock())
        body = await session(service, key=key)
        await service.service.usage.flush()
        if what == "unused":
            await put(service, sessions, body["sid"], rotated_at=hours_ago)
        elif what == "idle":
            await put(service, api_keys, key.key_id, last_used_at=hours_ago)
        else:
            await put(service, users, service.demo.user.id, disabled_at=hours_ago)
        params = {"user_id": service.demo.user.id}
        [item] = await listed(admin, "/sessions", **params)
        assert (item["live"], item["end_reason"]) == (False, reason)
        assert (item["ended_at"] is None) is (what == "idle")
        assert await listed(admin, "/sessions", **params, live="true") == []

    async def test_400_what_is_no_parameter(self, service: Running) -> None:
        who = await me(service, await session(service, refreshed=False))
        for params in ({"live": "perhaps"}, {"user_id": new_id()}, {"limit": 0}):
            answer = await who.get(OWN, params=params)
            assert (answer.status_code, fields(answer)) == (400, list(params))


class TestEndOwn:
    @pytest.mark.parametrize("refreshed", [False, True])
    async def test_204_the_present_one(self, service: Running, refreshed: bool) -> None:
        body = await session(service, refreshed=refreshed)
        other = await session(service)
        who = await me(service, body)
        assert (await who.delete(f"{OWN}/{body['sid']}")).status_code == 204
        assert await dead(service, body)
        assert not await dead(service, other)
        [event] = await audited(service, service.acme, "session.ended")
        assert (event["target"], event["actor"].session_id) == (body["sid"], body["sid"])

    async def test_204_another_of_ones_own_and_again(self, service: Running) -> None:
        other_key = await service.add_key()
        other = await session(service, key=other_key)
        who = await me(service, await session(service))
        for _ in range(2):
            assert (await who.delete(f"{OWN}/{other['sid']}")).status_code == 204
        assert await dead(service, other)
        assert len(await audited(service, service.acme, "session.ended")) == 1

    async def test_404_of_others_and_of_nobody(self, service: Running) -> None:
        body = await service.exchange_for(await service.add_user())
        body = (await service.refresh(body["refresh_token"])).json()
        theirs = claims(service, body["access_token"])["sid"]
        unlisted = (await session(service, refreshed=False))["sid"]
        who = await me(service, await session(service))
        for id_ in (theirs, unlisted, new_id(), "x"):
            assert (await who.delete(f"{OWN}/{id_}")).status_code == 404
        assert (await service.refresh(body["refresh_token"])).status_code == 200


class TestEndAllOwn:
    async def test_204_all_of_them_with_the_callers_token(self, service: Running) -> None:
        others = await service.exchange_for(await service.add_user())
        other_key = await service.add_key()
        bodies = [
            await session(service, refreshed=refreshed, key=key)
            for refreshed in (False, True)
            for key in (None, other_key)
        ]
        answer = await service.token(
            grant_type="client_credentials",
            client_id=other_key.key_id,
            client_secret=other_key.text,
        )
        lone = answer.json()["access_token"]
        assert (await (await me(service, bodies[0])).delete(OWN)).status_code == 204
        for body in bodies:
            assert await dead(service, body)
        assert (await service.get("/iam/users/me", lone)).status_code == 401
        assert (await service.introspect(bodies[0]["refresh_token"])).json() == {"active": False}
        # The keys stay good, and so is what they give now.
        body = await session(service)
        assert not await dead(service, body)
        reasons = {item["end_reason"] for item in await listed(await me(service, body))}
        assert reasons == {None, "superseded"}
        assert (await service.get("/iam/users/me", others["access_token"])).status_code == 200
        assert (await service.refresh(others["refresh_token"])).status_code == 200
        [event] = await audited(service, service.acme, "session.all_ended")
        assert event["target"] == service.demo.user.id


class TestList:
    async def test_200_of_a_user_and_of_a_key(self, admin: Person, service: Running) -> None:
        key = await service.add_key()
        one, two = await session(service), await session(service, key=key)
        user_id = service.demo.user.id
        of_user = await listed(admin, "/sessions", user_id=user_id)
        assert [item["id"] for item in of_user] == [two["sid"], one["sid"]]
        of_key = await listed(admin, "/sessions", api_key_id=key.key_id)
        assert of_key == [of_user[0]]
        assert of_key[0]["href"] == f"/iam/sessions/{two['sid']}"
        assert await listed(admin, "/sessions", user_id=user_id, live="true") == of_user

    async def test_200_of_somebody_at_home_below(
        self, root_admin: Person, service: Running
    ) -> None:
        body = await session(service)
        [item] = await listed(root_admin, "/sessions", user_id=service.demo.user.id)
        assert item["id"] == body["sid"]

    async def test_404_not_at_home_here_or_below(self, admin: Person, service: Running) -> None:
        above = service.demo.platform
        beside = await service.add_user(home=service.globex)
        key = await service.add_key(user_id=beside.id, home_tenant_id=service.globex)
        for params in (
            {"user_id": above.user.id},
            {"user_id": beside.id},
            {"user_id": new_id()},
            {"api_key_id": above.key.key_id},
            {"api_key_id": key.key_id},
            {"api_key_id": "nothing"},
        ):
            assert (await admin.get("/sessions", params=params)).status_code == 404

    async def test_400_one_of_the_two(self, admin: Person, service: Running) -> None:
        both = {"user_id": service.demo.user.id, "api_key_id": service.demo.key.key_id}
        for params in ({}, both):
            answer = await admin.get("/sessions", params=params)
            assert (answer.status_code, fields(answer)) == (400, ["user_id"])

    async def test_403_without_the_permission(self, service: Running) -> None:
        editor = await person(service, EDITOR, service.acme)
        answer = await editor.get("/sessions", params={"user_id": editor.user.id})
        assert answer.status_code == 403


class TestEnd:
    async def test_204_and_again(self, admin: Person, service: Running) -> None:
        body, other = await session(service), await session(service)
        for _ in range(2):
            assert (await admin.delete(f"/sessions/{body['sid']}")).status_code == 204
        assert await dead(service, body)
        assert not await dead(service, other)
        [event] = await audited(service, service.acme, "session.revoked")
        assert (event["target"], event["user_id"]) == (body["sid"], service.demo.user.id)

    async def test_204_below_is_audited_in_both_places(
        self, root_admin: Person, service: Running
    ) -> None:
        body = await session(service)
        assert (await root_admin.delete(f"/sessions/{body['sid']}")).status_code == 204
        assert await dead(service, body)
        for tenant in (service.acme, service.demo.platform.tenant.id):
            assert len(await audited(service, tenant, "session.revoked")) == 1

    async def test_404_not_at_home_here_or_below(self, admin: Person, service: Running) -> None:
        _, key = service.admin
        answer = await service.token(grant_type="password", username=service.admin[0], password=key)
        above = (await service.refresh(answer.json()["refresh_token"])).json()
        sid = claims(service, above["access_token"])["sid"]
        unlisted = await session(service, refreshed=False)
        for id_ in (sid, unlisted["sid"], new_id(), "x"):
            assert (await admin.delete(f"/sessions/{id_}")).status_code == 404
        assert not await dead(service, above)

    async def test_403_of_somebody_with_more(self, service: Running) -> None:
        role = await service.add_role(
            service.acme, "watch", "tokens:revoke", "sessions:read", "tenants:read"
        )
        watch = await person(service, role, service.acme)
        body = await session(service)
        assert (await watch.delete(f"/sessions/{body['sid']}")).status_code == 403
        assert not await dead(service, body)

    async def test_403_a_service_user_unless_the_policy_lets_it(
        self, root_admin: Person, service: Running
    ) -> None:
        body = await session(service)
        program = await person(service, TENANT_ADMIN, service.acme, kind=UserKind.SERVICE)
        path = f"/sessions/{body['sid']}"
        assert (await program.delete(path)).status_code == 403
        await policy(root_admin, service.acme, service_users_administer=True)
        assert (await program.delete(path)).status_code == 204
        assert await dead(service, body)

    async def test_403_without_the_permission(self, service: Running) -> None:
        viewer = await person(service, VIEWER, service.acme)
        assert (await viewer.delete(f"/sessions/{new_id()}")).status_code == 403


async def test_200_a_key_is_narrowed_and_its_user_sees_all(service: Running) -> None:
    """What is the caller's own is the user's, whatever the key may do elsewhere."""
    body = await session(service)
    narrow = await holder(service, service.api_key, tenant=service.acme, scope="assets:manage")
    assert [item["id"] for item in await listed(narrow)] == [body["sid"]]
