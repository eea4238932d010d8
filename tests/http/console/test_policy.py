"""A tenant's policy at the console: what it settles, what holds, and whose rule that is."""

from __future__ import annotations

import re

import pytest

from keyturn.server.domain.permissions import VIEWER
from tests.http.console.conftest import Console, Enter


def told(page: str, rule: str) -> list[str]:
    """What the page's row says of a rule: in effect, settled by, its own value."""
    row = page.partition(f'<th scope="row">{rule}')[2].partition("</tr>")[0]
    return [re.sub("<[^>]+>", "", cell) for cell in re.findall(r"<td[^>]*>(.*)</td>", row)]


class TestPolicy:
    async def test_tells_whose_rule_holds(self, console: Console, enter: Enter) -> None:
        platform = console.service.demo.platform.tenant
        above = {"max_api_key_lifetime": 86_400, "offboarding": "disable"}
        root = await enter(tenant=platform.id)
        answer = await root.rest.put(f"/tenants/{platform.id}/policy", above)
        assert answer.status_code == 200, answer.text
        fields = {
            "max_api_key_lifetime": "36",
            "max_api_key_lifetime_unit": "hours",
            "api_key_idle_timeout": "90",
            "api_key_idle_timeout_unit": "minutes",
            "single_token": "yes",
            "max_api_keys": "5000",
        }
        page = await console.done("/policy/edit", fields)
        by = f"{platform.name}, above"
        assert told(page, "Longest life of an API key") == ["1 day", by, "36 hours"]
        assert told(page, "API keys end when") == ["90 minutes", "this tenant", "90 minutes"]
        assert told(page, "API keys at home") == ["5,000", "this tenant", "5,000"]
        assert told(page, "One token at a time") == ["yes", "this tenant", "yes"]
        left, default = "left to those above", "nobody: the default"
        assert told(page, "Service users at home") == ["10,000", default, left]
        assert told(page, "Service users and keys") == ["are disabled", by, left]
        form = await console.page("/policy/edit")
        assert 'name="max_api_key_lifetime" inputmode="numeric" maxlength="9"' in form
        assert 'value="36"' in form
        assert '<option value="hours" selected>' in form

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("max_api_key_lifetime", "0"),
            ("max_api_key_lifetime", "4000"),
            ("api_key_idle_timeout", "soon"),
            ("max_api_keys", "-1"),
            ("max_delegations", "1.5"),
            ("offboarding", "burn"),
        ],
    )
    async def test_a_refusal_stands_at_its_field(
        self, console: Console, field: str, value: str
    ) -> None:
        fields = {"max_api_key_lifetime_unit": "days", "max_service_users": "77", field: value}
        answer = await console.post("/policy/edit", fields)
        assert answer.status_code == 400
        assert f'id="e-{field}"' in answer.text
        assert 'value="77"' in answer.text

    async def test_somebody_elses_change_is_not_lost(self, console: Console) -> None:
        at = f"/tenants/{console.tenant}/policy"
        tag = (await console.rest.get(at)).headers["etag"]
        await console.rest.put(at, {"max_api_keys": 7})
        answer = await console.post("/policy/edit", {"etag": tag})
        assert answer.status_code == 400
        assert (await console.rest.get(at)).json()["policy"]["max_api_keys"] == 7


class TestViewers:
    async def test_they_look_and_change_nothing(self, enter: Enter) -> None:
        viewer = await enter(VIEWER)
        assert "/policy/edit" not in await viewer.page("/policy")
        assert (await viewer.get("/policy/edit")).status_code == 403
