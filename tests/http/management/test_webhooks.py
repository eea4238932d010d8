"""`/webhooks`: made, changed, signed for, and what becomes of what they are told."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from keyturn.server.domain import webhooks as rules
from keyturn.server.domain.events import EVENT_TYPES
from keyturn.server.domain.ids import new_id
from keyturn.server.domain.permissions import TENANT_ADMIN, VIEWER
from keyturn.server.services.management import webhooks as management
from tests.http.conftest import Running
from tests.http.contract import document
from tests.http.management.conftest import Person, person
from tests.receiver import Receiver, receiving, status

PATH = "/webhooks"


@pytest.fixture
async def service(start: Callable[..., Any]) -> Running:
    """A service that may call this machine, as the receiver is on it."""
    running: Running = await start(webhook_networks="127.0.0.0/8")
    return running


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as found:
        yield found


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pauses between tries."""
    monkeypatch.setattr(rules, "BACK_OFF", (0,) * len(rules.BACK_OFF))


async def made(admin: Person, receiver: Receiver, **more: Any) -> dict[str, Any]:
    answer = await admin.post(PATH, {"name": "Incidents", "url": receiver.url, **more})
    assert answer.status_code == 201, answer.text
    webhook: dict[str, Any] = answer.json()
    return webhook


async def events(admin: Person, target: str) -> list[tuple[str, Any]]:
    """What the trail says of it, the oldest first."""
    answer = await admin.get("/audit-events", params={"target": target})
    return [(item["action"], item["data"]) for item in reversed(answer.json()["items"])]


async def deliveries(admin: Person, webhook: dict[str, Any], **params: str) -> list[dict[str, Any]]:
    answer = await admin.get(f"{PATH}/{webhook['id']}/deliveries", params=params)
    assert answer.status_code == 200, answer.text
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


async def ended(admin: Person, webhook: dict[str, Any], state: str) -> dict[str, Any]:
    """The one delivery, when it is in that state."""
    async with asyncio.timeout(20):
        while True:
            [delivery] = await deliveries(admin, webhook)
            if delivery["state"] == state:
                return delivery
            await asyncio.sleep(0.02)


