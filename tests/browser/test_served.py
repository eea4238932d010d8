"""The service as a browser finds it, and what tests make in it."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page

from tests.browser.serving import Served

KEYS = "/.well-known/jwks.json"


@pytest.mark.parametrize("served", ["sqlite", "postgres"], indirect=True)
class TestServed:
    def test_a_browser_reaches_it(self, page: Page, served: Served) -> None:
        answer = page.goto(f"{served.base_url}{KEYS}")
        assert answer is not None
        assert answer.status == 200
        assert "ES256" in page.content()

    def test_tests_make_what_they_look_at(self, served: Served) -> None:
        tenant = served.tenant("edge")
        robot = served.service_user(tenant, name="Gateway")
        ada = served.person(tenant)
        listed = served.api("GET", "/service-users", tenant=tenant)["items"]
        assert [user["id"] for user in listed] == [robot["id"]]
        tokens = served.exchange(username=ada.email, password=ada.api_key)
        me = served.me(tokens["access_token"]).json()
        assert (me["sub"], me["kind"]) == (ada.id, "human")
        assert ada.password not in repr(ada)

    def test_a_call_that_is_refused_fails_the_test(self, served: Served) -> None:
        with pytest.raises(AssertionError, match="not_found"):
            served.api("GET", f"/tenants/{served.demo.key_id}")


class TestServedByTls:
    def test_a_browser_keeps_a_cookie_of_this_host_alone(
        self, page: Page, served_https: Served
    ) -> None:
        assert served_https.base_url.startswith("https://127.0.0.1:")
        page.goto(f"{served_https.base_url}{KEYS}")
        page.evaluate("document.cookie = '__Host-keyturn=kept; Secure; Path=/; SameSite=Lax'")
        [cookie] = page.context.cookies()
        assert (cookie["name"], cookie["secure"], cookie["domain"]) == (
            "__Host-keyturn",
            True,
            "127.0.0.1",
        )

    def test_tests_make_what_they_look_at(self, served_https: Served) -> None:
        assert served_https.api("GET", "/roles")["items"]
