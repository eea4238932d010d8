"""Files that ship inside the package, as browsers get them."""

import gzip
from collections.abc import AsyncIterator
from importlib.resources import files
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from keyturn.server.http.assets import Assets, asset
from keyturn.server.http.errors import ErrorAnswers, Fault
from keyturn.server.http.middleware import RequestFrame
from keyturn.server.http.published import Published
from keyturn.server.http.routes import Page, Surface, Table
from keyturn.server.http.stopping import Stopping
from keyturn.server.services.counts import Counts
from tests.vendored import hashes, vendored

CONSOLE = Path(str(files("keyturn.server") / "console" / "assets"))
SCRIPT = b"const answer = 42;\n" * 200


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    there = tmp_path / "assets"
    there.mkdir()
    (there / "page.js").write_bytes(SCRIPT)
    (there / "dot.png").write_bytes(b"\x89PNG")
    (there / "README.md").write_text("not served")
    (there / "below").mkdir()
    (there / "below" / "deep.js").write_bytes(SCRIPT)
    (tmp_path / "secret.txt").write_text("beside it")
    return there


@pytest.fixture
def assets(directory: Path) -> Assets:
    return Assets(directory)


async def failing(request: Request) -> Response:
    raise RuntimeError("a page that fails")


def shown(request: Request, fault: Fault) -> Response | None:
    if not request.url.path.startswith("/console/"):
        return None
    return HTMLResponse(f"<p>{fault.text}", fault.status, fault.headers)


def nothing(*_: object) -> dict[str, object]:
    return {}


@pytest.fixture
def counts() -> Counts:
    return Counts()


@pytest.fixture
async def client(assets: Assets, counts: Counts) -> AsyncIterator[httpx.AsyncClient]:
    """A service that has the assets, and a page that fails, and nothing else."""
    app = Starlette()
    app.router.redirect_slashes = False
    table = Table(app.router)
    published = Published(
        metadata=nothing, jwks=nothing, jwks_max_age=1, checks={}, stopping=Stopping()
    )
    pages = [assets.page, Page("/console/failing", {"GET": failing})]
    doors: object = None
    table.serve(Surface([], published, doors, "/iam", "", pages))  # type: ignore[arg-type]
    app.middleware_stack = RequestFrame(
        table,
        access_log="off",
        max_in_flight=10,
        answers=ErrorAnswers(frozenset(), shown),
        stopping=Stopping(),
        counts=counts,
    )
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    plain = {"Accept-Encoding": "identity"}
    async with httpx.AsyncClient(
        transport=transport, base_url="http://testserver", headers=plain
    ) as client:
        yield client