class TestCreateWebhook:
    async def test_201(self, admin: Person, receiver: Receiver) -> None:
        body = {"name": "Incidents", "url": receiver.url}
        answer = await admin.post(PATH, body)
        assert answer.status_code == 201
        webhook = answer.json()
        assert re.fullmatch(r"whsec_[0-9A-Za-z+/]{43}=", webhook.pop("secret"))
        assert webhook == {
            **body,
            "id": webhook["id"],
            "href": f"/iam/webhooks/{webhook['id']}",
            "events": None,
            "expiring_days": [30, 7, 1],
            "unused_days": 90,
            "enabled": True,
            "disabled_at": None,
            "disabled_reason": None,
            "old_secret_until": None,
            "tenant_id": admin.tenant,
            "created_at": webhook["created_at"],
        }
        assert answer.headers["location"] == webhook["href"]
        read = await admin.get(f"{PATH}/{webhook['id']}")
        assert (read.json(), read.headers["etag"]) == (webhook, answer.headers["etag"])
        assert (await admin.get(PATH)).json()["items"] == [webhook]

    async def test_201_audited_without_what_is_secret(
        self, admin: Person, receiver: Receiver
    ) -> None:
        webhook = await made(admin, receiver, events=["api_key.revoked"], expiring_days=[1, 5, 1])
        assert await events(admin, webhook["id"]) == [
            (
                "webhook.created",
                {
                    "after": {
                        "name": "Incidents",
                        "host": f"127.0.0.1:{receiver.port}",
                        "events": ["api_key.revoked"],
                        "expiring_days": [5, 1],
                        "unused_days": 90,
                        "enabled": True,
                    }
                },
            )
        ]

    async def test_201_once_with_an_idempotency_key(
        self, admin: Person, receiver: Receiver
    ) -> None:
        body = {"name": "x", "url": receiver.url}
        first, second = [
            await admin.post(PATH, body, headers={"Idempotency-Key": "k-1"}) for _ in range(2)
        ]
        assert (second.status_code, second.json()) == (201, first.json())
        assert len((await admin.get(PATH)).json()["items"]) == 1

    @pytest.mark.parametrize(
        ("change", "field"),
        [
            ({"name": ""}, "name"),
            ({"url": None}, "url"),
            ({"events": []}, "events"),
            ({"events": ["api_key.used"]}, "events.0"),
            ({"events": ["webhook.test"]}, "events.0"),
            ({"expiring_days": [0]}, "expiring_days.0"),
            ({"expiring_days": None}, "expiring_days"),
            ({"unused_days": 0}, "unused_days"),
            ({"secret": "whsec_x"}, "secret"),
            ({"url": "ftp://127.0.0.1/"}, "url"),
            ({"url": "http://u:p@127.0.0.1/"}, "url"),
            ({"url": "http://127.0.0.1/#x"}, "url"),
            ({"url": "http://127.0.0.1:0/"}, "url"),
            ({"url": "http://10.0.0.1/"}, "url"),
            ({"url": "https://169.254.169.254/latest"}, "url"),
            ({"url": "https://[::ffff:10.0.0.1]/"}, "url"),
            ({"url": "https://[::1]/"}, "url"),
            ({"url": "https://167772161/"}, "url"),
            ({"url": "https://012.0.0.1/"}, "url"),
            ({"url": "https://0/"}, "url"),
            ({"url": "http://8.8.8.8/"}, "url"),
            ({"url": "https://nobody.invalid/"}, "url"),
        ],
        ids=lambda value: ascii(value)[:40],
    )
    async def test_400_names_the_field(
        self, admin: Person, change: dict[str, Any], field: str
    ) -> None:
        body = {"name": "x", "url": "http://127.0.0.1/"} | change
        answer = await admin.post(PATH, body)
        assert answer.status_code == 400, answer.text
        assert answer.json()["errors"][0]["field"] == field
        assert (await admin.get(PATH)).json()["items"] == []

    async def test_400_this_machine_unless_it_is_allowed(self, start: Callable[..., Any]) -> None:
        admin_of_another = await person(other := await start(), TENANT_ADMIN, other.acme)
        for url in ("http://127.0.0.1/", "https://127.0.0.1/", "https://localhost/"):
            answer = await admin_of_another.post(PATH, {"name": "x", "url": url})
            assert answer.status_code == 400, url

    async def test_409_eleventh(self, admin: Person, receiver: Receiver) -> None:
        for _ in range(rules.MAX_WEBHOOKS):
            await made(admin, receiver)
        answer = await admin.post(PATH, {"name": "x", "url": receiver.url})
        assert answer.status_code == 409


class TestOthers:
    async def test_404_in_another_tenant(
        self, service: Running, admin: Person, receiver: Receiver
    ) -> None:
        webhook = await made(admin, receiver)
        await admin.post(f"{PATH}/{webhook['id']}/test")
        delivery = await ended(admin, webhook, "delivered")
        stranger = await person(service, TENANT_ADMIN, service.globex)
        one = f"{PATH}/{webhook['id']}"
        assert (await stranger.get(PATH)).json()["items"] == []
        for method, path, json in (
            ("GET", one, None),
            ("PATCH", one, {"enabled": False}),
            ("DELETE", one, None),
            ("POST", f"{one}/test", None),
            ("POST", f"{one}/rotate-secret", None),
            ("GET", f"{one}/deliveries", None),
            ("POST", f"{one}/deliveries/retry", None),
            ("POST", f"{one}/deliveries/{delivery['id']}/retry", None),
        ):
            more = {} if json is None else {"json": json}
            assert (await stranger.call(method, path, **more)).status_code == 404, path
        assert (await admin.get(one)).json()["enabled"] is True

    async def test_403_viewers(self, service: Running) -> None:
        viewer = await person(service, VIEWER, service.acme)
        assert (await viewer.get(PATH)).status_code == 403


