"""The tenants below, at the console: drawn, made, renamed, suspended, deleted."""

from __future__ import annotations

import re

import pytest

from keyturn.server.console.nouns import tenant_tree
from keyturn.server.domain.permissions import VIEWER
from tests.http.console.conftest import Console, Enter


async def made(console: Console, name: str = "Edge <b>", below: str = "") -> str:
    """The id of a new tenant, made by REST."""
    headers = {"x-tenant-id": below or console.tenant}
    answer = await console.rest.post("/tenants", {"name": name}, headers=headers)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


class TestTree:
    async def test_is_nested_and_by_name(self, console: Console) -> None:
        last, first = await made(console, "Zeta"), await made(console)
        await made(console, "Below", last)
        page = await console.page("/tenants")
        tree = re.sub(r"\s+", " ", page.partition('<ul class="tree">')[2])
        order = [tree.index(word) for word in ("Edge &lt;b&gt;", "Zeta", "<ul>", "Below")]
        assert order == sorted(order)
        assert f'href="/console/t/{first}"' in page

    async def test_of_many_it_shows_one_level(
        self, console: Console, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(tenant_tree, "_MOST", 2)
        top = await made(console, "Top")
        for name in ("One", "Two"):
            await made(console, name, top)
        page = await console.page("/tenants")
        assert "too many to draw" in page
        assert f'href="/console/t/{top}/tenants"' in page
        assert ">One</a>" not in page

    async def test_finds_by_name_on_all_levels(self, console: Console) -> None:
        await made(console, "Below", await made(console))
        page = await console.page("/tenants?name=bel")
        assert ">Below</a>" in page
        assert "Edge" not in page
        assert "begins so" in await console.page("/tenants?name=nobody")

    async def test_the_pages_of_one_below_open(self, console: Console) -> None:
        below = await made(console)
        assert "Edge &lt;b&gt;" in await console.page(f"/console/t/{below}/policy")


class TestNew:
    async def test_it_is_made_once(self, console: Console) -> None:
        fields = {"name": "Edge", "once": "the same"}
        answers = [await console.post("/tenants/new", fields) for _ in range(2)]
        assert len({answer.headers["location"] for answer in answers}) == 1
        assert "The tenant is made." in await console.page(answers[0].headers["location"])

    async def test_a_taken_name_is_refused(self, console: Console) -> None:
        await made(console, "Edge")
        answer = await console.post("/tenants/new", {"name": "edge"})
        assert answer.status_code == 400
        assert 'id="faults"' in answer.text
        assert 'value="edge"' in answer.text


class TestOne:
    async def test_it_is_renamed_unless_somebody_else_did(self, console: Console) -> None:
        at = f"/tenants/{await made(console)}"
        assert "Rim" in await console.done(f"{at}/edit", {"name": "Rim"})
        answer = await console.post(f"{at}/edit", {"name": "Rim", "etag": '"1"'})
        assert answer.status_code == 400
        assert 'id="faults"' in answer.text

    async def test_it_is_suspended_and_resumed(self, console: Console) -> None:
        below = await made(console)
        await made(console, "Deeper", below)
        at = f"/tenants/{below}"
        page = await console.page(f"{at}/suspend")
        assert "the same in Deeper" in page
        page = await console.done(f"{at}/suspend")
        assert 'class="badge bad">suspended' in page
        assert (await console.rest.get(at)).json()["suspended_at"]
        page = await console.done(f"{at}/resume", form=at)
        assert 'class="badge good">active' in page

    async def test_it_is_deleted_when_it_is_empty(self, console: Console) -> None:
        below = await made(console)
        deeper = await made(console, "Deeper", below)
        answer = await console.post(f"/tenants/{below}/delete")
        assert answer.status_code == 400
        assert "The tenant is not empty" in answer.text
        await console.rest.delete(f"/tenants/{deeper}")
        assert "The tenant is gone." in await console.done(f"/tenants/{below}/delete")
        assert (await console.get(f"/tenants/{below}")).status_code == 404

    async def test_ones_own_is_renamed_alone(self, console: Console) -> None:
        at = f"/tenants/{console.tenant}"
        page = await console.page(at)
        assert f"{at}/edit" in page
        assert f"{at}/suspend" not in page
        assert f"{at}/delete" not in page


class TestViewers:
    async def test_they_look_and_change_nothing(self, enter: Enter, console: Console) -> None:
        at = f"/tenants/{await made(console)}"
        viewer = await enter(VIEWER)
        assert f"{at}/edit" not in await viewer.page(at)
        for path in ("/tenants/new", f"{at}/edit", f"{at}/suspend", f"{at}/delete"):
            assert (await viewer.get(path)).status_code == 403