class TestAsset:
    async def test_200_for_ever_with_the_hash_of_its_content(
        self, client: httpx.AsyncClient, assets: Assets
    ) -> None:
        url = assets.url("page.js")
        assert url.startswith("/console/assets/page.js?v=")
        answer = await client.get(url)
        assert answer.status_code == 200
        assert answer.content == SCRIPT
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert answer.headers["content-type"] == "text/javascript; charset=utf-8"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["content-security-policy"].startswith("default-src 'none'")

    @pytest.mark.parametrize("query", ["", "?v=", "?v=0000", "?w=1"])
    async def test_200_to_be_checked_without_it(
        self, client: httpx.AsyncClient, query: str
    ) -> None:
        answer = await client.get(f"/console/assets/page.js{query}")
        assert answer.content == SCRIPT
        assert answer.headers["cache-control"] == "no-cache"

    @pytest.mark.parametrize("query", ["", "?v={digest}"])
    @pytest.mark.parametrize("coding", ["identity", "gzip"])
    async def test_304_when_it_is_known(
        self, client: httpx.AsyncClient, assets: Assets, query: str, coding: str
    ) -> None:
        digest = assets.url("page.js").partition("=")[2]
        path = "/console/assets/page.js" + query.format(digest=digest)
        headers = {"Accept-Encoding": coding}
        tag = (await client.get(path, headers=headers)).headers["etag"]
        for given in (tag, f"W/{tag}", f'"other", {tag}', "*"):
            answer = await client.get(path, headers={**headers, "If-None-Match": given})
            assert (answer.status_code, answer.content) == (304, b"")
            assert answer.headers["etag"] == tag
            assert answer.headers["vary"] == "Accept-Encoding"
        other = await client.get(path, headers={**headers, "If-None-Match": '"other"'})
        assert other.status_code == 200

    async def test_the_hash_changes_with_the_content(self, tmp_path: Path) -> None:
        (tmp_path / "a.css").write_text("body { color: black }")
        (tmp_path / "b.css").write_text("body { color: white }")
        found = Assets(tmp_path)
        assert found.url("a.css").partition("=")[2] != found.url("b.css").partition("=")[2]

    @pytest.mark.parametrize(
        ("accepted", "zipped"),
        [
            ("gzip", True),
            ("br, GZIP;q=0.5", True),
            ("*", True),
            ("gzip;q=1.000", True),
            ("", False),
            ("br", False),
            ("gzip;q=0", False),
            ("gzip; q=0.000, *", False),
            ("*;q=0", False),
        ],
    )
    async def test_200_with_gzip_for_who_takes_it(
        self, client: httpx.AsyncClient, accepted: str, zipped: bool
    ) -> None:
        path = "/console/assets/page.js"
        plain = await client.get(path)
        async with client.stream("GET", path, headers={"Accept-Encoding": accepted}) as answer:
            raw = b"".join([chunk async for chunk in answer.aiter_raw()])
        assert (answer.headers.get("content-encoding") == "gzip") is zipped
        assert (gzip.decompress(raw) if zipped else raw) == SCRIPT
        assert (answer.headers["etag"] != plain.headers["etag"]) is zipped
        assert answer.headers["vary"] == "Accept-Encoding"
        assert int(answer.headers["content-length"]) == len(raw)

    async def test_200_as_it_is_where_gzip_saves_nothing(self, client: httpx.AsyncClient) -> None:
        answer = await client.get("/console/assets/dot.png", headers={"Accept-Encoding": "gzip"})
        assert answer.content == b"\x89PNG"
        assert "content-encoding" not in answer.headers
        assert "vary" not in answer.headers

    async def test_head_has_the_same_headers(self, client: httpx.AsyncClient) -> None:
        path = "/console/assets/page.js"
        got, head = await client.get(path), await client.head(path)
        assert head.status_code == 200
        for name in ("etag", "content-length", "content-type", "cache-control"):
            assert head.headers[name] == got.headers[name]

    @pytest.mark.parametrize(
        "name",
        [
            *("none.js", "README.md", "below", "deep.js", "below/deep.js", "below%2Fdeep.js"),
            *("..%2Fsecret.txt", "../secret.txt", "%2e%2e%2fsecret.txt", "page.js/", "page.js%00"),
            *("", "..", "PAGE.JS"),
        ],
    )
    async def test_404_for_all_else(self, client: httpx.AsyncClient, name: str) -> None:
        answer = await client.get(f"/console/assets/{name}")
        assert answer.status_code == 404
        assert b"42" not in answer.content
        assert b"beside it" not in answer.content

    @pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
    async def test_405(self, client: httpx.AsyncClient, method: str) -> None:
        answer = await client.request(method, "/console/assets/page.js")
        assert answer.status_code == 405
        assert answer.headers["allow"] == "GET, HEAD"

    async def test_they_are_counted_as_one_route(
        self, client: httpx.AsyncClient, counts: Counts
    ) -> None:
        await client.get("/console/assets/page.js")
        await client.get("/console/assets/dot.png")
        assert {route for route, _ in counts.requests} == {"/console/assets/{name}"}

    def test_a_file_that_is_not_there_has_no_address(self, assets: Assets) -> None:
        for name in ("none.js", "README.md"):
            with pytest.raises(KeyError):
                assets.url(name)

    def test_a_file_of_an_unknown_kind_is_none(self) -> None:
        with pytest.raises(KeyError):
            asset("page.exe", b"")


class TestFaultsOfPages:
    async def test_404_and_405_are_pages_where_pages_are(self, client: httpx.AsyncClient) -> None:
        missing = await client.get("/console/none")
        assert (missing.status_code, missing.text) == (404, "<p>Not Found.")
        assert missing.headers["cache-control"] == "no-store"
        wrong = await client.post("/console/failing")
        assert (wrong.status_code, wrong.text) == (405, "<p>Method Not Allowed.")
        assert wrong.headers["allow"] == "GET, HEAD"

    async def test_500_is_a_page_that_tells_nothing(self, client: httpx.AsyncClient) -> None:
        answer = await client.get("/console/failing")
        assert (answer.status_code, answer.text) == (500, "<p>Something failed on our side.")

    async def test_all_else_has_problems(self, client: httpx.AsyncClient) -> None:
        answer = await client.get("/iam/none")
        assert answer.headers["content-type"] == "application/problem+json"


class TestVendored:
    def test_the_console_s_files_are_as_they_were_published(self) -> None:
        expected = vendored(CONSOLE)
        assert {"htmx.min.js", "LICENSE-htmx.txt"} <= expected.keys()
        assert hashes(CONSOLE, set(expected)) == expected
