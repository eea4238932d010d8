"""What happens in a tenant reaches its webhooks, as it happened, and nobody else's."""

from __future__ import annotations

import asyncio
import runpy
import threading
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from keyturn.server.domain import webhooks as rules
from keyturn.server.domain.permissions import VIEWER
from keyturn.server.domain.trail import AuditEvent
from tests.http.conftest import Running
from tests.http.contract import document
from tests.receiver import Got, Receiver, receiving, status

EXAMPLE = Path(__file__).parents[2] / "deploy" / "examples" / "webhook.py"


@pytest.fixture
async def service(start: Callable[..., Any]) -> Running:
    running: Running = await start(webhook_networks="127.0.0.0/8")
    return running


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as found:
        yield found


async def listening(
    service: Running, receiver: Receiver, tenant: str = "", **more: Any
) -> dict[str, Any]:
    """A webhook of acme's, or another tenant's."""
    new = {"name": "hook", "url": receiver.url, **more}
    answer = await service.administer("POST", "/webhooks", tenant or service.acme, new)
    webhook: dict[str, Any] = answer.json()
    return webhook


def told(got: list[Got], webhook: dict[str, Any]) -> dict[str, Any]:
    """The events by their types. Each is signed, and as openapi.yaml says."""
    whole = document()
    schema = {"$ref": "#/components/schemas/Event", "components": whole["components"]}
    for one in got:
        assert one.signed_by(webhook["secret"])
        jsonschema.validate(one.event, schema)
        assert one.event["tenant_id"] == webhook["tenant_id"]
    return {one.event["type"]: one.event["data"] for one in got}


class TestKeys:
    async def test_made_changed_rotated_revoked(self, service: Running, receiver: Receiver) -> None:
        webhook = await listening(service, receiver)
        user = service.demo.user.id
        new = {"user_id": user, "name": "deploy", "expires_in": 3_600}
        made = (await service.administer("POST", "/api-keys", service.acme, new)).json()
        path = f"/api-keys/{made['id']}"
        await service.administer("PATCH", path, service.acme, {"name": "build"})
        rotated = await service.administer("POST", f"{path}/rotate", service.acme, {})
        await service.administer("POST", f"{path}/revoke", service.acme)
        data = told(await receiver.calls(4), webhook)
        assert set(data) == {f"api_key.{x}" for x in ("created", "changed", "rotated", "revoked")}
        # As it is at the end of its change, whenever that is told.
        assert data["api_key.created"]["api_key"] == {
            "id": made["id"],
            "name": "deploy",
            "user_id": user,
            "expires_at": data["api_key.created"]["api_key"]["expires_at"],
        }
        assert data["api_key.changed"]["api_key"]["name"] == "build"
        assert data["api_key.changed"]["details"]["before"]["name"] == "deploy"
        assert data["api_key.revoked"]["details"] == {"reason": "revoked"}
        actor = data["api_key.revoked"]["actor"]
        assert actor["user_id"] == service.demo.platform.user.id
        for secret in (made["secret"], rotated.json()["secret"], webhook["secret"]):
            assert not any(secret in str(got) for got in receiver.got)


class TestServiceUsers:
    async def test_from_made_to_deleted(self, service: Running, receiver: Receiver) -> None:
        webhook = await listening(
            service,
            receiver,
            events=[f"service_user.{x}" for x in ("created", "changed", "disabled", "enabled")]
            + ["service_user.deleted"],
        )
        new = {"name": "robot", "role_id": VIEWER.id, "api_key": {"name": "first"}}
        made = (await service.administer("POST", "/service-users", service.acme, new)).json()
        path = f"/service-users/{made['id']}"
        await service.administer("PATCH", path, service.acme, {"name": "robot 2"})
        await service.administer("POST", f"{path}/disable", service.acme)
        await service.administer("POST", f"{path}/enable", service.acme)
        await service.administer("DELETE", path, service.acme)
        data = told(await receiver.calls(5), webhook)
        assert set(data) == set(webhook["events"])
        who = {"id": made["id"], "email": made["email"]}
        assert data["service_user.created"]["service_user"] == {**who, "name": "robot"}
        assert data["service_user.deleted"]["service_user"] == {**who, "name": "robot 2"}


