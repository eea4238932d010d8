"""The console's first pages: to sign in, to choose a tenant, to find one's way."""

from __future__ import annotations

from collections.abc import Callable

from playwright.sync_api import Page, expect

from tests.browser.chromium import Screen
from tests.browser.console import go, sign_in
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

    def test_lead_to_the_tenant(
        self, page: Page, screen: Screen, served: Served, accessible: Accessible
    ) -> None:
        ada = served.person(served.tenant())
        sign_in(page, served, ada)
        go(page, served, "/service-users", ada)
        expect(page.get_by_role("heading", level=1)).to_have_text("Service users")
        accessible(page)
        page.get_by_role("link", name="New service user").first.click()
        accessible(page)
        page.get_by_label("Name").fill("robot")
        page.get_by_role("radio").last.check()
        page.get_by_role("button", name="Make it").click()
        expect(page.get_by_role("status").first).to_contain_text("made")
        accessible(page)
        page.get_by_role("link", name="Delete").click()
        accessible(page)
        page.get_by_role("button", name="Delete").click()
        page.goto(f"{served.base_url}/console/tenants")
        accessible(page)
