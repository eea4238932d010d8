"""Resource servers at the console."""

from __future__ import annotations

import pytest

from keyturn.server.domain.permissions import VIEWER
from tests.http.console.conftest import Console, Enter

NEW = {"identifier": "https://assets.example", "name": "Assets <b>", "algorithm": "RS256"}


async def made(console: Console) -> str:
    """The address of a new one, made by its form."""
    answer = await console.post("/resource-servers/new", NEW)
    assert answer.status_code == 303, answer.text
    return str(answer.headers["location"]).partition(console.tenant)[2].partition("?")[0]


class TestNew:
    async def test_it_is_registered_and_listed(self, console: Console) -> None:
        at = await made(console)
        assert (await console.rest.get(at)).json()["algorithm"] == "RS256"
        for page in (await console.page(at), await console.page("/resource-servers")):
            assert "Assets &lt;b&gt;" in page
            assert "https://assets.example" in page

    async def test_its_command_runs_nothing_else(self, console: Console) -> None:
        fields = {**NEW, "identifier": "https://a.example/$(reboot);reboot"}
        page = await console.done("/resource-servers/new", fields)
        assert "--resource &#39;https://a.example/$(reboot);reboot&#39;</code>" in page

    async def test_without_an_algorithm_it_is_the_installations(self, console: Console) -> None:
        answer = await console.post("/resource-servers/new", {**NEW, "algorithm": ""})
        assert answer.status_code == 303, answer.text
        [server] = (await console.rest.get("/resource-servers")).json()["items"]
        assert server["algorithm"] == "ES256"

    @pytest.mark.parametrize(
        ("field", "value"), [("identifier", "assets"), ("name", ""), ("algorithm", "none")]
    )
    async def test_a_refusal_stands_at_its_field(
        self, console: Console, field: str, value: str
    ) -> None:
        answer = await console.post("/resource-servers/new", {**NEW, field: value})
        assert answer.status_code == 400
        assert f'id="e-{field}"' in answer.text

    async def test_a_taken_identifier_is_refused(self, console: Console) -> None:
        await made(console)
        answer = await console.post("/resource-servers/new", NEW)
        assert answer.status_code == 400
        assert 'id="faults"' in answer.text


class TestOne:
    async def test_it_is_edited_unless_somebody_else_did(self, console: Console) -> None:
        at = await made(console)
        fields = {"name": "Things", "algorithm": "ES256"}
        assert "Things" in await console.done(f"{at}/edit", fields)
        answer = await console.post(f"{at}/edit", {**fields, "etag": '"1"'})
        assert answer.status_code == 400
        assert 'id="faults"' in answer.text

    async def test_it_is_deleted_and_says_what_becomes_of_tokens(self, console: Console) -> None:
        at = await made(console)
        assert "stay good until they expire" in await console.page(f"{at}/delete")
        assert "nobody gets a token" in await console.done(f"{at}/delete")
        assert (await console.get(at)).status_code == 404


class TestViewers:
    async def test_they_may_not_change_them(self, enter: Enter, console: Console) -> None:
        at = await made(console)
        viewer = await enter(VIEWER)
        for path in ("/resource-servers/new", f"{at}/edit", f"{at}/delete"):
            assert (await viewer.get(path)).status_code == 403
