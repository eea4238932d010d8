"""A program's key from its making to its end, by the pages alone, and what bash says of it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from typing import Any

from playwright.sync_api import Page, expect

from tests.browser.chromium import Screen
from tests.browser.console import go, sign_in
from tests.browser.keyboard import press, tab_to
from tests.browser.serving import Person, Served, fresh

Accessible = Callable[[Page], None]


def pasted(page: Page, id: str) -> dict[str, Any]:
    """What bash and curl make of a command that the page shows."""
    command = page.locator(f"#{id}").text_content()
    assert command
    assert "\n" not in command
    ran = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, timeout=60, check=True
    )
    answer: dict[str, Any] = json.loads(ran.stdout)
    return answer


def endpoints(served: Served, tenant: str, *paths: str) -> None:
    for path in paths:
        new = {"service": "assets", "method": "GET", "path": path, "name": f"Read {path}"}
        served.api("POST", "/endpoints", {**new, "opened_by": [["keys:read"]]}, tenant=tenant)


def saved(page: Page) -> None:
    """Leaves the page with the secret, which is not shown again."""
    page.get_by_role("link", name="I have saved it").click()
    expect(page.get_by_text("The secret is not shown again.")).to_be_visible()
    expect(page.locator("#secret")).to_have_count(0)


class TestStory:
    def test_of_a_key_from_its_making_to_its_end(self, page: Page, served: Served) -> None:
        ada = served.person(served.tenant())
        endpoints(served, ada.tenant, "/hosts", "/hosts/{id}", "/sites")
        sign_in(page, served, ada)

        # A service user, and a key of it.
        go(page, served, "/service-users/new", ada)
        page.get_by_label("Name", exact=True).fill('Gateway\'s "sync" $HOME')
        page.get_by_label("viewer").check()
        page.get_by_label("Make its first API key, too").uncheck()
        page.get_by_role("button", name="Make it").click()
        page.get_by_role("link", name="New API key").first.click()
        page.get_by_label("Name", exact=True).fill("nightly")
        page.get_by_label("30 days", exact=True).first.check()
        page.get_by_role("button", name="Make the key").click()

        # Its secret is here, this once; the commands work as they are.
        expect(page.get_by_role("heading", level=1)).to_have_text("The API key is made")
        first = pasted(page, "exchange")
        assert first["token_type"] == "bearer"
        who = pasted(page, "who-am-i")
        assert who["kind"] == "service"
        assert [role["role_name"] for role in who["roles"]] == ["viewer"]
        secret = page.locator("#secret").input_value()
        username = who["username"]
        saved(page)

        # It is narrowed: tokens from before have ended.
        page.get_by_role("link", name="Edit").click()
        page.get_by_role("radio", name="Only these").check()
        page.get_by_label("Search endpoints").fill("hosts/:any")
        expect(page.locator("#endpoints")).not_to_contain_text("/sites")
        page.get_by_label("GET /hosts/{id}").check()
        page.get_by_label("Networks").fill("127.0.0.0/8")
        page.get_by_role("button", name="Save").click()
        expect(page.get_by_role("status").first).to_contain_text("Tokens that it gave before")
        expect(page.get_by_text("GET /hosts/{id}")).to_be_visible()
        assert served.me(first["access_token"]).status_code == 401

        # It gets another secret, and the old one ends.
        page.get_by_role("link", name="Rotate").click()
        page.get_by_label("Not at all").check()
        page.get_by_role("button", name="Give it a new secret").click()
        assert pasted(page, "exchange")["token_type"] == "bearer"
        rotated = page.locator("#secret").input_value()
        assert rotated != secret
        assert refused(served, username, secret) == "invalid_grant"
        saved(page)

        # It is revoked.
        page.get_by_role("link", name="Revoke").click()
        expect(page.get_by_text("from 127.0.0.1")).to_be_visible()
        page.get_by_role("button", name="Revoke").click()
        expect(page.get_by_text("It was revoked.")).to_be_visible()
        assert refused(served, username, rotated) == "invalid_grant"
        go(page, served, "/api-keys?state=revoked", ada)
        expect(page.get_by_role("row", name="nightly")).to_contain_text("revoked")


def refused(served: Served, username: str, secret: str) -> str:
    fields = {"grant_type": "password", "username": username, "password": secret}
    answer = served.http.post(f"{served.base_url}/iam/auth/token", data=fields)
    return str(answer.json()["error"])


class TestPages:
    def test_are_for_everybody(
        self, page: Page, screen: Screen, served: Served, accessible: Accessible
    ) -> None:
        ada, robot = prepared(served)
        key = robot["api_key"]["id"]
        sign_in(page, served, ada)
        for path in (
            "/api-keys",
            f"/api-keys?user_id={robot['id']}&state=revoked",
            "/api-keys/new",
            f"/api-keys/new?user_id={robot['id']}",
            f"/api-keys/{key}",
            f"/api-keys/{key}/edit",
            f"/api-keys/{key}/rotate",
            f"/api-keys/{key}/revoke",
            "/service-users?below=1",
            "/service-users/new",
            f"/service-users/{robot['id']}",
        ):
            go(page, served, path, ada)
            accessible(page)
            fits(page)
        go(page, served, f"/api-keys/{key}/rotate", ada)
        page.get_by_role("button", name="Give it a new secret").click()
        accessible(page)
        fits(page)
        saved(page)

    def test_that_are_refused_say_where(
        self, page: Page, served: Served, accessible: Accessible
    ) -> None:
        ada, robot = prepared(served)
        sign_in(page, served, ada)
        go(page, served, f"/api-keys/new?user_id={robot['id']}", ada)
        page.get_by_label("Name", exact=True).fill("first")
        page.get_by_role("button", name="Make the key").click()
        expect(page.locator("#faults")).to_be_focused()
        expect(page.get_by_label("Name", exact=True)).to_have_attribute("aria-invalid", "true")
        accessible(page)


class TestKeyboard:
    def test_makes_a_key(self, page: Page, served: Served) -> None:
        ada, robot = prepared(served)
        sign_in(page, served, ada)
        go(page, served, f"/api-keys/new?user_id={robot['id']}", ada)
        tab_to(page.get_by_label("Name", exact=True))
        page.keyboard.type("by hand")
        tab_to(page.get_by_label("All that its roles open"))
        page.keyboard.press("ArrowDown")
        tab_to(page.get_by_label("Search endpoints"))
        page.keyboard.type("/sites")
        expect(page.locator("#endpoints")).to_contain_text("Found: 1")
        page.keyboard.press("Enter")  # searches, and makes nothing
        press(page.get_by_label("GET /sites"), "Space")
        press(page.get_by_role("button", name="Make the key"))
        expect(page.get_by_role("heading", level=1)).to_have_text("The API key is made")
        press(page.get_by_role("link", name="I have saved it"))
        expect(page.get_by_text("GET /sites")).to_be_visible()

    def test_enter_in_a_field_makes_the_key(self, page: Page, served: Served) -> None:
        ada, robot = prepared(served)
        sign_in(page, served, ada)
        go(page, served, f"/api-keys/new?user_id={robot['id']}", ada)
        page.get_by_label("Name", exact=True).fill("at once")
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", level=1)).to_have_text("The API key is made")
        saved(page)


class TestWithoutScript:
    def test_what_is_ticked_stays_while_one_searches(
        self, new_context: Callable[..., Any], served: Served
    ) -> None:
        ada, robot = prepared(served)
        page = new_context(java_script_enabled=False).new_page()
        sign_in(page, served, ada)
        go(page, served, f"/api-keys/new?user_id={robot['id']}", ada)
        page.get_by_label("Name", exact=True).fill("without")
        page.get_by_role("radio", name="Only these").check()
        page.get_by_label("GET /sites").check()
        page.get_by_label("Search endpoints").fill("/hosts/:x")
        page.get_by_role("button", name="Search").click()
        page.get_by_label("GET /hosts/{id}").check()
        page.get_by_label("Search endpoints").fill("nothing of that name")
        page.get_by_label("Search endpoints").press("Enter")
        expect(page.get_by_text("Chosen: 2")).to_be_visible()
        page.get_by_role("button", name="Make the key").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("The API key is made")
        saved(page)
        for name in ("GET /sites", "GET /hosts/{id}"):
            expect(page.get_by_text(name)).to_be_visible()


class TestSecret:
    def test_is_not_left_by_accident(self, page: Page, served: Served) -> None:
        ada, robot = prepared(served)
        sign_in(page, served, ada)
        go(page, served, f"/api-keys/{robot['api_key']['id']}/rotate", ada)
        page.get_by_role("button", name="Give it a new secret").click()
        secret = page.locator("#secret").input_value()
        asked: list[str] = []

        def stay(dialog: Any) -> None:
            asked.append(dialog.type)
            dialog.dismiss()

        page.once("dialog", stay)
        page.locator("#secret").click()
        page.get_by_role("link", name="API keys").first.click(no_wait_after=True)
        expect(page.locator("#secret")).to_have_value(secret)
        assert asked == ["beforeunload"]
        page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        page.get_by_role("button", name="Copy").first.click()
        expect(page.get_by_role("button", name="Copied")).to_be_visible()
        assert page.evaluate("navigator.clipboard.readText()") == secret
        saved(page)


def prepared(served: Served) -> tuple[Person, dict[str, Any]]:
    """Somebody, a robot with a key, and a catalogue."""
    tenant = served.tenant(fresh("harbour"))
    endpoints(served, tenant, "/hosts/{id}", "/sites")
    return served.person(tenant), served.service_user(tenant, name="Gateway sync")


def fits(page: Page) -> None:
    """Nothing stands beside the screen."""
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), page.url
