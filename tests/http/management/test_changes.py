"""Changes wait for one another; who lost its right while it waited is refused."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from keyturn.server.domain.permissions import TENANT_ADMIN, VIEWER
from tests.http.conftest import Running
from tests.http.management.conftest import Person


class TestWaitedForItsTurn:
    @pytest.mark.parametrize("lost", ["key", "epoch", "user"])
    async def test_refused_what_it_was_admitted_for_is_gone(
        self, service: Running, admin: Person, lost: str
    ) -> None:
        key_id = (await admin.get("/users/me")).json()["api_key_id"]
        async with service.service.parts.store.transaction() as tx:
            await tx.tenants.lock(service.acme)
            waiting = asyncio.create_task(
                admin.post("/service-users", {"name": "back door", "role_id": TENANT_ADMIN.id})
            )
            await asyncio.sleep(0.3)
            now = datetime.now(UTC)
            if lost == "key":
                await tx.api_keys.revoke(key_id, now, "revoked")
            elif lost == "epoch":
                await tx.users.raise_epochs([admin.user.id])
            else:
                await tx.users.set_disabled(admin.user.id, now)
        assert (await waiting).status_code == 401

    async def test_201_nothing_was_lost(self, service: Running, admin: Person) -> None:
        async with service.service.parts.store.transaction() as tx:
            await tx.tenants.lock(service.acme)
            waiting = asyncio.create_task(
                admin.post("/service-users", {"name": "export", "role_id": VIEWER.id})
            )
            await asyncio.sleep(0.1)
        assert (await waiting).status_code == 201


class TestTrail:
    async def test_an_id_has_one_form(self, service: Running, admin: Person) -> None:
        path = f"/tenants/{service.acme.upper()}"
        assert (await admin.patch(path, {"name": "acme two"})).status_code == 200
        found = await admin.get("/audit-events", params={"target": service.acme.upper()})
        assert [i["action"] for i in found.json()["items"]][:1] == ["tenant.renamed"]

    async def test_what_is_done_from_above_stands_there_too(
        self, service: Running, root_admin: Person
    ) -> None:
        await root_admin.post(f"/tenants/{service.acme}/suspend")
        events = (await root_admin.get("/audit-events")).json()["items"]
        assert (events[0]["action"], events[0]["target"]) == ("tenant.suspended", service.acme)
        await root_admin.post(f"/tenants/{service.acme}/resume")
        root_admin.token = (await service.exchange_for(root_admin.user))["access_token"]
        there = Person(service, root_admin.user, root_admin.token, service.acme)
        events = (await there.get("/audit-events")).json()["items"]
        assert [e["action"] for e in events[:2]] == ["tenant.resumed", "tenant.suspended"]
