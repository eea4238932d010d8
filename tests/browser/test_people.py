"""Members, invitations and roles, as a person with a browser meets them."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import NewContext
from tests.browser.console import go, sign_in
from tests.browser.keyboard import press, tab_to
from tests.browser.serving import Person, Served, fresh
from tests.live_server import eventually

Accessible = Callable[[Page], None]
PASSWORD = "three small steps and a fence"


@pytest.fixture(scope="module")
def ada(served: Served) -> Person:
    """The administrator of a tenant with a service user and a role of its own."""
    tenant = served.tenant("Harbour")
    ada = served.person(tenant)
    served.service_user(tenant, name="Gateway")
    for name in ("assets:read", "assets:write", "assets:types:read"):
        described = {"description": f"What {name} opens."}
        served.api("PUT", f"/permissions/{name}", described, tenant=tenant)
    role = {"name": "field engineer", "permissions": ["assets:read", "users:read"]}
    served.api("POST", "/roles", role, tenant=tenant)
    return ada


def invite(page: Page, served: Served, who: Person, email: str) -> str:
    """Invites at the console; gives the link."""
    go(page, served, "/invitations/new", who)
    page.get_by_label("Email").fill(email)
    page.get_by_role("radio", name="viewer").check()
    page.get_by_role("button", name="Invite").click()
    return page.get_by_label("Link").input_value()


def narrow(page: Page) -> bool:
    """Whether the page is no wider than its screen."""
    return bool(page.evaluate("document.documentElement.scrollWidth <= innerWidth"))


@pytest.mark.usefixtures("screen")
class TestEveryScreen:
    def test_pages_of_people(
        self, page: Page, served: Served, ada: Person, accessible: Accessible
    ) -> None:
        sign_in(page, served, ada)
        at = f"/members/{ada.id}"
        role = "00000000-0000-7000-8000-000000000001"
        for path, title in (
            ("/members", "Members"),
            (at, "Ada"),
            (f"{at}/remove", "Remove Ada from"),
            (f"{at}/roles/{role}/take", "Take the role tenant-admin"),
            ("/members/add", "Give a role: to whom?"),
            (f"/members/add?user_id={ada.id}", "Give Ada a role"),
            ("/invitations/new", "Invite somebody"),
            ("/invitations", "Invitations"),
        ):
            go(page, served, path, ada)
            expect(page.get_by_role("heading", level=1)).to_contain_text(title)
            accessible(page)
            assert narrow(page), path

    def test_pages_of_roles(
        self, page: Page, served: Served, ada: Person, accessible: Accessible
    ) -> None:
        sign_in(page, served, ada)
        go(page, served, "/roles", ada)
        accessible(page)
        assert narrow(page)
        page.get_by_role("link", name="field engineer").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("field engineer")
        accessible(page)
        for action in ("Edit", "Delete"):
            page.get_by_role("link", name=action, exact=True).click()
            expect(page.get_by_role("heading", level=1)).to_contain_text(f"{action} ")
            accessible(page)
            assert narrow(page), action
            page.get_by_role("link", name="Cancel").click()
        for path in ("/roles/new", "/permissions", "/permissions/register"):
            go(page, served, path, ada)
            accessible(page)
            assert narrow(page), path

    def test_the_page_to_accept_at(
        self, page: Page, served: Served, accessible: Accessible
    ) -> None:
        page.goto(f"{served.base_url}/console/invitation")
        accessible(page)
        page.get_by_label("Code").fill("kti_nothing")
        page.get_by_role("button", name="See who invites you").click()
        expect(page.get_by_text("is not valid, or not any more").first).to_be_visible()
        accessible(page)
        assert narrow(page)


class TestInvitation:
    def test_somebody_new_comes_by_the_link(
        self,
        page: Page,
        new_context: NewContext,
        served: Served,
        ada: Person,
        accessible: Accessible,
    ) -> None:
        email = f"{fresh('grace')}@example.com"
        sign_in(page, served, ada)
        link = invite(page, served, ada, email)
        assert re.fullmatch(rf"{served.base_url}/console/invitation#code=kti_\w{{43}}", link)
        expect(page.get_by_text("No letter went out")).to_be_visible()
        accessible(page)
        page.get_by_role("link", name="I have sent it").click()
        expect(page.get_by_role("row").filter(has_text=email)).to_contain_text("pending")

        guest = new_context().new_page()
        asked: list[str] = []
        guest.on("request", lambda request: asked.append(request.url))
        guest.goto(link)
        code = link.partition("#code=")[2]
        # The script sends the code: who invites is told before a password is asked for.
        expect(guest.get_by_text("invites you to")).to_contain_text("viewer")
        accessible(guest)
        assert narrow(guest)
        assert "#" not in guest.url
        # A password that is tried first is refused at its field, and what was typed stays.
        guest.get_by_label("Your name").fill("Grace")
        guest.get_by_label("Password", exact=True).fill("password1234")
        guest.get_by_label("Password again").fill("password1234")
        guest.get_by_role("button", name="Accept").click()
        expect(guest.locator("#e-password")).to_contain_text("tried first")
        expect(guest.get_by_label("Your name")).to_have_value("Grace")
        guest.get_by_label("Password", exact=True).fill(PASSWORD)
        guest.get_by_label("Password again").fill(PASSWORD)
        guest.get_by_role("button", name="Accept").click()
        expect(guest.get_by_role("heading", level=1)).to_have_text("Welcome")
        accessible(guest)
        guest.get_by_role("link", name="Sign in").click()
        guest.get_by_label("Email").fill(email)
        guest.get_by_label("Password").fill(PASSWORD)
        guest.get_by_role("button", name="Sign in").click()
        expect(guest).to_have_url(re.compile(rf"/console/t/{ada.tenant}"))
        assert not [url for url in asked if code in url]

        go(guest, served, "/members", ada)
        expect(guest.get_by_role("row").filter(has_text=email)).to_contain_text("viewer")
        expect(guest.get_by_role("link", name="Invite somebody")).to_have_count(0)
        go(page, served, "/invitations?state=accepted", ada)
        expect(page.get_by_role("row").filter(has_text=email)).to_contain_text("accepted")

    def test_without_the_script_the_link_is_pasted(
        self, page: Page, new_context: NewContext, served: Served, ada: Person
    ) -> None:
        sign_in(page, served, ada)
        link = invite(page, served, ada, f"{fresh('hedy')}@example.com")
        guest = new_context(java_script_enabled=False).new_page()
        guest.goto(f"{served.base_url}/console/invitation")
        guest.get_by_label("Code").fill(link)
        guest.get_by_role("button", name="See who invites you").click()
        guest.get_by_label("Password", exact=True).fill(PASSWORD)
        guest.get_by_label("Password again").fill(PASSWORD)
        guest.get_by_role("button", name="Accept").click()
        expect(guest.get_by_role("heading", level=1)).to_have_text("Welcome")

    def test_one_that_is_withdrawn_is_good_for_nothing(
        self, page: Page, new_context: NewContext, served: Served, ada: Person
    ) -> None:
        email = f"{fresh('emmy')}@example.com"
        sign_in(page, served, ada)
        link = invite(page, served, ada, email)
        page.get_by_role("link", name="I have sent it").click()
        page.get_by_role("link", name=f"Withdraw the invitation of {email}").click()
        expect(page.get_by_text("nobody comes in as viewer")).to_be_visible()
        page.get_by_role("button", name="Withdraw").click()
        expect(page.get_by_role("status").filter(has_text="withdrawn")).to_be_visible()
        guest = new_context().new_page()
        guest.goto(link)
        expect(guest.locator("#e-code")).to_contain_text("not valid")


class TestMembers:
    def test_a_role_is_given_and_taken(self, page: Page, served: Served, ada: Person) -> None:
        sign_in(page, served, ada)
        go(page, served, "/members", ada)
        page.get_by_role("link", name="Give a role").click()
        # The list follows what is typed.
        page.get_by_role("searchbox", name="Search by name or address").fill("gate")
        expect(page.get_by_role("row").filter(has_text="Ada")).to_have_count(0)
        page.get_by_role("link", name="Gateway").click()
        page.get_by_role("radio", name="auditor").check()
        page.get_by_role("button", name="Give it").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Gateway")
        page.get_by_role("link", name="Take away the role auditor").click()
        expect(page.get_by_text("new ones carry the other roles")).to_be_visible()
        page.get_by_role("button", name="Take away").click()
        expect(page.get_by_role("status").filter(has_text="taken away")).to_be_visible()
        expect(page.get_by_role("row").filter(has_text="auditor")).to_have_count(0)

    def test_the_last_administrator_is_told_why_not(
        self, page: Page, served: Served, ada: Person
    ) -> None:
        sign_in(page, served, ada)
        go(page, served, f"/members/{ada.id}", ada)
        page.get_by_role("link", name="Remove from the tenant").click()
        page.get_by_role("button", name="Remove").click()
        expect(page.get_by_role("alert")).to_contain_text("last administrator stays")


class TestRoles:
    def test_one_is_changed_by_keyboard_alone(
        self, page: Page, served: Served, ada: Person
    ) -> None:
        name = fresh("operator")
        sign_in(page, served, ada)
        go(page, served, "/roles", ada)
        press(page.get_by_role("link", name="New role"))
        tab_to(page.get_by_role("textbox", name="Name"))
        page.keyboard.type(name)
        press(page.get_by_role("checkbox", name="assets:types:read"), "Space", most=80)
        press(page.get_by_role("button", name="Make it"), most=80)
        expect(page.get_by_role("heading", level=1)).to_have_text(name)
        press(page.get_by_role("link", name="Edit"))
        press(page.get_by_role("checkbox", name="assets:write"), "Space", most=80)
        press(page.get_by_role("button", name="Save"), most=80)
        expect(page.get_by_role("status").filter(has_text="Saved")).to_be_visible()
        go(page, served, "/roles", ada)
        column = page.locator("thead th").all_inner_texts()
        at = next(number for number, text in enumerate(column) if name in text)
        for permission, said in (("assets:write", "yes"), ("assets:read", "no")):
            row = page.locator("tbody tr").filter(has=page.get_by_text(permission, exact=True))
            assert said in row.locator("td").nth(at - 1).inner_text()

    def test_the_matrix_is_moved_by_keyboard(
        self, new_context: NewContext, served: Served, ada: Person
    ) -> None:
        page = new_context(viewport={"width": 375, "height": 812}).new_page()
        sign_in(page, served, ada)
        go(page, served, "/roles", ada)
        matrix = page.get_by_role("region", name="Permissions of each role")
        tab_to(matrix)
        first = matrix.locator("tbody th code").first
        before = first.bounding_box()
        for _ in range(5):
            page.keyboard.press("ArrowRight")
        eventually(lambda: matrix.evaluate("element => element.scrollLeft") > 0, 15)
        assert first.bounding_box() == before

    def test_one_that_is_held_is_deleted_when_asked_twice(
        self, page: Page, served: Served, ada: Person
    ) -> None:
        name = fresh("diver")
        role = served.api("POST", "/roles", {"name": name, "permissions": []}, tenant=ada.tenant)
        robot = served.service_user(ada.tenant, name="Sub", role_id=role["id"])
        sign_in(page, served, ada)
        go(page, served, f"/roles/{role['id']}", ada)
        page.get_by_role("link", name="Delete").click()
        expect(page.get_by_text(f"the role of Sub ({robot['email']})")).to_be_visible()
        page.get_by_role("button", name="Delete").click()
        expect(page.get_by_role("alert")).to_contain_text("in use")
        page.get_by_role("button", name="Delete it, and take it from everybody").click()
        expect(page.get_by_role("status").filter(has_text="The role is gone")).to_be_visible()
