"""To sign in, to choose a tenant, to learn that there is no such page."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.browser.chromium import Screen
from tests.browser.console import sign_in
from tests.browser.serving import Served

NewContext = Callable[..., BrowserContext]
Accessible = Callable[[Page], None]


class TestFirstPages:
    def test_are_for_everybody(
        self, page: Page, screen: Screen, served: Served, accessible: Accessible
    ) -> None:
        for path in ("sign-in", "first-password", "invitation"):
            page.goto(f"{served.base_url}/console/{path}")
            accessible(page)
        page.goto(f"{served.base_url}/console/nowhere")
        expect(page.get_by_role("heading", level=1)).to_have_text("There is no such page")
        accessible(page)

    def test_lead_to_a_tenant(
        self, page: Page, screen: Screen, served: Served, accessible: Accessible
    ) -> None:
        tenant = served.tenant()
        sign_in(page, served, served.person(tenant))
        page.goto(f"{served.base_url}/console/tenants")
        accessible(page)
        page.get_by_role("main").get_by_role("link").first.click()
        expect(page.get_by_role("main")).to_contain_text(tenant)


class TestOnASmallScreen:
    @pytest.mark.parametrize("scripted", [True, False])
    def test_the_current_page_is_in_view_and_reached_by_keyboard(
        self, served: Served, new_context: NewContext, accessible: Accessible, scripted: bool
    ) -> None:
        who = served.person(served.tenant())
        small = {"width": 375, "height": 720}
        page = new_context(viewport=small, java_script_enabled=scripted).new_page()
        sign_in(page, served, who)
        for path, name in (("/audit", "Audit"), ("/policy", "Policy"), ("", "Overview")):
            page.goto(f"{served.base_url}/console/t/{who.tenant}{path}")
            here = page.get_by_role("navigation").get_by_role("link", name=name, exact=True)
            expect(here).to_have_attribute("aria-current", "page")
            expect(here).to_be_in_viewport(ratio=1)
        last = page.get_by_role("navigation").get_by_role("link", name="Policy")
        last.focus()
        expect(last).to_be_in_viewport(ratio=1)
        if scripted:
            accessible(page)


class TestWithoutTheScript:
    def test_nothing_is_offered_that_needs_it(
        self, served: Served, new_context: NewContext
    ) -> None:
        who = served.person(served.tenant())
        for scripted in (True, False):
            page = new_context(java_script_enabled=scripted).new_page()
            sign_in(page, served, who)
            page.goto(f"{served.base_url}/console/account/api-keys/new")
            page.get_by_label("Name").fill(f"key {scripted}")
            page.get_by_role("button", name="Make the key").click()
            expect(page.get_by_role("button", name="Copy")).to_have_count(3 if scripted else 0)
            page.get_by_role("link", name="I have saved it").click()
            page.goto(f"{served.base_url}/console/t/{who.tenant}/endpoints/import")
            expect(page.get_by_label("A file")).to_be_visible(visible=scripted)


class TestByHttps:
    def test_the_cookie_is_this_host_s_alone(self, page: Page, served_https: Served) -> None:
        who = served_https.person(served_https.tenant())
        sign_in(page, served_https, who)
        cookies = {cookie["name"]: cookie for cookie in page.context.cookies()}
        cookie = cookies["__Host-keyturn"]
        assert cookie["secure"]
        assert cookie["httpOnly"]
        assert (cookie["sameSite"], cookie["path"]) == ("Lax", "/")
