"""The API reference as people meet it: on all screens, by ear, offline, and without scripts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect

# Big pages: axe looks at every element.
OPENED = ("tokens-exchange", "roles-listRoles")


@pytest.fixture
def reference(page: Page, served: Any) -> Page:
    """The page, with all operations listed."""
    page.goto(f"{served.base_url}/iam/docs")
    expect(page.locator("#operations-tokens-exchange")).to_be_visible()
    return page


def opened(page: Page, name: str) -> Any:
    """An operation whose description is shown."""
    operation = page.locator(f"#operations-{name}")
    operation.locator(".opblock-summary-control").click()
    expect(operation.locator(".opblock-body")).to_be_visible()
    return operation


@pytest.mark.usefixtures("screen")
class TestOnAllScreens:
    def test_it_is_accessible_and_fits(
        self, reference: Page, accessible: Callable[[Page], None]
    ) -> None:
        for name in OPENED:
            opened(reference, name).locator(".try-out__btn").click()
        accessible(reference)
        width = reference.evaluate("document.documentElement.scrollWidth")
        assert width <= reference.evaluate("innerWidth")


class TestReading:
    def test_every_operation_is_listed(self, reference: Page) -> None:
        text = reference.request.get(reference.url.replace("/docs", "/openapi.yaml")).text()
        expect(reference.locator(".opblock")).to_have_count(text.count("\n      operationId: "))

    def test_the_filter_narrows_it(self, reference: Page) -> None:
        reference.get_by_label("Filter by tag or path").fill("webhooks")
        expect(reference.locator("#operations-tokens-exchange")).to_have_count(0)
        expect(reference.locator("[id^=operations-webhooks-]").first).to_be_visible()

    def test_an_address_opens_an_operation(self, page: Page, served: Any) -> None:
        page.goto(f"{served.base_url}/iam/docs#/roles/listRoles")
        expect(page.locator("#operations-roles-listRoles .opblock-body")).to_be_visible()


class TestTryingOut:
    def test_a_pasted_token_is_used(self, reference: Page, served: Any) -> None:
        token = served.exchange()["access_token"]
        reference.locator(".btn.authorize").first.click()
        reference.locator(".modal-ux input").first.fill(token)
        reference.locator(".modal-ux .authorize").first.click()
        reference.get_by_role("button", name="Close").first.click()
        operation = opened(reference, "caller-me")
        operation.locator(".try-out__btn").click()
        operation.locator(".execute").click()
        answer = operation.locator(".live-responses-table")
        expect(answer.locator(".response-col_status").last).to_contain_text("200")
        expect(answer).to_contain_text("api_key_id")


class TestWithoutScripts:
    def test_it_says_so_and_links_the_document(
        self, new_context: Callable[..., Any], served: Any
    ) -> None:
        page = new_context(java_script_enabled=False).new_page()
        page.goto(f"{served.base_url}/iam/docs")
        note = page.locator(".reference-note")
        expect(note).to_be_visible()
        expect(note.get_by_role("link")).to_have_attribute("href", "openapi.yaml")
