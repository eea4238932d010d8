"""What goes on in a tenant, and the platform's keys: each page on all screens."""

from __future__ import annotations

from collections.abc import Callable

from playwright.sync_api import Page, expect

from tests.browser.chromium import Screen
from tests.browser.console import go, sign_in
from tests.browser.serving import TENANT_ADMIN_ROLE, Served

Accessible = Callable[[Page], None]


class TestEachPage:
    def test_of_what_goes_on(
        self, page: Page, screen: Screen, served: Served, accessible: Accessible
    ) -> None:
        ada = served.person(served.tenant())
        robot = served.service_user(ada.tenant)
        tokens = served.exchange(username=robot["email"], password=robot["api_key"]["secret"])
        served.http.post(
            f"{served.base_url}/iam/auth/token",
            data={"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]},
        )
        sign_in(page, served, ada)
        for path in (
            "",
            "?period=year",
            "/audit",
            "/audit?since=nonsense",
            "/audit?action=nothing",
            "/sessions",
            f"/sessions?user_id={robot['id']}",
            f"/revocations?kind=user_id&subject={robot['id']}",
        ):
            go(page, served, path, ada)
            self._is_good(page, accessible)

    def test_of_the_platform_s_keys(
        self, page: Page, screen: Screen, served: Served, accessible: Accessible
    ) -> None:
        who = served.exchange(
            username=served.demo.admin_username, password=served.demo.admin_api_key
        )
        headers = {"authorization": f"Bearer {who['access_token']}"}
        me = served.http.get(f"{served.base_url}/iam/users/me", headers=headers).json()
        [root] = {r["tenant_id"] for r in me["roles"] if r["tenant_name"] == "platform"}
        root_admin = served.person(root, TENANT_ADMIN_ROLE)
        sign_in(page, served, root_admin)
        for path in ("/signing-keys", "/signing-keys/import", "/signing-keys/rotate"):
            go(page, served, path, root_admin)
            self._is_good(page, accessible)
        expect(page.get_by_role("link", name="Signing keys")).to_be_visible()

    @staticmethod
    def _is_good(page: Page, accessible: Accessible) -> None:
        expect(page.get_by_role("heading", level=1)).to_have_count(1)
        accessible(page)
        wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert wide <= 0, f"{page.url} is {wide} px wider than the screen"


class TestAudit:
    def test_a_new_event_appears_by_itself(self, page: Page, served: Served) -> None:
        ada = served.person(served.tenant())
        sign_in(page, served, ada)
        go(page, served, "/audit", ada)
        served.service_user(ada.tenant)
        expect(page.get_by_role("rowheader", name="service_user.created")).to_be_visible()