class TestChangeWebhook:
    async def test_200_every_field(self, admin: Person, receiver: Receiver) -> None:
        webhook = await made(admin, receiver)
        one = f"{PATH}/{webhook['id']}"
        del webhook["secret"]
        wanted = {
            "name": "All",
            "url": f"{receiver.url}2",
            "events": ["api_key.created", "api_key.leaked"],
            "expiring_days": [2],
            "unused_days": 3,
        }
        answer = await admin.patch(one, wanted)
        assert (answer.status_code, answer.json()) == (200, webhook | wanted)
        assert (await admin.patch(one, {"events": None})).json()["events"] is None
        off = (await admin.patch(one, {"enabled": False})).json()
        assert (off["enabled"], off["disabled_reason"]) == (False, "request")
        assert off["disabled_at"] is not None
        on = (await admin.patch(one, {"enabled": True})).json()
        assert (on["enabled"], on["disabled_at"], on["disabled_reason"]) == (True, None, None)
        assert len(await events(admin, webhook["id"])) == 5

    async def test_400_addresses_are_checked_again(self, admin: Person, receiver: Receiver) -> None:
        webhook = await made(admin, receiver)
        answer = await admin.patch(f"{PATH}/{webhook['id']}", {"url": "https://10.0.0.1/"})
        assert answer.status_code == 400

    async def test_412_stale(self, admin: Person, receiver: Receiver) -> None:
        webhook = await made(admin, receiver)
        one, stale = f"{PATH}/{webhook['id']}", {"If-Match": '"7"'}
        for answer in (
            await admin.patch(one, {"name": "y"}, headers=stale),
            await admin.delete(one, headers=stale),
            await admin.post(f"{one}/rotate-secret", headers=stale),
        ):
            assert answer.status_code == 412


class TestDeleteWebhook:
    async def test_204(self, admin: Person, receiver: Receiver) -> None:
        webhook = await made(admin, receiver)
        one = f"{PATH}/{webhook['id']}"
        assert (await admin.delete(one)).status_code == 204
        assert (await admin.get(one)).status_code == 404
        assert [action for action, _ in await events(admin, webhook["id"])] == [
            "webhook.created",
            "webhook.deleted",
        ]


class TestTest:
    async def test_202_delivered_and_signed(self, admin: Person, receiver: Receiver) -> None:
        webhook = await made(admin, receiver, events=["api_key.leaked"])
        answer = await admin.post(f"{PATH}/{webhook['id']}/test")
        assert (answer.status_code, answer.json()["state"]) == (202, "pending")
        [got] = await receiver.calls(1)
        assert got.line == "POST /hooks?key=1 HTTP/1.1"
        assert got.headers["host"] == f"127.0.0.1:{receiver.port}"
        assert got.headers["content-type"] == "application/json"
        assert got.headers["user-agent"].startswith("keyturn/")
        assert got.signed_by(webhook["secret"])
        assert not got.signed_by("whsec_" + "A" * 43 + "=")
        assert got.event["type"] == "webhook.test"
        assert got.event["id"] == got.headers["webhook-id"] == answer.json()["event_id"]
        assert got.event["data"]["webhook"] == {"id": webhook["id"], "name": "Incidents"}
        delivery = await ended(admin, webhook, "delivered")
        assert (delivery["attempts"], delivery["status"], delivery["error"]) == (1, 204, None)
        assert delivery["event"] == got.event
        assert delivery["next_attempt_at"] is None

    async def test_409_disabled(self, admin: Person, receiver: Receiver) -> None:
        webhook = await made(admin, receiver)
        await admin.patch(f"{PATH}/{webhook['id']}", {"enabled": False})
        assert (await admin.post(f"{PATH}/{webhook['id']}/test")).status_code == 409


