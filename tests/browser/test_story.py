"""The console's story, from the first sign-in to a key that is refused; and the pictures of it.

What the pages show is used as it is shown: the curl lines are pasted into a shell.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from typing import Any

from playwright.sync_api import BrowserContext, Page, expect

from tests.browser.serving import Served, fresh

Accessible = Callable[[Page], None]
Shot = Callable[[Page, str], None]
PASSWORD = "seven herons under the bridge"


def shown(page: Page, label: str) -> str:
    """A command that the page shows, to the letter."""
    return page.get_by_role("region", name=label).inner_text()


def pasted(command: str) -> dict[str, Any]:
    """What a shell makes of a command: the JSON that it prints."""
    ran = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, timeout=60, check=False
    )
    found: dict[str, Any] = json.loads(ran.stdout)
    return found


class TestFromTheFirstSignIn:
    def test_to_a_key_that_is_refused(
        self,
        page: Page,
        new_context: Callable[[], BrowserContext],
        served: Served,
        accessible: Accessible,
        shot: Shot,
    ) -> None:
        demo, acme = served.demo, served.demo.tenants[0]
        name = "billing"

        # The first administrator has an API key, and no password yet.
        page.goto(served.base_url)
        expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")
        page.get_by_role("link", name="Set one with an API key").click()
        page.get_by_label("Username or email").fill(demo.admin_username)
        page.get_by_label("API key").fill(demo.admin_api_key)
        page.get_by_label("New password", exact=True).fill(PASSWORD)
        page.get_by_label("New password again").fill(PASSWORD)
        page.get_by_role("button", name="Set it and sign in").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Your tenants")
        page.get_by_role("link", name="acme").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("acme")

        # A second page has the audit trail open, and sees what happens.
        trail = page.context.new_page()
        trail.goto(f"{served.base_url}/console/t/{acme}/audit")

        # A service user and a key.
        page.get_by_role("link", name="Service users").click()
        page.get_by_role("link", name="New service user").click()
        page.get_by_label("Name", exact=False).first.fill(name)
        page.get_by_role("radio", name=re.compile("^viewer")).check()
        page.get_by_role("checkbox", name="Make its first API key, too").uncheck()
        page.get_by_role("button", name="Make it").click()
        expect(page.get_by_role("heading", level=1)).to_have_text(name)
        user_id = page.url.partition("/service-users/")[2].partition("?")[0]
        roles = served.api("GET", "/roles?limit=200")["items"]
        manager = next(role["id"] for role in roles if role["name"] == "asset-manager")
        served.api("POST", "/members", {"user_id": user_id, "role_id": manager})
        page.get_by_role("link", name="New API key").first.click()
        page.get_by_label("Name").first.fill("on the line")
        shot(page, "new-api-key")
        page.get_by_role("button", name="Make the key").click()
        secret = page.get_by_label("Secret of on the line")
        expect(secret).to_have_value(re.compile("^kt_"))
        first_secret = secret.input_value()
        accessible(page)
        exchange = shown(page, "Exchange it for tokens")
        tokens = pasted(exchange)
        assert tokens["token_type"].lower() == "bearer"
        page.get_by_role("link", name="I have saved it").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("on the line")
        key = page.url.partition("?")[0]

        # It may look at its tenant, and the trail has both of what was done.
        assert self._status(served, tokens, acme) == 200
        expect(trail.get_by_role("rowheader", name="api_key.created").first).to_be_visible()
        expect(trail.get_by_role("rowheader", name="token.issued").first).to_be_visible()
        accessible(trail)
        trail.set_viewport_size({"width": 1280, "height": 600})
        shot(trail, "audit")

        # Narrowed to the role that may not look at the tenant.
        page.get_by_role("link", name="Edit").click()
        page.get_by_role("radio", name="Only the roles ticked here").check()
        page.get_by_role("checkbox", name=re.compile("^asset-manager")).check()
        page.get_by_role("button", name="Save").click()
        expect(page.get_by_role("status").first).to_contain_text("changed")
        assert self._status(served, tokens, acme) == 401
        narrowed = pasted(exchange)
        assert self._status(served, narrowed, acme) == 403

        # Rotated without an overlap: the old secret is refused, the new one is good.
        page.get_by_role("link", name="Rotate").click()
        page.get_by_role("radio", name=re.compile("^Not at all")).check()
        page.get_by_role("button", name="Give it a new secret").click()
        assert page.get_by_label("Secret of on the line").input_value() != first_secret
        renewed = shown(page, "Exchange it for tokens")
        assert pasted(exchange)["error"] == "invalid_grant"
        tokens = pasted(renewed)
        page.get_by_role("link", name="I have saved it").click()

        # Revoked: the page says what breaks, and everything is refused.
        page.goto(key)
        page.get_by_role("link", name="Revoke").click()
        expect(page.get_by_role("main")).to_contain_text("last used")
        accessible(page)
        page.get_by_role("button", name="Revoke").click()
        expect(page.get_by_role("main")).to_contain_text("revoked")
        assert pasted(renewed)["error"] == "invalid_grant"
        assert self._status(served, tokens, acme) == 401
        expect(trail.get_by_role("rowheader", name="api_key.revoked").first).to_be_visible()

        # Somebody is invited, and comes in with a browser of their own.
        page.get_by_role("link", name="Invitations").click()
        page.get_by_role("link", name=re.compile("^Invite")).first.click()
        email = f"{fresh('grace')}@example.com"
        page.get_by_label("Email").fill(email)
        page.get_by_role("radio", name=re.compile("^viewer")).check()
        page.get_by_role("button", name="Invite").click()
        link = page.get_by_label("Link").input_value()
        page.get_by_role("link", name="I have sent it").click()
        guest = new_context().new_page()
        guest.goto(link)
        guest.get_by_label("Your name").fill("Grace")
        guest.get_by_label("Password", exact=True).fill(PASSWORD)
        guest.get_by_label("Password again").fill(PASSWORD)
        accessible(guest)
        guest.get_by_role("button", name="Accept").click()
        guest.get_by_role("link", name="Sign in").click()
        guest.get_by_label("Email").fill(email)
        guest.get_by_label("Password").fill(PASSWORD)
        guest.get_by_role("button", name="Sign in").click()
        expect(guest.get_by_role("heading", level=1)).to_have_text("acme")
        guest.get_by_role("link", name="Service users").click()
        expect(guest.get_by_role("link", name="New service user")).to_have_count(0)

        # What went on is seen at a glance.
        page.get_by_role("link", name="Overview").click()
        expect(page.get_by_role("img", name=re.compile("^Tokens"))).to_be_visible()
        accessible(page)
        shot(page, "overview")
        page.emulate_media(color_scheme="dark")
        page.get_by_role("link", name="Roles", exact=True).click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Roles")
        shot(page, "roles")
        page.emulate_media(color_scheme="light")
        page.set_viewport_size({"width": 375, "height": 720})
        page.get_by_role("link", name="Service users").click()
        expect(page.get_by_role("link", name="billing")).to_be_visible()
        shot(page, "phone")

    @staticmethod
    def _status(served: Served, tokens: dict[str, Any], tenant: str) -> int:
        headers = {"authorization": f"Bearer {tokens['access_token']}", "x-tenant-id": tenant}
        answer = served.http.get(f"{served.base_url}/iam/tenants/current", headers=headers)
        return answer.status_code
