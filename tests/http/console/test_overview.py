"""A tenant at a glance, and its trail."""

from __future__ import annotations

from keyturn.server.domain.permissions import VIEWER
from tests.http.console.conftest import Console, Enter


class TestOverview:
    async def test_shows_what_goes_on(self, console: Console) -> None:
        text = await console.page("")
        assert "Refusals and revocations" in text
        for period in ("day", "week", "month", "year", "nonsense"):
            assert "<svg" in await console.page(f"?period={period}")

    async def test_shows_no_more_than_one_may_see(self, enter: Enter) -> None:
        viewer = await enter(VIEWER)
        text = await viewer.page("")
        assert "Refusals" not in text
        assert (await viewer.get("/audit")).status_code == 403


class TestAudit:
    async def test_shows_and_filters(self, console: Console) -> None:
        await console.done("/service-users/new", {"name": "robot", "role_id": VIEWER.id})
        text = await console.page("/audit")
        assert "service_user.created" in text
        assert "service_user.created" not in await console.page("/audit?action=nothing")
        assert "This is no date and time." in await console.page("/audit?since=yesterday")
        answer = await console.get("/audit/export?action=service_user.created")
        assert answer.headers["content-disposition"].startswith("attachment")
        assert answer.json()["action"] == "service_user.created"


class TestKeysAtAGlance:
    async def test_those_that_end_soon_lead_to_all_of_them(self, console: Console) -> None:
        new = {"name": "robot", "role_id": VIEWER.id}
        user = (await console.rest.post("/service-users", new)).json()
        for number in range(7):
            key = {"user_id": user["id"], "name": f"soon {number}", "expires_in": 86_400}
            await console.rest.post("/api-keys", key)
        await console.rest.post("/api-keys", {"user_id": user["id"], "name": "for ever"})
        text = await console.page("")
        assert text.count(">soon ") == 5
        assert "for ever" not in text
        link = "/api-keys?state=active&amp;expires=30"
        assert link in text
        listed = await console.page(link.replace("&amp;", "&"))
        assert listed.count(">soon ") == 7
        assert "for ever" not in listed
