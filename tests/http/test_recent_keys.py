"""A node that goes on by what it read before, and what its tokens are worth then.

One node here never forgets and never looks again, far beyond what a service does: whatever
another one ends, the tokens that this one makes are dead on arrival.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from keyturn.server.domain.key_text import key_text
from keyturn.server.services import recent_keys
from keyturn.server.services.recent_keys import RecentKeys
from tests.http.conftest import Running

Start = Callable[..., Awaitable[Running]]


@pytest.fixture
async def stale(start: Start, monkeypatch: pytest.MonkeyPatch) -> Running:
    """It has read the demo's key, and will not read it again unless it has to."""
    with monkeypatch.context() as patched:
        patched.setattr(RecentKeys, "forget", lambda *_: None)
        node: Running = await start()
    monkeypatch.setattr(recent_keys, "GOOD_FOR", 3_600.0)
    await node.exchange()
    await node.exchange(tenant=node.acme)
    return node


@pytest.fixture
async def other(stale: Running, start: Start) -> Running:
    """Another node of the same installation."""
    return await start()


async def soon(holds: Callable[[], Awaitable[bool]]) -> bool:
    """Whether it comes true within a second, and some more for a machine that is busy."""
    for _ in range(150):
        if await holds():
            return True
        await asyncio.sleep(0.02)
    return False


async def _revoke_key(node: Running) -> None:
    await node.revoke_key(node.demo.key.key_id)


async def _change_user(node: Running) -> None:
    await node.reauthorise()


async def _disable_user(node: Running) -> None:
    await node.administer("POST", f"/service-users/{node.demo.user.id}/disable", node.acme)


async def _delete_user(node: Running) -> None:
    await node.administer("DELETE", f"/service-users/{node.demo.user.id}", node.acme)


async def _revoke_everything(node: Running) -> None:
    root = node.demo.platform.tenant.id
    await node.administer("POST", "/revocations", root, {"everything": True})


class TestWhatAnotherNodeEnded:
    @pytest.mark.parametrize(
        "end", [_revoke_key, _change_user, _disable_user, _delete_user, _revoke_everything]
    )
    async def test_is_dead_on_arrival(
        self, stale: Running, other: Running, end: Callable[[Running], Awaitable[None]]
    ) -> None:
        await end(other)
        made = [await stale.exchange(), await stale.exchange(tenant=stale.acme)]
        for body in made:
            answer = await other.get("/iam/users/me", body["access_token"])
            assert answer.status_code == 401
            assert (await other.introspect(body["access_token"])).json() == {"active": False}

    async def test_a_suspended_tenants_token_opens_nothing(
        self, stale: Running, other: Running
    ) -> None:
        await other.suspend(other.acme)
        body = await stale.exchange(tenant=stale.acme)
        assert (await other.get("/iam/users/me", body["access_token"])).status_code == 401
        body = await stale.exchange()
        answer = await other.get("/iam/tenants/current", body["access_token"], other.acme)
        assert answer.status_code == 403

    @pytest.mark.parametrize("end", [_revoke_key, _disable_user, _revoke_everything])
    async def test_no_refresh_of_it_gives_a_good_token(
        self, stale: Running, other: Running, end: Callable[[Running], Awaitable[None]]
    ) -> None:
        await end(other)
        body = await stale.exchange()
        answer = await other.refresh(body["refresh_token"])
        assert answer.status_code == 400, "the other node knows"
        answer = await stale.refresh(body["refresh_token"])
        if answer.status_code == 200:
            token = answer.json()["access_token"]
            assert (await other.get("/iam/users/me", token)).status_code == 401


class TestTheNodeItself:
    """It hears of what others end, like every node, though it goes on by its old records."""

    @pytest.mark.parametrize(
        "end", [_revoke_key, _change_user, _disable_user, _delete_user, _revoke_everything]
    )
    async def test_refuses_what_was_ended(
        self, stale: Running, other: Running, end: Callable[[Running], Awaitable[None]]
    ) -> None:
        token = (await stale.exchange())["access_token"]
        assert (await stale.get("/iam/users/me", token)).status_code == 200
        await end(other)

        async def refused() -> bool:
            answers = [
                await stale.get("/iam/users/me", token),
                await stale.get("/iam/tenants/current", token, stale.acme),
                await stale.get("/iam/auth/verify", token, stale.acme),
            ]
            return [answer.status_code for answer in answers] == [401, 401, 401]

        assert await soon(refused)
        assert (await stale.introspect(token)).json() == {"active": False}

    async def test_refuses_a_suspended_tenant(self, stale: Running, other: Running) -> None:
        token = (await stale.exchange())["access_token"]
        calls = ("/iam/tenants/current", "/iam/auth/verify")
        for path in calls:
            assert (await stale.get(path, token, stale.acme)).status_code == 200
        me = (await stale.get("/iam/users/me", token)).json()
        assert stale.acme in {item["tenant_id"] for item in me["roles"]}
        await other.suspend(other.acme)

        async def refused() -> bool:
            answers = [await stale.get(path, token, stale.acme) for path in calls]
            return [answer.status_code for answer in answers] == [403, 403]

        assert await soon(refused)
        me = (await stale.get("/iam/users/me", token)).json()
        assert stale.acme not in {item["tenant_id"] for item in me["roles"]}
        assert stale.acme not in (await stale.introspect(token)).json()["tenants"]


class TestWhatAnotherNodeGave:
    async def test_is_not_refused(self, stale: Running, other: Running) -> None:
        tenant = await other.add_tenant("later")
        answer = await stale.token(
            headers={"x-tenant-id": tenant.id},
            grant_type="password",
            username=stale.username,
            password=stale.api_key,
        )
        assert answer.status_code == 403
        role = await other.add_role(tenant.id, "reader", "tenants:read")
        await other.give(other.demo.user.id, tenant.id, role.id)
        body = await stale.exchange(tenant=tenant.id)
        answer = await stale.get("/iam/tenants/current", body["access_token"], tenant.id)
        assert answer.status_code == 200

    async def test_a_new_secret_is_good_at_once(self, stale: Running, other: Running) -> None:
        key = stale.demo.key.key_id
        rotated: dict[str, Any] = (
            await other.administer("POST", f"/api-keys/{key}/rotate", other.acme, {})
        ).json()
        answer = await stale.token(
            grant_type="password", username=stale.username, password=rotated["secret"]
        )
        assert answer.status_code == 200, answer.text

    async def test_a_wrong_secret_is_refused_as_ever(self, stale: Running) -> None:
        wrong = (await stale.add_key()).text.split("_")
        ours = stale.api_key.split("_")
        invented = key_text(ours[1], wrong[2])
        answer = await stale.token(
            grant_type="password",
            username=stale.username,
            password=invented,
        )
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")


class TestItsOwnChanges:
    async def test_are_known_at_once(self, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(recent_keys, "GOOD_FOR", 3_600.0)
        node = await start()
        await node.exchange()
        tenant = await node.add_tenant("later")
        role = await node.add_role(tenant.id, "reader", "tenants:read")
        await node.give(node.demo.user.id, tenant.id, role.id)
        body = await node.exchange()
        answer = await node.get("/iam/users/me", body["access_token"])
        assert tenant.id in {item["tenant_id"] for item in answer.json()["roles"]}
