"""New secrets for old: how long both work, and whose key may get one."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from keyturn.server.domain.permissions import EDITOR, TENANT_ADMIN, VIEWER
from tests.http.conftest import Running
from tests.http.management.conftest import Person, person
from tests.http.management.keys import audited, exchange, fields, holder, made

DAY = 86_400
OWN = "/users/me/api-keys"


async def rotated(who: Person, key: dict[str, Any], path: str = "/api-keys", **how: Any) -> str:
    answer = await who.post(f"{path}/{key['id']}/rotate", how)
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert (body["id"], body["state"]) == (key["id"], "active")
    secret: str = body["secret"]
    assert secret != key["secret"]
    return secret


async def works(service: Running, secret: str) -> bool:
    return (await exchange(service, secret)).status_code == 200


class TestRotate:
    async def test_200_the_old_secret_dies_at_once(self, admin: Person, service: Running) -> None:
        key = await made(admin)
        secret = await rotated(admin, key)
        assert await works(service, secret)
        assert not await works(service, key["secret"])
        told = (await admin.get(f"/api-keys/{key['id']}")).json()
        assert told["old_secret_until"] == told["rotated_at"] is not None

    async def test_200_the_old_secret_works_until_its_deadline(
        self, admin: Person, service: Running
    ) -> None:
        key = await made(admin)
        secret = await rotated(admin, key, overlap_seconds=DAY)
        for _ in range(2):
            assert await works(service, secret)
            assert await works(service, key["secret"])
            await service.service.usage.flush()
        service.clock.shift = timedelta(seconds=DAY + 5)
        assert not await works(service, key["secret"])
        assert await works(service, secret)
        [refused] = await audited(service, service.acme, "token.refused")
        assert refused["why"] == "rotated secret"

    @pytest.mark.parametrize("how", ["exchange", "introspect", "client_credentials", "refresh"])
    async def test_200_the_old_secret_works_until_the_new_ones_first_use(
        self, admin: Person, service: Running, how: str
    ) -> None:
        key = await made(admin)
        before = (await exchange(service, key["secret"])).json()
        secret = await rotated(admin, key, ends_on_first_use=True)
        assert await works(service, key["secret"])
        await service.service.usage.flush()
        assert await works(service, key["secret"])
        if how == "exchange":
            assert await works(service, secret)
        elif how == "introspect":
            await service.introspect("x", auth=(service.username, secret))
        elif how == "client_credentials":
            auth = {"client_id": key["id"], "client_secret": secret}
            answer = await service.token(grant_type="client_credentials", **auth)
            assert answer.status_code == 200
        else:
            auth = {"client_id": key["id"], "client_secret": secret}
            assert (await service.refresh(before["refresh_token"], **auth)).status_code == 200
        # Within the second until it is written, the old one may still work.
        await service.service.usage.flush()
        assert not await works(service, key["secret"])
        assert await works(service, secret)

    async def test_200_at_the_latest_when_the_overlap_is_over(
        self, admin: Person, service: Running
    ) -> None:
        key = await made(admin)
        await rotated(admin, key, ends_on_first_use=True)
        service.clock.shift = timedelta(days=30, seconds=5)
        assert not await works(service, key["secret"])

    async def test_409_an_old_secret_keeps_its_promised_time(
        self, admin: Person, service: Running
    ) -> None:
        key = await made(admin)
        path = f"/api-keys/{key['id']}/rotate"
        second = await rotated(admin, key, overlap_seconds=DAY)
        for how in ({"overlap_seconds": DAY}, {"ends_on_first_use": True}):
            answer = await admin.post(path, how)
            assert (answer.status_code, fields(answer)) == (409, ["overlap_seconds"])
        assert await works(service, key["secret"])
        assert await works(service, second)
        # In an emergency all but the new one end.
        third = await rotated(admin, key)
        assert [await works(service, s) for s in (key["secret"], second, third)] == [
            False,
            False,
            True,
        ]
        # Then there is none that was promised anything.
        fourth = await rotated(admin, key, ends_on_first_use=True)
        assert (await admin.post(path, {"overlap_seconds": 5})).status_code == 409
        assert await works(service, fourth)
        await service.service.usage.flush()
        await rotated(admin, key, overlap_seconds=5)

    @pytest.mark.parametrize("own", [False, True])
    async def test_200_repeated_it_is_rotated_once(
        self, admin: Person, service: Running, own: bool
    ) -> None:
        key = await made(admin)
        who, path = admin, f"/api-keys/{key['id']}/rotate"
        if own:
            who, path = await holder(service, key["secret"]), f"/users/me{path}"
        headers, how = {"Idempotency-Key": "r"}, {"end_sessions": False}
        first = await who.post(path, how, headers=headers)
        again = await who.post(path, how, headers=headers)
        assert (again.status_code, again.json()) == (200, first.json())
        assert again.headers["idempotency-replayed"] == "true"
        assert await works(service, first.json()["secret"])
        other = await who.post(path, {"overlap_seconds": 5}, headers=headers)
        assert other.status_code == 422

    async def test_403_repeated_with_a_token_that_carries_less(self, service: Running) -> None:
        path, headers = f"{OWN}/{service.demo.key.key_id}/rotate", {"Idempotency-Key": "r"}
        wide = await holder(service, service.api_key)
        narrow = await holder(service, service.api_key, scope="assets:manage")
        how = {"end_sessions": False}
        assert (await wide.post(path, how, headers=headers)).status_code == 200
        assert (await narrow.post(path, how, headers=headers)).status_code == 403

    @pytest.mark.parametrize("own", [False, True])
    async def test_412_rotated_since_it_was_read(
        self, admin: Person, service: Running, own: bool
    ) -> None:
        key = await made(admin)
        who, path = admin, f"/api-keys/{key['id']}"
        if own:
            who, path = await holder(service, key["secret"]), f"/users/me{path}"
        seen = {"If-Match": (await who.get(path)).headers["etag"]}
        how = {"end_sessions": False}
        first = await who.post(f"{path}/rotate", how, headers=seen)
        assert first.status_code == 200
        assert (await who.post(f"{path}/rotate", how, headers=seen)).status_code == 412
        assert await works(service, first.json()["secret"])

    async def test_200_sessions_go_on_and_uses_of_the_old_secret_change_nothing(
        self, admin: Person, service: Running
    ) -> None:
        key = await made(admin)
        body = (await exchange(service, key["secret"])).json()
        secret = await rotated(admin, key, overlap_seconds=DAY)
        assert await works(service, key["secret"])
        await service.service.usage.flush()
        assert await works(service, secret)
        assert (await service.refresh(body["refresh_token"])).status_code == 200

    @pytest.mark.parametrize(
        ("how", "ends"),
        [
            ({}, True),
            ({"end_sessions": None}, True),
            ({"end_sessions": False}, False),
            ({"overlap_seconds": DAY}, False),
            ({"ends_on_first_use": True}, False),
            ({"overlap_seconds": DAY, "end_sessions": True}, True),
        ],
        ids=str,
    )
    @pytest.mark.parametrize("refreshed", [False, True], ids=["fresh", "refreshed"])
    async def test_200_sessions_end_when_the_secret_does_or_as_is_said(
        self, admin: Person, service: Running, how: dict[str, Any], ends: bool, refreshed: bool
    ) -> None:
        key = await made(admin)
        body = (await exchange(service, key["secret"])).json()
        other = await service.exchange()
        if refreshed:
            body = (await service.refresh(body["refresh_token"])).json()
        secret = await rotated(admin, key, **how)
        me = await service.get("/iam/users/me", body["access_token"])
        assert me.status_code == (401 if ends else 200)
        answer = await service.refresh(body["refresh_token"])
        assert answer.status_code == (400 if ends else 200)
        assert answer.json().get("error") == ("invalid_grant" if ends else None)
        # What the user's other keys began goes on, and so does the new secret.
        assert (await service.refresh(other["refresh_token"])).status_code == 200
        body = (await exchange(service, secret)).json()
        assert (await service.get("/iam/users/me", body["access_token"])).status_code == 200
        assert (await service.refresh(body["refresh_token"])).status_code == 200
        [event] = await audited(service, service.acme, "api_key.rotated")
        assert event["sessions_ended"] is ends

    async def test_200_audited_without_secrets(self, admin: Person, service: Running) -> None:
        key = await made(admin)
        secret = await rotated(admin, key, overlap_seconds=5)
        [event] = await audited(service, service.acme, "api_key.rotated")
        assert event["target"] == key["id"]
        assert secret not in str(event)

    @pytest.mark.parametrize(
        ("how", "field"),
        [
            ({"overlap_seconds": -1}, "overlap_seconds"),
            ({"overlap_seconds": 30 * DAY + 1}, "overlap_seconds"),
            ({"overlap_seconds": "5"}, "overlap_seconds"),
            ({"expires_at": "2049-01-01T00:00:00Z"}, "expires_at"),
            ({"secret": "mine"}, "secret"),
            ({"end_sessions": "yes"}, "end_sessions"),
        ],
    )
    async def test_400_n2_neither_secret_nor_expiry_can_be_chosen(
        self, admin: Person, how: dict[str, Any], field: str
    ) -> None:
        key = await made(admin)
        answer = await admin.post(f"/api-keys/{key['id']}/rotate", how)
        assert (answer.status_code, fields(answer)) == (400, [field])

    async def test_403_a_key_that_gives_more_than_the_caller_has(self, service: Running) -> None:
        editor = await person(service, EDITOR, service.acme)
        answer = await editor.post(f"/api-keys/{service.demo.key.key_id}/rotate", {})
        assert answer.status_code == 403
        assert await works(service, service.api_key)

    async def test_403_a_humans_key(self, admin: Person, service: Running) -> None:
        human = await person(service, VIEWER, service.acme)
        [key] = (await human.get(OWN)).json()["items"]
        assert (await admin.post(f"/api-keys/{key['id']}/rotate", {})).status_code == 403

    async def test_409_dead_keys(self, admin: Person, service: Running) -> None:
        past = service.clock() - timedelta(days=2)
        for dead in (
            await service.add_key(expires_at=past),
            await service.add_key(revoked_at=past, revoked_reason="revoked"),
            await service.add_key(created_at=past, idle_timeout=DAY),
        ):
            answer = await admin.post(f"/api-keys/{dead.key_id}/rotate", {})
            assert answer.status_code == 409


class TestRotateOwn:
    async def test_200(self, service: Running) -> None:
        me = await holder(service, service.api_key)
        key = {"id": service.demo.key.key_id, "secret": service.api_key}
        secret = await rotated(me, key, OWN, overlap_seconds=DAY)
        assert await works(service, secret)

    async def test_200_with_what_was_given_out_goes_the_callers_own_token(
        self, service: Running
    ) -> None:
        me = await holder(service, service.api_key)
        key = {"id": service.demo.key.key_id, "secret": service.api_key}
        await rotated(me, key, OWN)
        assert (await me.get(OWN)).status_code == 401

    async def test_403_a_key_that_gives_more_than_the_token(
        self, admin: Person, service: Running
    ) -> None:
        narrow = await made(admin, networks=["127.0.0.0/8"])
        wide = service.demo.key.key_id
        for token in (
            await holder(service, narrow["secret"]),
            await holder(service, service.api_key, tenant=service.acme),
            await holder(service, service.api_key, scope="assets:manage"),
        ):
            answer = await token.post(f"{OWN}/{wide}/rotate", {})
            assert answer.status_code == 403
        assert await works(service, service.api_key)
        # Its own secret, it may change.
        me = await holder(service, narrow["secret"])
        await rotated(me, narrow, OWN)

    async def test_404_keys_of_others(self, admin: Person, service: Running) -> None:
        answer = await admin.post(f"{OWN}/{service.demo.key.key_id}/rotate", {})
        assert answer.status_code == 404

    async def test_403_by_the_administrators_way(self, service: Running) -> None:
        """It would not ask whether the token is as wide as the key."""
        me = await person(service, TENANT_ADMIN, service.acme)
        [key] = (await me.get(OWN)).json()["items"]
        assert (await me.post(f"/api-keys/{key['id']}/rotate", {})).status_code == 403
