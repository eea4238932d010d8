"""What a tenant has, in a browser: endpoints, resource servers, webhooks, tenants below, policy."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.console import go, sign_in
from tests.browser.keyboard import press, tab_to
from tests.browser.serving import Person, Served, Template, served_by
from tests.live_server import LiveServer
from tests.receiver import Receiver, receiving, status


@pytest.fixture(scope="module")
def served(
    demo_template: Template, tmp_path_factory: pytest.TempPathFactory, log_dir: Path
) -> Iterator[Served]:
    """A service that may call this machine, as the receiver is on it."""
    url = demo_template.copied(tmp_path_factory.mktemp("resources"))
    secret = demo_template.demo.master_secret
    server = LiveServer(log_dir, url, secret, webhook_networks="127.0.0.0/8")
    with served_by(server, demo_template.demo) as running:
        yield running


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    """A receiver in a thread of its own: the browser holds this one's loop."""
    started, stop = threading.Event(), threading.Event()
    found: list[Receiver] = []

    async def receive() -> None:
        async with receiving() as running:
            found.append(running)
            started.set()
            await asyncio.to_thread(stop.wait, 300)

    thread = threading.Thread(target=asyncio.run, args=(receive(),), daemon=True)
    thread.start()
    assert started.wait(20)
    yield found[0]
    stop.set()
    thread.join(20)


@dataclass(frozen=True, slots=True)
class There:
    """What the pages show: an administrator, and ids in the tenant."""

    ada: Person
    endpoint: str
    server: str
    webhook: str
    below: str

    @property
    def paths(self) -> list[str]:
        """Every page, in the order of the navigation; one of those that ask stands for all."""
        endpoint, server = f"/endpoints/{self.endpoint}", f"/resource-servers/{self.server}"
        webhook, below = f"/webhooks/{self.webhook}", f"/tenants/{self.below}"
        return [
            "/endpoints",
            "/endpoints/new",
            "/endpoints/import",
            *(endpoint + form for form in ("", "/edit")),
            "/resource-servers",
            "/resource-servers/new",
            *(server + form for form in ("", "/edit")),
            "/webhooks",
            "/webhooks/new",
            *(webhook + form for form in ("", "/edit")),
            "/tenants",
            "/tenants/new",
            *(below + form for form in ("", "/edit", "/suspend")),
            "/policy",
            "/policy/edit",
        ]


@pytest.fixture(scope="module")
def there(served: Served, receiver: Receiver) -> There:
    """One of each, by REST."""
    tenant = served.tenant("Harbour")

    def make(what: str, /, **fields: object) -> str:
        return str(served.api("POST", what, fields, tenant=tenant)["id"])

    opened = [["assets:read"], ["assets:write", "assets:list"]]
    call = {"service": "assets", "method": "GET"}
    endpoint = make("/endpoints", path="/assets/{id}", name="Read one", opened_by=opened, **call)
    make("/endpoints", path="/old", name="Old", opened_by=[[]], deprecated=True, **call)
    server = make("/resource-servers", identifier="https://assets.example", name="Assets")
    webhook = make("/webhooks", name="Pager", url=receiver.url)
    below = make("/tenants", name="Pier")
    served.api("POST", "/tenants", {"name": "Bollard"}, tenant=below)
    policy = {"max_api_key_lifetime": 7_776_000, "single_token": True}
    served.api("PUT", f"/tenants/{tenant}/policy", policy)
    served.api("POST", f"/webhooks/{webhook}/test", tenant=tenant)
    return There(served.person(tenant), endpoint, server, webhook, below)


@pytest.fixture
def at(page: Page, served: Served, there: There) -> Callable[[str], None]:
    """`at(path)` goes to a page of the tenant, as its administrator."""
    sign_in(page, served, there.ada)
    return lambda path: go(page, served, path, there.ada)


OVERFLOWS = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest.mark.usefixtures("screen")
def test_each_page_is_for_everybody(
    page: Page, there: There, at: Callable[[str], None], accessible: Callable[[Page], None]
) -> None:
    for path in there.paths:
        at(path)
        expect(page.get_by_role("heading", level=1)).to_have_count(1)
        accessible(page)
        assert page.evaluate(OVERFLOWS) <= 0, f"{path} is wider than the screen"


