"""`/audit-events`: every change, with before and after."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from keyturn.server.domain.permissions import AUDITOR, VIEWER
from keyturn.server.services.management import audit
from tests.http.conftest import Running
from tests.http.management.conftest import Person, person


async def rename_twice(admin: Person) -> str:
    made = (await admin.post("/tenants", {"name": "one"})).json()["id"]
    admin.token = (await admin.service.exchange_for(admin.user))["access_token"]
    for name in ("two", "three"):
        await admin.patch(f"/tenants/{made}", {"name": name})
    return str(made)


class TestListAuditEvents:
    async def test_200_before_and_after_newest_first(self, service: Running, admin: Person) -> None:
        made = await rename_twice(admin)
        inside = Person(service, admin.user, admin.token, made)
        items = (await inside.get("/audit-events")).json()["items"]
        assert [item["action"] for item in items] == [
            "tenant.renamed",
            "tenant.renamed",
            "tenant.created",
        ]
        assert items[0]["data"] == {"before": {"name": "two"}, "after": {"name": "three"}}
        assert items[0]["actor"]["user_id"] == admin.user.id
        assert items[0]["actor"]["address"]
        assert items[0]["target"] == items[0]["tenant_id"] == made

    async def test_200_filters_and_pages(self, service: Running, admin: Person) -> None:
        made = await rename_twice(admin)
        inside = Person(service, admin.user, admin.token, made)
        whole = (await inside.get("/audit-events")).json()["items"]
        seen: list[str] = []
        params = {"limit": "1"}
        while True:
            page = (await inside.get("/audit-events", params=params)).json()
            seen += [item["id"] for item in page["items"]]
            if page["next_cursor"] is None:
                break
            params["cursor"] = page["next_cursor"]
        assert seen == [item["id"] for item in whole]

        async def found(**params: str) -> list[str]:
            answer = await inside.get("/audit-events", params=params)
            return [item["id"] for item in answer.json()["items"]]

        assert await found(action="tenant.created") == seen[2:]
        assert await found(actor=admin.user.id) == seen
        assert await found(actor=made) == []
        assert await found(target=made, action="tenant.renamed") == seen[:2]
        assert await found(since=whole[1]["at"]) == seen[:2]
        assert await found(until=whole[1]["at"]) == seen[2:]
        later = (service.clock() + timedelta(hours=1)).isoformat()
        assert await found(since=later) == []

    @pytest.mark.parametrize(
        "query",
        [
            "since=yesterday",
            "since=2026-01-01T00:00:00",
            "since=1",
            "since=2026-01-02T00:00:00Z&until=2026-01-01T00:00:00Z",
            "since=9999-12-31T23:59:59-12:00",
            "until=0001-01-01T00:00:00%2B14:00",
            "actor=x",
            "action=",
            "cursor=WyJ4Il0",
            "limit=201",
        ],
    )
    async def test_400(self, admin: Person, query: str) -> None:
        assert (await admin.get(f"/audit-events?{query}")).status_code == 400

    async def test_403_and_200_by_role(self, service: Running) -> None:
        viewer = await person(service, VIEWER, service.acme)
        assert (await viewer.get("/audit-events")).status_code == 403
        auditor = await person(service, AUDITOR, service.acme)
        assert (await auditor.get("/audit-events")).status_code == 200

    async def test_200_nothing_of_other_tenants(self, service: Running, admin: Person) -> None:
        other = await person(service, AUDITOR, service.globex)
        await rename_twice(admin)
        items = (await other.get("/audit-events")).json()["items"]
        assert {item["tenant_id"] for item in items} == {service.globex}


class TestExportAuditEvents:
    async def test_200_json_lines(
        self, service: Running, admin: Person, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(audit, "_BATCH", 10)
        made = await rename_twice(admin)
        for number in range(23):
            await admin.patch(f"/tenants/{made}", {"name": f"n{number}"})
        inside = Person(service, admin.user, admin.token, made)
        answer = await inside.get("/audit-events/export", params={"action": "tenant.renamed"})
        assert answer.headers["content-type"] == "application/x-ndjson"
        events = [json.loads(line) for line in answer.text.splitlines()]
        assert len(events) == 25
        assert events == sorted(events, key=lambda event: event["at"], reverse=True)

    async def test_200_nothing(self, admin: Person) -> None:
        answer = await admin.get("/audit-events/export", params={"action": "none.such"})
        assert (answer.status_code, answer.text) == (200, "")
