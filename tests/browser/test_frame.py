"""To sign in, to choose a tenant, to learn that there is no such page."""

from __future__ import annotations

from collections.abc import Callable

from playwright.sync_api import Page, expect

from tests.browser.chromium import Screen
from tests.browser.console import sign_in
from tests.browser.serving import Served

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


class TestByHttps:
    def test_the_cookie_is_this_host_s_alone(self, page: Page, served_https: Served) -> None:
        who = served_https.person(served_https.tenant())
        sign_in(page, served_https, who)
        cookies = {cookie["name"]: cookie for cookie in page.context.cookies()}
        cookie = cookies["__Host-keyturn"]
        assert cookie["secure"]
        assert cookie["httpOnly"]
        assert (cookie["sameSite"], cookie["path"]) == ("Lax", "/")
