"""Webhooks at the console: made with a secret that is shown once, tested, tried again."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from keyturn.server.domain import webhooks as rules
from keyturn.server.domain.permissions import VIEWER
from tests.http.conftest import Running
from tests.http.console.conftest import Console, Enter
from tests.receiver import Receiver, receiving, status


@pytest.fixture
async def service(start: Callable[..., Any]) -> Running:
    """A service that may call this machine, as the receiver is on it."""
    running: Running = await start(webhook_networks="127.0.0.0/8")
    return running


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as found:
        yield found


async def made(console: Console, receiver: Receiver) -> str:
    """The address of a new webhook, made by REST."""
    body = {"name": "Incidents <i>", "url": receiver.url, "events": ["api_key.revoked"]}
    answer = await console.rest.post("/webhooks", body)
    assert answer.status_code == 201, answer.text
    return f"/webhooks/{answer.json()['id']}"


async def tried(console: Console, at: str, state: str) -> str:
    """The webhook's page, when its one delivery is in that state."""
    async with asyncio.timeout(20):
        while True:
            answer = await console.rest.get(f"{at}/deliveries")
            [delivery] = answer.json()["items"]
            if delivery["state"] == state:
                return await console.page(at)
            await asyncio.sleep(0.02)


FIELDS = {"name": "Pager", "expiring_days": "30, 7", "unused_days": "60"}


class TestNew:
    async def test_its_secret_is_shown_once(self, console: Console, receiver: Receiver) -> None:
        fields = {**FIELDS, "url": receiver.url, "events": ["api_key.revoked", "api_key.leaked"]}
        answer = await console.post("/webhooks/new", fields)
        assert answer.status_code == 200
        assert answer.headers["cache-control"] == "no-store"
        [secret] = re.findall(r'value="(whsec_[^"]+)"', answer.text)
        [webhook] = (await console.rest.get("/webhooks")).json()["items"]
        assert webhook["events"] == ["api_key.revoked", "api_key.leaked"]
        assert (webhook["expiring_days"], webhook["unused_days"]) == ([30, 7], 60)
        for path in ("/webhooks", f"/webhooks/{webhook['id']}"):
            page = await console.page(path)
            assert "Pager" in page
            assert secret not in page

    async def test_sent_twice_it_is_one(self, console: Console, receiver: Receiver) -> None:
        fields = {**FIELDS, "url": receiver.url, "all_events": "on", "once": "the same"}
        pages = [(await console.post("/webhooks/new", fields)).text for _ in range(2)]
        secrets = {re.findall(r'value="(whsec_[^"]+)"', page)[0] for page in pages}
        assert len(secrets) == 1
        [webhook] = (await console.rest.get("/webhooks")).json()["items"]
        assert webhook["events"] is None

    @pytest.mark.parametrize(
        ("field", "change"),
        [
            ("events", {}),
            ("events", {"all_events": "on", "events": "api_key.leaked"}),
            ("url", {"all_events": "on", "url": "http://example.com/"}),
            ("expiring_days", {"all_events": "on", "expiring_days": "soon"}),
            ("unused_days", {"all_events": "on", "unused_days": "long"}),
            ("unused_days", {"all_events": "on", "unused_days": "0"}),
        ],
        ids=str,
    )
    async def test_a_refusal_stands_at_its_field(
        self, console: Console, receiver: Receiver, field: str, change: dict[str, str]
    ) -> None:
        answer = await console.post(
            "/webhooks/new", {**FIELDS, "url": receiver.url, "name": "Pager <b>"} | change
        )
        assert answer.status_code == 400
        assert f'id="e-{field}"' in answer.text
        assert 'value="Pager &lt;b&gt;"' in answer.text
        assert (await console.rest.get("/webhooks")).json()["items"] == []


class TestOne:
    async def test_a_test_arrives_and_is_shown(self, console: Console, receiver: Receiver) -> None:
        at = await made(console, receiver)
        page = await console.done(f"{at}/test", form=at)
        assert "A test is on its way" in page
        assert 'hx-trigger="load delay:2s"' in page
        page = await tried(console, at, "delivered")
        assert receiver.got[0].event["type"] == "webhook.test"
        assert '<td data-label="Latest answer">204' in page
        assert 'hx-trigger="load' not in page

    async def test_dead_ones_are_tried_again(
        self, console: Console, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(rules, "BACK_OFF", (0,))
        at = await made(console, receiver)
        receiver.usual = status(500)
        await console.done(f"{at}/test", form=at)
        page = await tried(console, at, "dead")
        [again] = re.findall(rf"{at}/deliveries/[\w-]+/retry", page)
        for path in (again, f"{at}/retry"):
            assert "tried again" in await console.done(path, form=at)
            page = await tried(console, at, "dead")
        assert len(receiver.got) == 6
        assert "500" in page
        assert "Try all dead ones again" in await console.page(f"{at}?state=pending")
        assert "No delivery is pending." in await console.page(f"{at}?state=pending")

    async def test_it_is_edited_unless_somebody_else_did(
        self, console: Console, receiver: Receiver
    ) -> None:
        at = await made(console, receiver)
        form = await console.page(f"{at}/edit")
        assert "Incidents &lt;i&gt;" in form
        fields = {**FIELDS, "url": receiver.url, "all_events": "on"}
        await console.done(f"{at}/edit", fields)
        assert (await console.rest.get(at)).json()["name"] == "Pager"
        answer = await console.post(f"{at}/edit", {**fields, "etag": '"1"'})
        assert answer.status_code == 400
        assert 'id="faults"' in answer.text

    async def test_it_is_disabled_and_enabled(self, console: Console, receiver: Receiver) -> None:
        at = await made(console, receiver)
        page = await console.done(f"{at}/disable")
        assert "by an administrator" in page
        assert f"{at}/test" not in page
        again = await console.get(f"{at}/disable")
        assert again.status_code == 409
        assert "is disabled" in again.text
        page = await console.done(f"{at}/enable", form=at)
        assert f"{at}/test" in page

    async def test_a_new_secret_is_shown_once(self, console: Console, receiver: Receiver) -> None:
        at = await made(console, receiver)
        answer = await console.post(f"{at}/rotate")
        [secret] = re.findall(r'value="(whsec_[^"]+)"', answer.text)
        page = await console.page(at)
        assert "Old secret" in page
        assert secret not in page
        await console.done(f"{at}/test", form=at)
        await tried(console, at, "delivered")
        assert receiver.got[0].signed_by(secret)

    async def test_it_is_deleted(self, console: Console, receiver: Receiver) -> None:
        at = await made(console, receiver)
        assert "those that wait" in await console.page(f"{at}/delete")
        await console.done(f"{at}/delete")
        assert (await console.get(at)).status_code == 404


class TestViewers:
    async def test_they_may_not_look(self, enter: Enter) -> None:
        viewer = await enter(VIEWER)
        for path in ("/webhooks", "/webhooks/new"):
            assert (await viewer.get(path)).status_code == 403