class TestSessions:
    async def test_reuse(self, service: Running, receiver: Receiver) -> None:
        webhook = await listening(service, receiver)
        first = (await service.exchange(tenant=service.acme))["refresh_token"]
        second = (await service.refresh(first)).json()["refresh_token"]
        assert (await service.refresh(second)).status_code == 200
        assert (await service.refresh(first)).status_code == 400
        data = told(await receiver.calls(1), webhook)
        session = data["session.reuse_detected"]["session"]
        assert session["user_id"] == service.demo.user.id
        assert session["api_key_id"] == service.demo.key.key_id


class TestWho:
    async def test_no_other_tenant(self, service: Running, receiver: Receiver) -> None:
        async with receiving() as other:
            webhook = await listening(service, other, service.globex)
            mine = await listening(service, receiver)
            key = await service.add_key()
            await service.revoke_key(key.key_id)
            told(await receiver.calls(1), mine)
            path = f"/webhooks/{webhook['id']}/deliveries"
            answer = await service.administer("GET", path, service.globex)
            assert answer.json()["items"] == []
            assert other.got == []

    async def test_nothing_that_was_refused(self, service: Running, receiver: Receiver) -> None:
        webhook = await listening(service, receiver)
        taken = {"user_id": service.demo.user.id, "name": "demo"}
        with pytest.raises(AssertionError, match="conflict"):
            await service.administer("POST", "/api-keys", service.acme, taken)
        path = f"/webhooks/{webhook['id']}/deliveries"
        assert (await service.administer("GET", path, service.acme)).json()["items"] == []

    async def test_what_comes_while_it_is_suspended_waits(
        self, service: Running, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        webhook = await listening(service, receiver)
        key = await service.add_key()
        receiver.answers = [status(500)]
        monkeypatch.setattr(rules, "BACK_OFF", (0,) * 7)
        async with service.service.parts.store.transaction() as tx:
            await tx.tenants.set_suspended(service.acme, await tx.now() - timedelta(seconds=1))
        async with service.service.parts.store.transaction() as tx:
            row = AuditEvent("api_key.revoked", "done", tenant_id=service.acme, target=key.key_id)
            await tx.audit.add([row])
        async with service.service.parts.store.transaction() as tx:
            assert await tx.deliveries.waiting(await tx.now(), 10) == ()
            await tx.tenants.set_suspended(service.acme, None)
        got = await receiver.calls(2)
        assert set(told(got, webhook)) == {"api_key.revoked"}
        assert got[0].headers["webhook-id"] == got[1].headers["webhook-id"]


async def test_the_example_believes_what_is_signed(
    service: Running, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    example = runpy.run_path(str(EXAMPLE))
    with ThreadingHTTPServer(("127.0.0.1", 0), example["Receiver"]) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/"
        new = {"name": "hook", "url": url}
        webhook = (await service.administer("POST", "/webhooks", service.acme, new)).json()
        path = f"/webhooks/{webhook['id']}"
        monkeypatch.setenv("WEBHOOK_SECRET", webhook["secret"])
        await service.administer("POST", f"{path}/test", service.acme)
        rotated = await service.administer("POST", f"{path}/rotate-secret", service.acme)
        await service.administer("POST", f"{path}/test", service.acme)
        await _delivered(service, path, 2)
        monkeypatch.setenv("WEBHOOK_SECRET", rotated.json()["secret"])
        await service.administer("POST", f"{path}/test", service.acme)
        await _delivered(service, path, 3)
        server.shutdown()
    assert capfd.readouterr().out.count("webhook.test {") == 3


@pytest.mark.parametrize(
    "change",
    [
        {"webhook-id": "x"},
        {"webhook-timestamp": "1"},
        {"webhook-timestamp": "x"},
        {"webhook-signature": "v1,x ä"},
        {"webhook-signature": ""},
    ],
    ids=str,
)
async def test_the_example_believes_nothing_else(
    service: Running, receiver: Receiver, change: dict[str, str]
) -> None:
    verified = runpy.run_path(str(EXAMPLE))["verified"]
    webhook = await listening(service, receiver)
    await service.administer("POST", f"/webhooks/{webhook['id']}/test", service.acme)
    [got] = await receiver.calls(1)
    assert verified(webhook["secret"], got.headers, got.body) == got.event
    for headers, body in (({**got.headers, **change}, got.body), (got.headers, got.body + b" ")):
        with pytest.raises(ValueError):
            verified(webhook["secret"], headers, body)


async def _delivered(service: Running, path: str, count: int) -> None:
    async with asyncio.timeout(20):
        while True:
            answer = await service.administer(
                "GET", f"{path}/deliveries?state=delivered", service.acme
            )
            if len(answer.json()["items"]) == count:
                return
            await asyncio.sleep(0.02)
