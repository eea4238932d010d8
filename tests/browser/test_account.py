"""People's own pages: signing in with a second factor, and out of every browser at once."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

import pyotp
import pytest
from playwright.sync_api import Dialog, Page, expect

from tests.browser.chromium import Screen
from tests.browser.conftest import NewContext
from tests.browser.console import go, sign_in
from tests.browser.keyboard import press
from tests.browser.serving import Person, Served

Accessible = Callable[[Page], None]

_PARTS = (
    "",
    "/password",
    "/second-factor",
    "/second-factor/set-up",
    "/second-factor/recovery-codes",
    "/second-factor/remove",
    "/browsers",
    "/browsers/end-others",
    "/browsers/end-all",
    "/api-keys",
    "/api-keys/new",
    "/sessions",
    "/sessions/end-all",
    "/invitations",
)


@pytest.fixture
def ada(served: Served) -> Person:
    """Who administers a tenant of her own."""
    return served.person(served.tenant())


def account(page: Page, served: Served, part: str = "") -> None:
    """To a part of the account."""
    page.goto(f"{served.base_url}/console/account{part}")


def set_up(page: Page, served: Served, who: Person) -> tuple[pyotp.TOTP, list[str]]:
    """Sets up a second factor; gives the generator and the recovery codes, which still show."""
    account(page, served, "/second-factor")
    page.get_by_role("link", name="Set it up").click()
    secret = page.locator("#totp-secret").inner_text().replace(" ", "")
    generator = pyotp.TOTP(secret)
    page.get_by_role("textbox", name="Code").fill(generator.now())
    page.get_by_label("Your password").fill(who.password)
    page.get_by_role("button", name="Set it up").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Your second factor is set up")
    return generator, page.locator("#codes").inner_text().split()


def password_alone(page: Page, served: Served, who: Person) -> None:
    """From the first page to the one that asks for a code."""
    page.goto(f"{served.base_url}/console")
    page.get_by_label("Email").fill(who.email)
    page.get_by_label("Password").fill(who.password)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Your second factor")


class TestPages:
    def test_are_for_everybody(
        self, page: Page, screen: Screen, served: Served, accessible: Accessible, ada: Person
    ) -> None:
        sign_in(page, served, ada)
        for part in _PARTS:
            account(page, served, part)
            expect(page.get_by_role("heading", level=1)).to_have_count(1)
            accessible(page)
            wide = page.evaluate("document.documentElement.scrollWidth")
            assert wide <= screen.width, f"{part} is {wide} pixels wide"

    def test_an_own_key_shows_its_secret_once(
        self, page: Page, screen: Screen, served: Served, accessible: Accessible, ada: Person
    ) -> None:
        sign_in(page, served, ada)
        account(page, served, "/api-keys/new")
        page.get_by_label("Name").fill("laptop")
        page.get_by_role("button", name="Make the key").click()
        secret = page.get_by_label("Secret of laptop").input_value()
        accessible(page)
        tokens = served.exchange(username=ada.email, password=secret)
        assert served.me(tokens["access_token"]).json()["sub"] == ada.id
        page.get_by_role("link", name="I have saved it").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("laptop")
        assert secret not in page.content()
        accessible(page)

    def test_the_inspector_tells_what_a_token_is(
        self, page: Page, screen: Screen, served: Served, accessible: Accessible, ada: Person
    ) -> None:
        token = served.exchange(username=ada.email, password=ada.api_key)["access_token"]
        sign_in(page, served, ada)
        go(page, served, "/inspect", ada)
        accessible(page)
        field = page.get_by_label("Access token, refresh token or API key")
        field.fill(token)
        page.get_by_role("button", name="What is this?").click()
        expect(page.locator("#found")).to_contain_text("It works now.")
        expect(page.get_by_label("Access token, refresh token or API key")).to_have_value("")
        assert token not in page.content()
        assert token not in page.url
        accessible(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= screen.width


class TestSecondFactor:
    def test_is_asked_for_and_a_recovery_code_does_once(
        self,
        page: Page,
        served: Served,
        ada: Person,
        new_context: NewContext,
        accessible: Accessible,
    ) -> None:
        sign_in(page, served, ada)
        generator, codes = set_up(page, served, ada)
        assert len(codes) == 10
        accessible(page)
        page.get_by_role("link", name="I have saved them").click()
        expect(page.get_by_text("10 recovery codes are left")).to_be_visible()

        other = new_context().new_page()
        password_alone(other, served, ada)
        accessible(other)
        other.get_by_role("textbox", name="Code").fill("12345")
        other.get_by_role("button", name="Sign in").click()
        expect(other.get_by_role("alert")).to_contain_text("not right")
        # The first code was for this half minute: the next one is good already.
        other.get_by_role("textbox", name="Code").fill(generator.at(int(time.time()) + 30))
        other.get_by_role("button", name="Sign in").click()
        expect(other.get_by_role("button", name="Sign out")).to_be_visible()

        third = new_context().new_page()
        password_alone(third, served, ada)
        third.get_by_role("textbox", name="Code").fill(codes[3].lower())
        third.get_by_role("button", name="Sign in").click()
        expect(third.get_by_role("button", name="Sign out")).to_be_visible()
        account(third, served, "/second-factor")
        expect(third.get_by_text("9 recovery codes are left")).to_be_visible()

        fourth = new_context().new_page()
        password_alone(fourth, served, ada)
        fourth.get_by_role("textbox", name="Code").fill(codes[3])
        fourth.get_by_role("button", name="Sign in").click()
        expect(fourth.get_by_role("alert")).to_contain_text("used before")
        fourth.reload()

    def test_codes_are_not_left_unasked(self, page: Page, served: Served, ada: Person) -> None:
        sign_in(page, served, ada)
        set_up(page, served, ada)
        asked: list[str] = []

        def leave(dialog: Dialog) -> None:
            asked.append(dialog.type)
            dialog.accept()

        page.on("dialog", leave)
        page.locator("#codes").click()
        page.get_by_role("link", name="Your account").first.click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Your account")
        assert asked == ["beforeunload"]

    def test_is_read_by_a_telephone(self, page: Page, served: Served, ada: Person) -> None:
        sign_in(page, served, ada)
        account(page, served, "/second-factor/set-up")
        drawn = page.get_by_role("img", name="QR code")
        expect(drawn).to_be_visible()
        box = drawn.bounding_box()
        assert box is not None
        assert box["width"] == box["height"] > 150


class TestBrowsers:
    def test_sign_out_everywhere_ends_both(
        self, page: Page, served: Served, ada: Person, new_context: NewContext
    ) -> None:
        sign_in(page, served, ada)
        other = new_context().new_page()
        sign_in(other, served, ada)
        account(page, served, "/browsers")
        expect(page.get_by_role("row")).to_have_count(3)
        page.get_by_role("link", name="Sign out everywhere", exact=True).click()
        page.get_by_role("button", name="Sign out everywhere").click()
        expect(page).to_have_url(re.compile("/console/sign-in"))
        expect(page.get_by_role("status").first).to_contain_text("signed out everywhere")
        for each in (page, other):
            account(each, served)
            expect(each).to_have_url(re.compile("/console/sign-in"))

    def test_everywhere_else_keeps_this_one(
        self, page: Page, served: Served, ada: Person, new_context: NewContext
    ) -> None:
        sign_in(page, served, ada)
        other = new_context().new_page()
        sign_in(other, served, ada)
        account(page, served, "/browsers")
        page.get_by_role("link", name="Sign out everywhere else").click()
        page.get_by_role("button", name="Sign out everywhere else").click()
        expect(page.get_by_role("row")).to_have_count(2)
        account(other, served)
        expect(other).to_have_url(re.compile("/console/sign-in"))


class TestSigningIn:
    def test_by_the_keyboard_alone(self, page: Page, served: Served, ada: Person) -> None:
        account(page, served, "/password")
        expect(page).to_have_url(re.compile(r"/sign-in\?next=%2Fconsole%2Faccount%2Fpassword"))
        expect(page.get_by_label("Email")).to_be_focused()
        page.keyboard.type(ada.email)
        page.keyboard.press("Tab")
        page.keyboard.type("wrong")
        page.keyboard.press("Enter")
        expect(page.locator("#faults")).to_be_focused()
        expect(page.get_by_label("Email")).to_have_value(ada.email)
        press(page.get_by_label("Password"), "End")
        page.keyboard.type(ada.password)
        press(page.get_by_role("button", name="Sign in"))
        expect(page.get_by_role("heading", level=1)).to_have_text("Change your password")

    def test_without_script(self, served: Served, ada: Person, new_context: NewContext) -> None:
        page = new_context(java_script_enabled=False).new_page()
        sign_in(page, served, ada)
        generator, _ = set_up(page, served, ada)
        page.get_by_role("button", name="Sign out").click()
        password_alone(page, served, ada)
        page.get_by_role("textbox", name="Code").fill(generator.at(int(time.time()) + 30))
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("button", name="Sign out")).to_be_visible()

    @pytest.mark.parametrize("wanted", ["//example.org/", "https://example.org/", "/iam/users/me"])
    def test_leads_nowhere_else(self, page: Page, served: Served, ada: Person, wanted: str) -> None:
        page.goto(f"{served.base_url}/console/sign-in?next={wanted}")
        page.get_by_label("Email").fill(ada.email)
        page.get_by_label("Password").fill(ada.password)
        page.get_by_role("button", name="Sign in").click()
        expect(page).to_have_url(f"{served.base_url}/console/t/{ada.tenant}")
