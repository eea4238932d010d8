"""The harness finds what it is to find, and nothing in a page that is as it should be."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Playwright, expect

from tests.browser import accessibility, screenshots
from tests.browser.chromium import DESK, PROGRAM, REQUIRED, Screen, launched, program
from tests.browser.conftest import NewContext
from tests.browser.keyboard import press, tab_to
from tests.browser.pages import running_pages
from tests.browser.watch import Watch

Failed = pytest.fail.Exception
Skipped = pytest.skip.Exception


@pytest.fixture(scope="module")
def pages() -> Iterator[str]:
    """The address of the small pages."""
    with running_pages() as url:
        yield url


class TestAPageAsItShouldBe:
    def test_passes_on_every_screen(
        self, page: Page, pages: str, screen: Screen, accessible: Callable[[Page], None]
    ) -> None:
        page.goto(f"{pages}/clean")
        expect(page.locator("h1[data-enhanced=yes]")).to_be_visible()
        accessible(page)
        assert page.evaluate("innerWidth") == screen.width
        assert page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches") == (
            screen.color_scheme == "dark"
        )
        assert page.evaluate("navigator.maxTouchPoints") == 0

    def test_is_wide_and_light_unless_told_other(self, page: Page) -> None:
        assert page.evaluate("[innerWidth, devicePixelRatio]") == [DESK.width, 1]
        assert page.evaluate("matchMedia('(prefers-color-scheme: light)').matches")

    def test_may_refuse_a_form(self, page: Page, pages: str) -> None:
        page.goto(f"{pages}/clean")
        page.get_by_role("button", name="Save").click()
        expect(page.get_by_text("That name is taken.")).to_be_visible()

    def test_has_letters_of_a_real_font(self, page: Page) -> None:
        """Without a font, all letters are the same empty box."""
        wide, narrow = page.evaluate(
            """() => {
                const pen = document.createElement("canvas").getContext("2d");
                pen.font = "16px sans-serif";
                return ["mmmm", "iiii"].map(text => pen.measureText(text).width);
            }"""
        )
        assert wide > 2 * narrow > 0


class TestWatch:
    @pytest.mark.parametrize(
        ("name", "said"),
        [
            ("inline-script", "securitypolicyviolation: script-src-elem forbids inline"),
            ("inline-script", "console error: .*Content Security Policy"),
            ("inline-style", "securitypolicyviolation: style-src-attr forbids inline"),
            ("console-error", "console error: that went wrong"),
            ("exception", "exception: .*nobody caught it"),
            ("foreign", "foreign request: GET http://127.0.0.1:1/dot.png"),
            ("missing-script", r"answered 404: GET .*/nowhere\.js \(script\)"),
            ("calls-what-fails", r"answered 503: GET .*/broken \(xhr\)"),
            ("broken", r"answered 503: GET .*/broken \(document\)"),
        ],
    )
    def test_fails_the_test(self, browser: Browser, pages: str, name: str, said: str) -> None:
        watch = Watch()
        with browser.new_context() as context:
            watch.over(context)
            context.new_page().goto(f"{pages}/{name}")
            watch.settle(context)
        with pytest.raises(Failed, match=said):
            watch.check()

    def test_fails_the_test_when_nobody_answers(self, browser: Browser, pages: str) -> None:
        watch = Watch()
        with browser.new_context() as context:
            watch.over(context)
            page = context.new_page()
            page.goto(f"{pages}/clean")
            context.set_offline(True)
            page.evaluate("fetch('/clean').catch(() => null)")
            watch.settle(context)
        assert [p.partition(":")[0] for p in watch.problems] == ["failed"]

    def test_takes_what_is_expected(self, page: Page, pages: str, watch: Watch) -> None:
        watch.expect("answered 503")
        page.goto(f"{pages}/broken")
        expect(page.get_by_text("Something broke.")).to_be_visible()

    def test_misses_what_is_expected_and_does_not_come(self) -> None:
        watch = Watch()
        watch.expect("answered 503")
        with pytest.raises(Failed, match="did not come: answered 503"):
            watch.check()

    def test_is_over_every_visitor(self, new_context: NewContext, pages: str, watch: Watch) -> None:
        watch.expect("that went wrong")
        new_context()
        new_context().new_page().goto(f"{pages}/console-error")


class TestAccessible:
    @pytest.mark.parametrize(
        ("name", "rule", "named"),
        [("pale", "color-contrast", 'class="pale"'), ("no-label", "label", "input")],
    )
    def test_finds(self, page: Page, pages: str, name: str, rule: str, named: str) -> None:
        page.goto(f"{pages}/{name}")
        with pytest.raises(Failed) as failed:
            accessibility.accessible(page)
        said = str(failed.value)
        assert f"{rule} (" in said
        assert named in said
        assert "Fix any of the following" in said

    @pytest.mark.parametrize(
        ("name", "scheme"), [("dim-on-light", "light"), ("dim-in-dark", "dark")]
    )
    def test_looks_at_light_and_dark(
        self, page: Page, screen: Screen, pages: str, name: str, scheme: str
    ) -> None:
        page.goto(f"{pages}/{name}")
        with pytest.raises(Failed) as failed:
            accessibility.accessible(page)
        assert re.findall(r"^(\w+): color-contrast", str(failed.value), re.MULTILINE) == [scheme]
        shown = page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
        assert shown == (screen.color_scheme == "dark")


class TestKeyboard:
    def test_reaches_what_can_be_reached(self, page: Page, pages: str) -> None:
        page.goto(f"{pages}/clean")
        tab_to(page.get_by_label("Name"))
        page.keyboard.type("acme")
        press(page.get_by_role("button", name="Save"))
        expect(page.get_by_text("That name is taken.")).to_be_visible()

    def test_tells_what_had_the_focus_instead(self, page: Page, pages: str) -> None:
        page.goto(f"{pages}/clean")
        with pytest.raises(Failed, match='input "Name", button "Save", a "Again"'):
            tab_to(page.locator("h1"), most=5)


class TestShot:
    def test_is_the_same_picture_each_time(self, page: Page, pages: str, tmp_path: Path) -> None:
        page.goto(f"{pages}/clean")
        for name in ("first", "second"):
            screenshots.take(page, name, write=True, directory=tmp_path / "new")
        first, second = (path.read_bytes() for path in sorted((tmp_path / "new").iterdir()))
        assert first == second
        assert (first[:8], first[16:24]) == (b"\x89PNG\r\n\x1a\n", b"\0\0\x05\0\0\0\x03\x20")

    def test_misses_one_that_nobody_took(self, page: Page, tmp_path: Path) -> None:
        with pytest.raises(AssertionError, match="make screenshots"):
            screenshots.take(page, "tenants", write=False, directory=tmp_path)
        (tmp_path / "tenants.png").touch()
        screenshots.take(page, "tenants", write=False, directory=tmp_path)


class TestWithoutChromium:
    def test_the_named_one_is_taken(self) -> None:
        assert program({PROGRAM: "sh", "PATH": "/bin"}) == "/bin/sh"
        assert program({PROGRAM: "no-such-browser", "PATH": "/bin"}) is None

    @pytest.mark.parametrize(
        ("environment", "why"),
        [({"PATH": "/nowhere"}, "no Chromium"), ({PROGRAM: "/bin/false"}, "does not start")],
    )
    def test_tests_are_skipped_loudly(
        self, playwright: Playwright, environment: dict[str, str], why: str
    ) -> None:
        with pytest.raises(Skipped, match=f"NOT SHOWN .*{why}"):
            launched(playwright.chromium, environment).__enter__()

    @pytest.mark.parametrize("required", [{"CI": "true"}, {REQUIRED: "1"}])
    def test_tests_fail_where_it_must_be_there(
        self, playwright: Playwright, required: dict[str, str]
    ) -> None:
        with pytest.raises(Failed, match="NOT SHOWN"):
            launched(playwright.chromium, {"PATH": "/nowhere", **required}).__enter__()

    def test_even_ci_may_do_without(self, playwright: Playwright) -> None:
        with pytest.raises(Skipped):
            launched(
                playwright.chromium, {"PATH": "/nowhere", "CI": "true", REQUIRED: "0"}
            ).__enter__()
