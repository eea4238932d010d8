"""Nothing is offered that could not work: a page says what has ended instead of asking."""

from __future__ import annotations

import asyncio
from typing import Any

from keyturn.server.domain.permissions import VIEWER
from tests.http.console.conftest import Console
from tests.http.management.keys import add_endpoint, made

MINE = "/console/account/api-keys"


async def robot(console: Console) -> dict[str, Any]:
    new = {"name": "robot", "role_id": VIEWER.id}
    user: dict[str, Any] = (await console.rest.post("/service-users", new)).json()
    return user


async def says(console: Console, path: str, title: str) -> None:
    """The page says that there is nothing to do, to who opens it and to who sends it too late."""
    shown = await console.get(path)
    assert shown.status_code == 409, shown.text
    assert title in shown.text
    assert shown.text.count("<form") == 1, "only the one that signs out"


async def expired(console: Console, at: str) -> None:
    """Until a key has: by the database's clock, which no test moves."""
    async with asyncio.timeout(20):
        while True:
            if (await console.rest.get(at)).json()["state"] == "expired":
                return
            await asyncio.sleep(0.05)


class TestKeys:
    async def test_that_were_revoked_have_no_forms(self, console: Console) -> None:
        key = await made(console.rest, user_id=(await robot(console))["id"], name="nightly")
        at = f"/api-keys/{key['id']}"
        stale = await console.get(f"{at}/edit")
        assert stale.status_code == 200
        await console.rest.post(f"{at}/revoke")
        for form in ("edit", "rotate", "revoke"):
            await says(console, f"{at}/{form}", "The API key nightly has ended")
            assert f"{at}/{form}" not in await console.page(at)

    async def test_that_end_while_the_form_is_open_say_so(self, console: Console) -> None:
        key = await made(console.rest, user_id=(await robot(console))["id"], name="nightly")
        at = f"/api-keys/{key['id']}"
        await console.rest.post(f"{at}/revoke")
        answer = await console.post(f"{at}/rotate", {"overlap_seconds": "0"}, form="/api-keys")
        assert answer.status_code == 409
        assert "The API key nightly has ended" in answer.text

    async def test_that_expired_are_revoked_at_most(self, console: Console) -> None:
        user = await robot(console)
        key = await made(console.rest, user_id=user["id"], name="short", expires_in=1)
        at = f"/api-keys/{key['id']}"
        await expired(console, at)
        page = await console.page(at)
        assert f"{at}/edit" not in page
        assert f"{at}/revoke" in page
        await says(console, f"{at}/edit", "Its expiry has passed.")
        assert (await console.get(f"{at}/revoke")).status_code == 200

    async def test_of_ones_own_that_ended_have_no_forms(self, console: Console) -> None:
        key = (await console.rest.post("/users/me/api-keys", {"name": "mine"})).json()
        await console.rest.post(f"/users/me/api-keys/{key['id']}/revoke")
        for form in ("rename", "rotate", "revoke"):
            await says(console, f"{MINE}/{key['id']}/{form}", "The API key mine has ended")

    async def test_of_persons_are_not_changed_by_others(self, console: Console) -> None:
        [key] = [
            key
            for key in (await console.rest.get("/api-keys")).json()["items"]
            if key["user_id"] == console.user.id
        ]
        await says(console, f"/api-keys/{key['id']}/rotate", "is a person")

    async def test_of_a_disabled_user_are_made_with_a_warning(self, console: Console) -> None:
        user = await robot(console)
        form = f"/api-keys/new?user_id={user['id']}"
        assert "is disabled" not in await console.page(form)
        await console.rest.post(f"/service-users/{user['id']}/disable")
        assert "robot is disabled: the key works once it is enabled" in await console.page(form)
        await says(console, f"/service-users/{user['id']}/disable", "robot is disabled")


class TestOthers:
    async def test_an_invitation_is_withdrawn_once(self, console: Console) -> None:
        new = {"email": "ada@example.com", "role_id": VIEWER.id}
        offer = (await console.rest.post("/invitations", new)).json()
        at = f"/invitations/{offer['id']}"
        assert (await console.get(f"{at}/withdraw")).status_code == 200
        await console.rest.delete(at)
        await says(console, f"{at}/withdraw", "The invitation of ada@example.com is withdrawn")

    async def test_ones_own_invitation_is_answered_once(self, console: Console) -> None:
        at = f"/console/account/invitations/{console.tenant}"
        for form in ("accept", "decline"):
            await says(console, f"{at}/{form}", "can&#39;t be answered any more")

    async def test_roles_and_endpoints_of_others_are_not_edited(self, console: Console) -> None:
        await says(console, f"/roles/{VIEWER.id}/edit", f"{VIEWER.name} is built in")
        await says(console, f"/roles/{VIEWER.id}/delete", f"{VIEWER.name} is built in")
        root = console.service.demo.platform.tenant.id
        endpoint = await add_endpoint(console.service, root, "GET", "/a", "users:read")
        for form in ("edit", "delete"):
            await says(console, f"/endpoints/{endpoint.id}/{form}", "GET /a is of a tenant above")

    async def test_ones_own_tenant_is_not_ended_from_inside(self, console: Console) -> None:
        at = f"/tenants/{console.tenant}"
        for form in ("suspend", "delete"):
            await says(console, f"{at}/{form}", "from the tenant above it")

    async def test_a_suspended_tenant_is_not_suspended_again(self, console: Console) -> None:
        below = (await console.rest.post("/tenants", {"name": "below"})).json()
        await console.rest.post(f"/tenants/{below['id']}/suspend")
        await says(console, f"/tenants/{below['id']}/suspend", "below is suspended")