class TestRotateSecret:
    async def test_200_both_sign_for_a_day(self, admin: Person, receiver: Receiver) -> None:
        webhook = await made(admin, receiver)
        one = f"{PATH}/{webhook['id']}"
        answer = await admin.post(f"{one}/rotate-secret")
        secret = answer.json()["secret"]
        assert answer.json()["old_secret_until"] is not None
        await admin.post(f"{one}/test")
        [got] = await receiver.calls(1)
        assert got.headers["webhook-signature"].count("v1,") == 2
        assert got.signed_by(secret)
        assert got.signed_by(webhook["secret"])
        again = (await admin.post(f"{one}/rotate-secret")).json()["secret"]
        await admin.post(f"{one}/test")
        last = (await receiver.calls(2))[1]
        signs = [last.signed_by(one) for one in (again, secret, webhook["secret"])]
        assert signs == [True, True, False]
        assert "whsec_" not in str(await events(admin, webhook["id"]))

    async def test_200_after_a_restore_it_needs_one_to_be_enabled(
        self, service: Running, admin: Person, receiver: Receiver
    ) -> None:
        webhook = await made(admin, receiver)
        one = f"{PATH}/{webhook['id']}"
        async with service.service.parts.store.transaction() as tx:
            await tx.restored.disable_webhooks(await tx.now())
        off = (await admin.get(one)).json()
        assert (off["enabled"], off["disabled_reason"]) == (False, "restored")
        assert (await admin.patch(one, {"enabled": True})).status_code == 409
        assert (await admin.patch(one, {"name": "Other"})).status_code == 200
        new = (await admin.post(f"{one}/rotate-secret")).json()
        assert (new["enabled"], new["old_secret_until"]) == (False, None)
        assert (await admin.patch(one, {"enabled": True})).json()["enabled"]
        await admin.post(f"{one}/test")
        [got] = await receiver.calls(1)
        assert got.signed_by(new["secret"])
        assert not got.signed_by(webhook["secret"])

    async def test_200_once_with_an_idempotency_key(
        self, admin: Person, receiver: Receiver
    ) -> None:
        webhook = await made(admin, receiver)
        path, header = f"{PATH}/{webhook['id']}/rotate-secret", {"Idempotency-Key": "r"}
        first, second = [await admin.post(path, headers=header) for _ in range(2)]
        assert first.json() == second.json()


class TestRetry:
    async def test_202_a_dead_one_as_if_it_was_new(
        self, admin: Person, receiver: Receiver, at_once: None
    ) -> None:
        webhook = await made(admin, receiver)
        one = f"{PATH}/{webhook['id']}"
        receiver.answers = [status(500)] * 8
        await admin.post(f"{one}/test")
        dead = await ended(admin, webhook, "dead")
        assert (dead["attempts"], dead["status"]) == (8, 500)
        assert await deliveries(admin, webhook, state="dead") == [dead]
        assert await deliveries(admin, webhook, state="pending") == []
        answer = await admin.post(f"{one}/deliveries/{dead['id']}/retry")
        assert (answer.status_code, answer.json()["state"]) == (202, "pending")
        good = await ended(admin, webhook, "delivered")
        assert (good["attempts"], good["event_id"]) == (1, dead["event_id"])
        assert len({got.headers["webhook-id"] for got in receiver.got}) == 1
        assert len(receiver.got) == 9
        for path, code in (
            (f"{one}/deliveries/{dead['id']}/retry", 409),
            (f"{one}/deliveries/{new_id()}/retry", 404),
        ):
            assert (await admin.post(path)).status_code == code

    async def test_202_all_dead_ones(
        self, admin: Person, receiver: Receiver, at_once: None
    ) -> None:
        webhook = await made(admin, receiver)
        one = f"{PATH}/{webhook['id']}"
        receiver.answers = [status(404)] * 8
        await admin.post(f"{one}/test")
        await ended(admin, webhook, "dead")
        answer = await admin.post(f"{one}/deliveries/retry")
        assert (answer.status_code, answer.json()) == (202, {"retried": 1})
        await ended(admin, webhook, "delivered")
        assert (await admin.post(f"{one}/deliveries/retry")).json() == {"retried": 0}

    async def test_202_a_few_at_a_time(
        self, admin: Person, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(management, "MAX_RETRIED", 2)
        monkeypatch.setattr(rules, "BACK_OFF", ())
        webhook = await made(admin, receiver)
        one = f"{PATH}/{webhook['id']}"
        receiver.usual = status(404)
        for _ in range(3):
            await admin.post(f"{one}/test")
        async with asyncio.timeout(20):
            while len(await deliveries(admin, webhook, state="dead")) < 3:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        receiver.usual = b""  # tries that do not end
        assert (await admin.post(f"{one}/deliveries/retry")).json() == {"retried": 2}
        assert (await admin.post(f"{one}/deliveries/retry")).status_code == 409
        assert len(await deliveries(admin, webhook, state="dead")) == 1


class TestListDeliveries:
    async def test_400_unknown_state(self, admin: Person, receiver: Receiver) -> None:
        webhook = await made(admin, receiver)
        answer = await admin.get(f"{PATH}/{webhook['id']}/deliveries", params={"state": "x"})
        assert answer.status_code == 400

    def test_every_type_is_documented(self) -> None:
        schemas = document()["components"]["schemas"]
        assert set(schemas["EventType"]["enum"]) == set(EVENT_TYPES)
