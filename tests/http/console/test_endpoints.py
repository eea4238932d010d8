"""The endpoint catalogue at the console: searched, imported, changed, and who may call."""

from __future__ import annotations

import datetime
import json
from typing import Any

import pytest
import yaml

from keyturn.server.console.yaml_text import MAX_YAML
from keyturn.server.domain.permissions import VIEWER
from keyturn.server.http.management.endpoints import MAX_IMPORT
from tests.http.console.conftest import Console, Enter

NEW = {
    "service": "assets",
    "method": "GET",
    "path": "/assets/{asset_id}",
    "name": "Read <b>one</b>",
    "opens": "permissions",
    "opened_by": "assets:read\nassets:list, assets:write\n",
}
DOCUMENT: dict[str, Any] = {
    "openapi": "3.1.0",
    "info": {"title": "Assets", "version": "1"},
    "paths": {
        "/assetTypes": {
            "get": {"operationId": "listTypes", "x-permissions": ["assets:read"], "responses": {}},
            "post": {"operationId": "makeType", "responses": {}},
        }
    },
}


async def made(console: Console, **changes: str) -> str:
    """The address of a new endpoint, made by its form."""
    answer = await console.post("/endpoints/new", NEW | changes)
    assert answer.status_code == 303, answer.text
    return str(answer.headers["location"]).partition(console.tenant)[2].partition("?")[0]


async def imported(console: Console, document: object, service: str = "assets") -> Any:
    text = document if isinstance(document, str) else json.dumps(document, indent=2)
    return await console.post("/endpoints/import", {"service": service, "document": text})


class TestNew:
    async def test_it_is_registered(self, console: Console) -> None:
        page = await console.page(at := await made(console))
        assert "Read &lt;b&gt;one&lt;/b&gt;" in page
        endpoint = (await console.rest.get(at)).json()
        assert endpoint["opened_by"] == [["assets:read"], ["assets:list", "assets:write"]]

    @pytest.mark.parametrize(("opens", "groups"), [("nobody", []), ("everybody", [[]])])
    async def test_it_opens_without_permissions(
        self, console: Console, opens: str, groups: object
    ) -> None:
        at = await made(console, opens=opens, opened_by="")
        assert (await console.rest.get(at)).json()["opened_by"] == groups
        page = await console.page(f"{at}/edit")
        assert f'value="{opens}" checked' in page

    @pytest.mark.parametrize(
        ("field", "value"),
        [("path", "no slash"), ("opened_by", ""), ("opened_by", "Not One"), ("service", "")],
    )
    async def test_a_refusal_stands_at_its_field(
        self, console: Console, field: str, value: str
    ) -> None:
        answer = await console.post("/endpoints/new", {**NEW, field: value})
        assert answer.status_code == 400
        assert f'id="e-{field}"' in answer.text
        assert "Read &lt;b&gt;one&lt;/b&gt;" in answer.text


class TestSearch:
    async def test_finds_by_path_and_service(self, console: Console) -> None:
        await made(console)
        await made(console, service="billing", path="/bills", name="Bills")
        page = await console.page("/endpoints?q=bill")
        assert "/bills" in page
        assert "/assets/{asset_id}" not in page
        page = await console.page("/endpoints?service=assets")
        assert "/assets/{asset_id}" in page
        assert "/bills" not in page
        assert "No endpoint is like that" in await console.page("/endpoints?q=nowhere")

    async def test_experimental_ones_are_shown_on_request(self, console: Console) -> None:
        await made(console, experimental="on", path="/tries")
        assert "/tries" not in await console.page("/endpoints?service=assets")
        assert "/tries" in await console.page("/endpoints?service=assets&experimental=true")


