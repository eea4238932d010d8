"""The API reference: what is served for it, and that it needs nothing from elsewhere."""

import re
from collections.abc import Awaitable, Callable
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import pytest
import yaml

from keyturn.server.http.routes import page_routes
from keyturn.server.reference.pages import POLICY, moved
from tests.http.conftest import Running
from tests.http.contract import ROOT, document
from tests.vendored import hashes, vendored

Start = Callable[..., Awaitable[Running]]

ASSETS = Path(str(files("keyturn.server.reference") / "assets"))
OURS = {"reference.js", "reference.css"}


class Links(HTMLParser):
    """What a page loads or links, and what stands in it as code."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.urls: list[str] = []
        self.inline: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.urls += [url for url in (given.get("href"), given.get("src")) if url]
        if tag == "style" or (tag == "script" and "src" not in given):
            self.inline.append(tag)
        self.inline += [name for name in given if name == "style" or name.startswith("on")]


class TestPage:
    async def test_200_for_everybody_under_a_strict_policy(self, service: Running) -> None:
        answer = await service.get("/iam/docs")
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert answer.headers["cache-control"] == "no-cache"
        assert answer.headers.get_list("content-security-policy") == [POLICY]
        assert "unsafe" not in POLICY
        assert answer.headers["x-content-type-options"] == "nosniff"

    async def test_all_that_it_loads_is_here_and_kept_for_ever(self, service: Running) -> None:
        links = Links((await service.get("/iam/docs")).text)
        assert links.inline == []
        loaded = 0
        for url in links.urls:
            if url == "data:,":
                continue
            assert not urlsplit(url).scheme
            assert not urlsplit(url).netloc
            answer = await service.get(urljoin("/iam/docs", url))
            assert answer.status_code == 200, url
            if "/assets/" in url:
                loaded += 1
                assert "immutable" in answer.headers["cache-control"], url
        assert loaded == 4

    async def test_without_javascript_it_says_so_and_links_the_document(
        self, service: Running
    ) -> None:
        text = (await service.get("/iam/docs")).text
        [note] = re.findall(r"<noscript>(.*?)</noscript>", text, re.DOTALL)
        assert "JavaScript" in note
        assert 'href="openapi.yaml"' in note

    async def test_304_when_it_is_known(self, service: Running) -> None:
        for path in ("/iam/docs", "/iam/openapi.yaml"):
            tag = (await service.get(path)).headers["etag"]
            answer = await service.client.get(path, headers={"If-None-Match": tag})
            assert answer.status_code == 304
        # The policy is renewed with the page.
        page = await service.client.get("/iam/docs", headers={"If-None-Match": "*"})
        assert page.headers["content-security-policy"] == POLICY

    async def test_405(self, service: Running) -> None:
        answer = await service.client.post("/iam/docs")
        assert answer.status_code == 405
        assert answer.headers["allow"] == "GET, HEAD"

    async def test_it_is_no_part_of_the_contract(self, service: Running) -> None:
        paths = {route.path for route in page_routes(service.service.surface)}
        assert {"/iam/docs", "/iam/openapi.yaml", "/iam/docs/assets/{name}"} <= paths
        assert not paths & document()["paths"].keys()


class TestDocument:
    async def test_200_is_openapi_yaml(self, service: Running) -> None:
        answer = await service.get("/iam/openapi.yaml")
        assert answer.headers["content-type"] == "application/yaml"
        assert answer.content == (ROOT / "openapi.yaml").read_bytes()

    def test_its_first_server_is_the_one_that_serves_it(self) -> None:
        assert document()["servers"][0]["url"] == "/"

    async def test_it_holds_below_another_base_path(self, start: Start) -> None:
        service = await start(base_path="/auth/v1")
        found = yaml.safe_load((await service.get("/auth/v1/openapi.yaml")).text)
        assert set(found["paths"]) == {
            re.sub("^/iam/", "/auth/v1/", path) for path in document()["paths"]
        }
        page = Links((await service.get("/auth/v1/docs")).text)
        for url in page.urls:
            if url != "data:,":
                assert (await service.get(urljoin("/auth/v1/docs", url))).status_code == 200
        assert (await service.get("/iam/docs")).status_code == 404

    async def test_it_holds_without_a_base_path(self, start: Start) -> None:
        service = await start(base_path="/")
        found = yaml.safe_load((await service.get("/openapi.yaml")).text)
        assert set(found["paths"]) == {path.removeprefix("/iam") for path in document()["paths"]}
        assert (await service.get("/docs")).status_code == 200

    def test_it_holds_where_a_proxy_takes_a_path_away(self) -> None:
        text = moved((ROOT / "openapi.yaml").read_text(encoding="utf-8"), "/iam", "/eu")
        assert yaml.safe_load(text)["servers"][0]["url"] == "/eu/"


class TestVendored:
    def test_the_viewer_is_as_it_was_published(self) -> None:
        expected = vendored(ASSETS)
        assert hashes(ASSETS, set(expected)) == expected

    def test_every_other_file_is_ours(self) -> None:
        there = {path.name for path in ASSETS.iterdir()} - {"VENDORED.md"}
        assert there - vendored(ASSETS).keys() == OURS

    @pytest.mark.parametrize("name", [*sorted(OURS), "swagger-ui.css"])
    def test_no_file_loads_from_elsewhere(self, name: str) -> None:
        text = (ASSETS / name).read_text(encoding="utf-8")
        loads = re.findall(r"url\((?!\s*[\"']?data:)[^)]{0,80}|@import[^;]*|fetch\([^)]*", text)
        assert loads == []
