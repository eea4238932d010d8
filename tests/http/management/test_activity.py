"""`/activity`: the trail in numbers, for charts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from keyturn.server.domain.permissions import AUDITOR, VIEWER
from tests.http.conftest import Running
from tests.http.management.conftest import Person, person


class TestGetActivity:
    async def test_200_of_the_last_day_up_to_now(self, service: Running, admin: Person) -> None:
        await service.service.usage.flush()
        before = (await admin.get("/activity")).json()["totals"]
        body = await service.exchange(tenant=service.acme)
        assert (await service.refresh(body["refresh_token"])).status_code == 200
        wrong = await service.add_key(expires_at=datetime.now(UTC) - timedelta(hours=1))
        refused = await service.token(
            grant_type="password", username=service.username, password=wrong.text
        )
        assert refused.status_code == 400
        await service.service.usage.flush()
        await admin.post("/roles", {"name": "x", "permissions": []})
        found = (await admin.get("/activity")).json()
        assert found["step"] == "hour"
        assert len(found["items"]) == 24
        assert found["items"][0]["at"] == found["from"]
        more = {kind: count - before[kind] for kind, count in found["totals"].items()}
        assert more == {
            "exchanges": 1,
            "refreshes": 1,
            "refusals": 1,
            "revocations": 0,
            "changes": 1,
        }
        for kind, total in found["totals"].items():
            assert sum(item[kind] for item in found["items"]) == total

    async def test_200_days_between_two_times(self, admin: Person) -> None:
        params = {"from": "2026-03-01T12:00:00Z", "to": "2026-03-04T00:00:00Z", "step": "day"}
        found = (await admin.get("/activity", params=params)).json()
        assert (found["from"], found["to"]) == (
            "2026-03-01T00:00:00+00:00",
            "2026-03-04T00:00:00+00:00",
        )
        assert [item["at"][:10] for item in found["items"]] == [
            "2026-03-01",
            "2026-03-02",
            "2026-03-03",
        ]

    async def test_200_nothing_of_other_tenants(self, service: Running, admin: Person) -> None:
        other = await person(service, AUDITOR, service.globex)
        before = (await other.get("/activity")).json()["totals"]["changes"]
        await admin.post("/roles", {"name": "x", "permissions": []})
        assert (await other.get("/activity")).json()["totals"]["changes"] == before

    @pytest.mark.parametrize(
        "query",
        [
            "step=minute",
            "from=yesterday",
            "from=2026-01-02T00:00:00Z&to=2026-01-02T00:00:00Z",
            "from=2026-01-01T00:00:00Z&to=2026-02-01T00:00:00Z",
            "from=2024-01-01T00:00:00Z&to=2026-02-01T00:00:00Z&step=day",
            "from=9999-12-31T00:00:00Z&to=9999-12-31T23:59:59Z",
            "to=0001-01-01T00:00:00Z",
            "since=2026-01-02T00:00:00Z",
        ],
    )
    async def test_400(self, admin: Person, query: str) -> None:
        assert (await admin.get(f"/activity?{query}")).status_code == 400

    async def test_403_and_200_by_role(self, service: Running) -> None:
        viewer = await person(service, VIEWER, service.acme)
        assert (await viewer.get("/activity")).status_code == 403
        auditor = await person(service, AUDITOR, service.acme)
        assert (await auditor.get("/activity")).status_code == 200
