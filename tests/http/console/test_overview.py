"""A tenant at a glance, and its trail."""

from __future__ import annotations

import re
from pathlib import Path

import keyturn.server
from keyturn.server.console.nouns.audit_names import ACTIONS
from keyturn.server.domain.activity import COUNTED
from keyturn.server.domain.events import AUDITED
from keyturn.server.domain.permissions import VIEWER
from tests.http.conftest import Running
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
        row = '<th scope="row">service_user.created'
        assert row in text
        assert row not in await console.page("/audit?action=nothing")
        assert "This is no date and time." in await console.page("/audit?since=yesterday")
        answer = await console.get("/audit/export?action=service_user.created")
        assert answer.headers["content-disposition"].startswith("attachment")
        assert answer.json()["action"] == "service_user.created"

    async def test_takes_names_of_people(self, console: Console) -> None:
        new = {"name": "Weekly robot", "role_id": VIEWER.id}
        user = (await console.rest.post("/service-users", new)).json()
        other = (await console.rest.post("/service-users", {**new, "name": "Robot two"})).json()
        by_name = await console.page("/audit?target=weekly+robot&action=service_user.created")
        assert ">Weekly robot</a>" in by_name, by_name
        assert other["id"] not in by_name
        mine = await console.page(f"/audit?actor={console.user.username}")
        assert "service_user.created" in mine
        nobody = await console.page(f"/audit?actor={user['email']}")
        assert "Nothing happened here that these filters take." in nobody
        several = await console.page("/audit?actor=robot")
        assert "2 users here have that in name or address" in several
        unknown = await console.page("/audit?actor=zebedee")
        assert 'id="e-actor">Nobody here has that in name or address.' in unknown
        assert "Nothing happened here" in await console.page("/audit?target=assets:read")

    async def test_calls_who_is_not_here_no_bare_id(self, console: Console) -> None:
        service = console.service
        new = {"name": "from above", "role_id": VIEWER.id}
        made = await service.administer("POST", "/service-users", console.tenant, json=new)
        assert made.status_code == 201, made.text
        page = await console.page("/audit?action=service_user.created")
        assert "administrator of a tenant above, or somebody who is gone</a>" in page

    async def test_calls_who_looks_by_name_from_above_too(
        self, service: Running, enter: Enter
    ) -> None:
        above = await enter(tenant=service.demo.platform.tenant.id)
        above.tenant = service.acme
        new = {"name": "from above", "role_id": VIEWER.id}
        await above.done("/service-users/new", new)
        page = await above.page("/audit?action=service_user.created")
        assert f">{above.user.username}</a>" in page
        mine = await above.page(f"/audit?actor={above.user.username}&action=service_user.created")
        assert "Nothing happened" not in mine

    def test_knows_the_actions_that_are_written(self) -> None:
        written = re.compile(r'(?:note|AuditEvent)\(\s*"([a-z_]+\.[a-z_]+)"')
        services = Path(keyturn.server.__file__).parent / "services"
        texts = [path.read_text(encoding="utf-8") for path in services.rglob("*.py")]
        found = {action for text in texts for action in written.findall(text)}
        assert len(found) > 40
        assert found <= set(ACTIONS)
        assert set(AUDITED) | set(COUNTED) <= set(ACTIONS)
        assert len(set(ACTIONS)) == len(ACTIONS)


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