class TestOne:
    async def test_says_who_may_call(self, console: Console) -> None:
        at = await made(console, opens="everybody")
        await console.rest.post("/users/me/api-keys", {"name": "mine &"})
        page = await console.page(at)
        assert f'<span class="badge ">{VIEWER.name}</span>' in page
        assert 'mine &amp;: <span class="badge good">may call</span>' in page
        page = await console.page(await made(console, path="/none", opens="nobody"))
        assert "No role that can be given here opens it." in page
        assert "its roles do not open it" in page

    async def test_it_is_edited_unless_somebody_else_did(self, console: Console) -> None:
        at = await made(console)
        fields = {"name": "Read", "opens": "permissions", "opened_by": "assets:read"}
        page = await console.done(f"{at}/edit", fields)
        assert "Saved." in page
        assert (await console.rest.get(at)).json()["opened_by"] == [["assets:read"]]
        answer = await console.post(f"{at}/edit", {**fields, "etag": '"1"'})
        assert answer.status_code == 400
        assert 'id="faults"' in answer.text

    async def test_it_is_deleted_after_asking_again_when_keys_list_it(
        self, console: Console
    ) -> None:
        at = await made(console, opens="everybody")
        user = {"name": "robot", "role_id": VIEWER.id}
        robot = (await console.rest.post("/service-users", user)).json()
        key = {"user_id": robot["id"], "name": "k", "endpoint_ids": [at.rpartition("/")[2]]}
        answer = await console.rest.post("/api-keys", key)
        assert answer.status_code == 201, answer.text
        answer = await console.post(f"{at}/delete")
        assert answer.status_code == 400
        assert "allow-lists, and their tokens" in answer.text
        page = await console.done(f"{at}/delete", {"force": "on"})
        assert "gone from the catalogue" in page
        assert (await console.get(at)).status_code == 404


class TestImport:
    async def test_tells_what_was_done(self, console: Console) -> None:
        answer = await imported(console, DOCUMENT)
        assert answer.status_code == 200, answer.text
        assert '<div class="figure">2</div><p>new</p>' in answer.text
        assert "What could not be taken over" in answer.text
        again = await imported(console, DOCUMENT)
        assert '<div class="figure">2</div><p>left as they were</p>' in again.text
        assert "/assetTypes" in await console.page("/endpoints?service=assets")

    async def test_takes_yaml(self, console: Console) -> None:
        text = yaml.safe_dump({**DOCUMENT, "x-since": datetime.date(2026, 1, 2)})
        answer = await imported(console, "# A comment\n" + text)
        assert answer.status_code == 200, answer.text
        again = await imported(console, DOCUMENT)
        assert '<div class="figure">2</div><p>left as they were</p>' in again.text

    async def test_takes_a_large_one(self, console: Console) -> None:
        paths = {f"/assets/{n}": DOCUMENT["paths"]["/assetTypes"] for n in range(700)}
        large = {**DOCUMENT, "paths": paths, "x-filler": "é" * (MAX_IMPORT // 8)}
        answer = await imported(console, json.dumps(large, ensure_ascii=False))
        assert answer.status_code == 200, answer.text
        assert '<div class="figure">1,400</div>' in answer.text

    @pytest.mark.parametrize(
        ("document", "said"),
        [
            ("", "Paste an OpenAPI document"),
            ("openapi: 3.1.0", "info"),
            ("openapi: [3.1.0", "neither JSON nor YAML (line "),
            ("a: &a [1]\nb: *a", "Aliases (*name) are not read"),
            ("a: !!python/object:os.system x", "Tags (!name) are not read"),
            ("a: 1\nb: {c: 1, c: 2}", "A key stands there twice (line 2)"),
            ("x: " + "[" * 120, "more than 50 levels"),
            ("x: " + "y" * MAX_YAML, "may have 1 MiB"),
            ("- 1", "should be an object"),
            ("? [a]\n: 1", "A key is text or a number"),
            ("a: \x07", "neither JSON nor YAML"),
            ("[]", "should be an object"),
            ('{"openapi": "2.0"}', "openapi: "),
            ('{"openapi": "3.1.0"}', "info"),
            ('{"a": 1, "a": 2}', ""),
            ('{}, "service": "other"', "is not JSON"),
        ],
    )
    async def test_a_refusal_stands_at_the_document(
        self, console: Console, document: str, said: str
    ) -> None:
        answer = await imported(console, document)
        assert answer.status_code == 400, answer.text
        assert 'id="faults"' in answer.text
        if said:
            _, _, at_field = answer.text.partition('id="e-document">')
            assert said in at_field.partition("</p>")[0]
        assert "No endpoint is like" in await console.page("/endpoints?service=assets")


class TestViewers:
    async def test_they_look_and_change_nothing(self, enter: Enter, console: Console) -> None:
        at = await made(console)
        viewer = await enter(VIEWER)
        page = await viewer.page(at)
        assert f"{at}/edit" not in page
        for path in ("/endpoints/new", "/endpoints/import", f"{at}/edit", f"{at}/delete"):
            assert (await viewer.get(path)).status_code == 403