def test_a_document_is_imported_from_a_file(
    page: Page, at: Callable[[str], None], tmp_path: Path
) -> None:
    read = {"operationId": "listBills", "x-permissions": ["bills:read"], "responses": {}}
    document = {
        "openapi": "3.1.0",
        "info": {"title": "Billing", "version": "1"},
        "paths": {"/bills": {"get": read, "post": {"operationId": "makeBill", "responses": {}}}},
    }
    at("/endpoints/import")
    page.get_by_label("Service").fill("billing")
    page.get_by_label("OpenAPI document").fill("{")
    page.get_by_role("button", name="Import").click()
    expect(page.locator("#e-document")).to_contain_text("JSON")
    file = tmp_path / "openapi.json"
    file.write_text(json.dumps(document), encoding="utf-8")
    page.get_by_label("A file").set_input_files(file)
    expect(page.get_by_label("OpenAPI document")).to_have_value(json.dumps(document))
    page.get_by_role("button", name="Import").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("billing is imported")
    expect(page.get_by_text(re.compile("^new$")).locator("..")).to_contain_text("2")
    expect(page.get_by_text("What could not be taken over")).to_be_visible()
    page.get_by_role("link", name="Look at its endpoints").click()
    expect(page.get_by_role("row", name="GET /bills")).to_contain_text("bills:read")


def test_the_catalogue_is_searched_while_typing(
    page: Page, at: Callable[[str], None], accessible: Callable[[Page], None]
) -> None:
    at("/endpoints")
    page.get_by_label("Name or path").press_sequentially("old")
    expect(page.get_by_role("row", name="/assets/{id}")).to_have_count(0)
    expect(page.get_by_role("row", name="GET /old")).to_contain_text("deprecated")
    expect(page).to_have_url(re.compile("q=old"))
    accessible(page)


def test_a_webhook_is_made_and_its_test_delivered(
    page: Page, at: Callable[[str], None], accessible: Callable[[Page], None], receiver: Receiver
) -> None:
    receiver.got.clear()
    at("/webhooks/new")
    page.get_by_label("Name").fill("Incidents")
    page.get_by_label("URL").fill(receiver.url)
    page.get_by_role("button", name="Make it").click()
    secret = page.get_by_label("Signing secret").input_value()
    assert secret.startswith("whsec_")
    accessible(page)
    page.get_by_role("link", name="I have saved it").click()
    page.get_by_role("button", name="Send a test").click()
    expect(page.get_by_role("status").first).to_have_text(re.compile("A test is on its way"))
    row = page.get_by_role("row", name="webhook.test")
    # Without another click: the list looks again.
    expect(row).to_contain_text("delivered")
    expect(row).to_contain_text("204")
    accessible(page)
    assert receiver.got[0].signed_by(secret)
    assert secret not in page.content()


def test_a_failed_delivery_says_what_was_answered(
    page: Page, at: Callable[[str], None], there: There, receiver: Receiver
) -> None:
    receiver.answers.append(status(503))
    at(f"/webhooks/{there.webhook}")
    page.get_by_role("button", name="Send a test").click()
    expect(page.get_by_role("row", name="503")).to_contain_text("pending")
    page.get_by_role("link", name="Delivered").click()
    expect(page.get_by_role("row", name="pending")).to_have_count(0)


def test_a_tenant_is_suspended_by_the_keyboard(
    page: Page, at: Callable[[str], None], accessible: Callable[[Page], None]
) -> None:
    at("/tenants/new")
    page.keyboard.type("Crane")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Crane")
    press(page.get_by_role("link", name="Suspend"))
    expect(page.get_by_text("This ends at once")).to_be_visible()
    press(page.get_by_role("button", name="Suspend"))
    expect(page.get_by_text("suspended", exact=True)).to_be_visible()
    accessible(page)
    press(page.get_by_role("button", name="Resume"))
    expect(page.get_by_text("active", exact=True)).to_be_visible()


def test_a_policy_is_settled_by_the_keyboard(
    page: Page, at: Callable[[str], None], accessible: Callable[[Page], None]
) -> None:
    at("/policy/edit")
    tab_to(page.get_by_label("API keys end when unused for optional"))
    page.keyboard.type("0")
    page.keyboard.press("Enter")
    expect(page.locator("#faults")).to_be_focused()
    expect(page.locator("#e-api_key_idle_timeout")).to_contain_text("at most 3,650 days")
    accessible(page)
    tab_to(page.get_by_label("API keys end when unused for optional"))
    page.keyboard.press("Control+a")
    page.keyboard.type("30")
    page.keyboard.press("Enter")
    row = page.get_by_role("row", name="API keys end when unused for")
    expect(row).to_contain_text("30 days")
    expect(row).to_contain_text("this tenant")


def test_pages_work_without_the_script(
    new_context: Callable[..., object], served: Served, there: There
) -> None:
    page = new_context(java_script_enabled=False).new_page()  # type: ignore[attr-defined]
    sign_in(page, served, there.ada)
    go(page, served, "/endpoints", there.ada)
    page.get_by_label("Name or path").fill("old")
    page.get_by_role("button", name="Search").click()
    expect(page.get_by_role("row", name="GET /old")).to_be_visible()
    expect(page.get_by_role("row", name="/assets/{id}")).to_have_count(0)
