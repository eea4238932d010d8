"""A browser for tests: README.md has an overview.

Playwright's sync API holds the thread's event loop as long as it runs, so the tests in this folder
are plain functions, and the browser ends with the folder: no test elsewhere meets that loop.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Playwright, expect, sync_playwright

from tests.browser import accessibility, plugin, screenshots
from tests.browser.chromium import DESK, PATIENCE_MS, SCREENS, Screen, launched
from tests.browser.serving import Served, Template, TlsServer, served_by
from tests.browser.watch import Watch
from tests.live_server import LiveServer, postgres_database, prepare, redis_database

NewContext = Callable[..., BrowserContext]


@pytest.fixture(scope="package")
def playwright() -> Iterator[Playwright]:
    """Playwright itself, and no browser yet."""
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as running:
        yield running


@pytest.fixture(scope="package")
def browser(playwright: Playwright) -> Iterator[Browser]:
    """A headless Chromium: one a process, for all tests of this folder."""
    with launched(playwright.chromium) as started:
        yield started


@pytest.fixture(params=SCREENS, ids=str)
def screen(request: pytest.FixtureRequest) -> Screen:
    """A wide screen and a narrow one, in light and dark: the test runs on both."""
    shown_on: Screen = request.param
    return shown_on


@pytest.fixture
def watch() -> Iterator[Watch]:
    """What the test's pages do wrong. It fails the test at its end."""
    watching = Watch()
    yield watching
    watching.check()


@pytest.fixture
def new_context(
    request: pytest.FixtureRequest, browser: Browser, watch: Watch
) -> Iterator[NewContext]:
    """Makes another visitor, who shares no cookie with the others; options as in Playwright."""
    shown_on: Screen = (
        request.getfixturevalue("screen") if "screen" in request.fixturenames else DESK
    )
    with ExitStack() as stack:

        def make(**options: Any) -> BrowserContext:
            made = browser.new_context(**{**shown_on.options(), **options})
            stack.callback(made.close)
            made.set_default_timeout(PATIENCE_MS)
            watch.over(made)
            stack.callback(watch.settle, made)
            return made

        yield make


@pytest.fixture
def context(new_context: NewContext) -> BrowserContext:
    """A visitor without cookies, on `screen` if the test takes that, else on a wide light one."""
    return new_context()


@pytest.fixture
def page(context: BrowserContext) -> Page:
    """An empty page."""
    return context.new_page()


@pytest.fixture
def accessible() -> Callable[[Page], None]:
    """`accessible(page)` fails for what keeps somebody from using the page, in light or dark."""
    return accessibility.accessible


@pytest.fixture
def shot(pytestconfig: pytest.Config) -> Callable[[Page, str], None]:
    """`shot(page, name)` writes deploy/console/<name>.png with `--screenshots`, else misses it."""
    write = bool(pytestconfig.getoption(plugin.OPTION))
    return lambda page, name: screenshots.take(page, name, write=write)


@pytest.fixture(scope="session")
def demo_template(tmp_path_factory: pytest.TempPathFactory) -> Template:
    """The demo on SQLite, made once a process."""
    return Template.prepared(tmp_path_factory.mktemp("demo"))


@pytest.fixture(scope="module")
def served(request: pytest.FixtureRequest) -> Iterator[Served]:
    """A running service with the demo, one a module: on SQLite, with the list in process.

    `@pytest.mark.parametrize("served", ["sqlite", "postgres"], indirect=True)` also takes
    PostgreSQL with Redis.
    """
    log_dir = request.getfixturevalue("log_dir")
    with ExitStack() as stack:
        redis_url = None
        if getattr(request, "param", "sqlite") == "sqlite":
            template: Template = request.getfixturevalue("demo_template")
            factory: pytest.TempPathFactory = request.getfixturevalue("tmp_path_factory")
            demo, url = template.demo, template.copied(factory.mktemp("served"))
        else:
            url = stack.enter_context(postgres_database(request.getfixturevalue("postgres_server")))
            redis_url = redis_database(request.getfixturevalue("redis_server"))
            demo = prepare(url)
        server = LiveServer(log_dir, url, demo.master_secret, redis_url=redis_url)
        yield stack.enter_context(served_by(server, demo))


@pytest.fixture(scope="module")
def served_https(
    request: pytest.FixtureRequest,
    demo_template: Template,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Served]:
    """As `served`, on SQLite and behind TLS."""
    url = demo_template.copied(tmp_path_factory.mktemp("https"))
    log_dir = request.getfixturevalue("log_dir")
    server = TlsServer(log_dir, url, demo_template.demo.master_secret)
    with served_by(server, demo_template.demo) as running:
        yield running
