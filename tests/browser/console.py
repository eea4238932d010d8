"""What a person does at the console, by the words on its pages."""

from __future__ import annotations

from playwright.sync_api import Page, expect

from tests.browser.serving import Person, Served


def sign_in(page: Page, served: Served, who: Person) -> None:
    """With email and password, to the person's tenants."""
    page.goto(f"{served.base_url}/console/tenants")
    page.get_by_label("Email").fill(who.email)
    page.get_by_label("Password").fill(who.password)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("button", name="Sign out")).to_be_visible()


def go(page: Page, served: Served, path: str, who: Person) -> None:
    """To a page of the person's tenant, such as `/api-keys`."""
    page.goto(f"{served.base_url}/console/t/{who.tenant}{path}")
