"""The loop that delivers: once each by many nodes, again after a crash, and nobody waits for a
slow one. The receiver is made up; what goes over the wire is in tests/unit/test_webhook_calls.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import update

from keyturn.server.domain import webhooks as rules
from keyturn.server.domain.errors import Unavailable
from keyturn.server.domain.events import TEST, Event
from keyturn.server.domain.ids import new_id
from keyturn.server.domain.webhooks import Delivery, DeliveryState, Disabled, Webhook
from keyturn.server.services import deliveries as module
from keyturn.server.services import key_events
from keyturn.server.services.deliveries import (
    CALLS,
    OF_ORGANISATION,
    OF_TENANT,
    WEBHOOKS,
    Deliverer,
    delivering,
)
from keyturn.server.services.key_events import KeyWatch
from keyturn.server.services.ports import Answered, AuditFilter, Slice
from keyturn.server.storage import Storage, open_storage
from keyturn.server.storage.tables import webhook_deliveries, webhooks
from keyturn.server.tokens.secrets import DerivedKeys
from keyturn.server.tokens.webhook_secrets import SealedWebhookSecrets
from tests.contracts.storage.world import NOW, World

SECRETS = SealedWebhookSecrets(DerivedKeys(["m" * 40], "webhooks", 64))
GOOD = Answered(204)


@dataclass
class Senders:
    """Answers by address, after what `answers` says first; counts who is called at once."""

    answers: dict[str, list[Answered]] = field(default_factory=dict)
    slow: dict[str, asyncio.Event] = field(default_factory=dict)
    got: list[tuple[str, str]] = field(default_factory=list)
    now: Counter[str] = field(default_factory=Counter)
    most: Counter[str] = field(default_factory=Counter)
    came: asyncio.Event = field(default_factory=asyncio.Event)

    async def check(self, url: str, owner: str) -> None:
        raise NotImplementedError

    async def post(self, url: str, headers: Mapping[str, str], body: bytes, owner: str) -> Answered:
        self.got.append((url, headers["webhook-id"]))
        self.now[url] += 1
        self.most[url] = max(self.most[url], self.now[url])
        self.came.set()
        try:
            await asyncio.sleep(0)
            if url in self.slow:
                await self.slow[url].wait()
        finally:
            self.now[url] -= 1
        given = self.answers.get(url)
        return given.pop(0) if given else GOOD

    async def calls(self, count: int) -> None:
        async with asyncio.timeout(20):
            while len(self.got) < count:
                self.came.clear()
                await self.came.wait()


@pytest.fixture
async def world(storage: Storage) -> World:
    return await World.build(storage)


@pytest.fixture
def senders() -> Senders:
    return Senders()


def node(storage: Storage, senders: Senders) -> Deliverer:
    return Deliverer(storage.store, senders, SECRETS, lambda: datetime.now(UTC), chance=lambda: 0)


async def hook(world: World, name: str = "a", **more: Any) -> Webhook:
    webhook_id = new_id()
    _, sealed = SECRETS.new(webhook_id)
    webhook = replace(Webhook(webhook_id, world.root, name, f"https://{name}", NOW, sealed), **more)
    async with world.storage.store.transaction() as work:
        await work.webhooks.add(webhook)
    return webhook


async def queue(world: World, webhook: Webhook, count: int = 1) -> list[str]:
    """The ids of new events."""
    events = [Event(new_id(), TEST, NOW, world.root, {}) for _ in range(count)]
    made = [Delivery.of(event, webhook, datetime.now(UTC)) for event in events]
    async with world.storage.store.transaction() as work:
        now = await work.now()
        await work.deliveries.add([replace(one, due_at=now, created_at=now) for one in made])
    return [event.id for event in events]


async def told(world: World, webhook: Webhook) -> list[Delivery]:
    async with world.storage.store.transaction() as work:
        return list((await work.deliveries.of_webhook(webhook.id, Slice(500))).items)


async def due_now(world: World, webhook: Webhook) -> None:
    """The pauses, and leases, are over."""
    async with world.storage.store._engine.begin() as connection:
        await connection.execute(
            update(webhook_deliveries)
            .where(
                webhook_deliveries.c.webhook_id == webhook.id,
                webhook_deliveries.c.state == "pending",
            )
            .values(due_at=NOW)
        )


class TestTries:
    async def test_dead_after_all(
        self,
        world: World,
        senders: Senders,
        caplog: pytest.LogCaptureFixture,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        # Pauses that no slow machine outlasts.
        monkeypatch.setattr(rules, "BACK_OFF", tuple(1_000 * n for n in range(1, 8)))
        webhook = await hook(world)
        [event] = await queue(world, webhook)
        senders.answers["https://a"] = [Answered(500), Answered(None, "timeout")] * 4
        deliverer = node(world.storage, senders)
        pauses: list[int | None] = []
        for _ in range(8):
            await deliverer.deliver()
            [delivery] = await told(world, webhook)
            async with world.storage.store.transaction() as work:
                now = await work.now()
            due = delivery.due_at
            pauses.append(None if due is None else round((due - now).total_seconds() + 0.5))
            await deliverer.deliver()  # not before its time
            await due_now(world, webhook)
        assert senders.got == [("https://a", event)] * 8
        wanted: list[int | None] = [*rules.BACK_OFF, None]
        for got, pause in zip(pauses, wanted, strict=True):
            assert (got is None) == (pause is None)
            assert pause is None or got is None or pause - 300 < got <= pause + 1
        assert (delivery.state, delivery.attempts, delivery.error) == (
            DeliveryState.DEAD,
            8,
            "timeout",
        )
        assert f"{webhook.id} is dead after 8 tries: timeout" in caplog.text
        await deliverer.deliver()
        assert len(senders.got) == 8

    async def test_as_long_as_the_receiver_asks(self, world: World, senders: Senders) -> None:
        webhook = await hook(world)
        await queue(world, webhook)
        senders.answers["https://a"] = [Answered(429, None, 500)]
        await node(world.storage, senders).deliver()
        [delivery] = await told(world, webhook)
        async with world.storage.store.transaction() as work:
            left = (delivery.due_at or NOW) - await work.now()
        assert timedelta(seconds=480) < left < timedelta(seconds=501)

    async def test_a_lookup_that_never_began_is_no_try(
        self, world: World, senders: Senders
    ) -> None:
        webhook = await hook(world)
        await queue(world, webhook)
        unbegun = Answered(None, "name_lookup_failed", begun=False)
        senders.answers["https://a"] = [Answered(500)] * 7 + [unbegun] * 3 + [GOOD]
        for attempts in (*range(1, 8), 7, 7, 7):
            await node(world.storage, senders).deliver()
            [delivery] = await told(world, webhook)
            assert (delivery.state, delivery.attempts) == (DeliveryState.PENDING, attempts)
            assert delivery.due_at is not None
            await due_now(world, webhook)
        await node(world.storage, senders).deliver()
        [delivery] = await told(world, webhook)
        assert (delivery.state, delivery.attempts) == (DeliveryState.DELIVERED, 8)

    async def test_gone(self, world: World, senders: Senders) -> None:
        webhook = await hook(world)
        await queue(world, webhook, 6)
        senders.answers["https://a"] = [Answered(410)]
        await node(world.storage, senders).deliver()
        states = Counter(one.state for one in await told(world, webhook))
        assert states[DeliveryState.DEAD] == 1
        assert states[DeliveryState.PENDING] == 6 - CALLS
        async with world.storage.store.transaction() as work:
            found = await work.webhooks.get(world.root, webhook.id)
            trail = await work.audit.events(
                world.root, AuditFilter(action="webhook.disabled"), Slice(5)
            )
        assert found is not None
        assert found.disabled_reason is Disabled.GONE
        assert [event.target for event in trail.items] == [webhook.id]
        assert len(senders.got) == CALLS

    async def test_a_secret_that_no_master_secret_opens(
        self, world: World, senders: Senders
    ) -> None:
        webhook = await hook(world, secret=b"0000" + b"x" * 48)
        await queue(world, webhook)
        await node(world.storage, senders).deliver()
        [delivery] = await told(world, webhook)
        assert (delivery.state, delivery.error) == (DeliveryState.PENDING, "secret_unreadable")
        assert senders.got == []


class TestNodes:
    async def test_each_event_once(self, database_url: str, senders: Senders) -> None:
        async with open_storage(database_url) as one, open_storage(database_url) as other:
            world = await World.build(one)
            hooks = [await hook(world, name) for name in "abc"]
            wanted = {
                (webhook.url, event)
                for webhook in hooks
                for event in await queue(world, webhook, 30)
            }
            nodes = [node(one, senders), node(other, senders)]
            for _ in range(8):
                await asyncio.gather(*(each.deliver() for each in nodes))
            assert sorted(senders.got) == sorted(wanted)
            for webhook in hooks:
                states = {item.state for item in await told(world, webhook)}
                assert states == {DeliveryState.DELIVERED}

    async def test_what_a_killed_node_had_is_delivered_by_another(
        self, database_url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "LEASE", timedelta(seconds=0.5))
        lost, living = Senders(), Senders()
        async with open_storage(database_url) as one, open_storage(database_url) as other:
            world = await World.build(one)
            webhook = await hook(world)
            [event] = await queue(world, webhook)
            lost.slow[webhook.url] = asyncio.Event()
            killed = asyncio.create_task(node(one, lost).deliver())
            await lost.calls(1)
            killed.cancel()
            await node(other, living).deliver()
            assert living.got == []  # it is still the other's
            async with delivering(node(other, living)):
                await living.calls(1)
            assert living.got == [(webhook.url, event)]
            # It comes back: what it knows no longer counts.
            lost.answers[webhook.url] = [Answered(410)]
            lost.slow[webhook.url].set()
            await asyncio.sleep(0.2)
            [delivery] = await told(world, webhook)
            assert (delivery.state, delivery.attempts) == (DeliveryState.DELIVERED, 2)

    async def test_a_slow_receiver_keeps_nobody_waiting(
        self, world: World, senders: Senders
    ) -> None:
        slow, quick = await hook(world, "slow"), await hook(world, "quick")
        await queue(world, slow, 20)
        senders.slow[slow.url] = asyncio.Event()
        async with delivering(deliverer := node(world.storage, senders)):
            await senders.calls(CALLS)
            await queue(world, quick, 20)
            deliverer.wake()
            await senders.calls(CALLS + 20)
            assert Counter(url for url, _ in senders.got)[quick.url] == 20
            assert senders.now[slow.url] == CALLS
            senders.slow[slow.url].set()
            await senders.calls(40)
        assert senders.most == {slow.url: CALLS, quick.url: CALLS}

    async def test_one_organisations_slow_receivers_keep_no_other_waiting(
        self, world: World, senders: Senders
    ) -> None:
        loud, quiet = [await world.tenant(world.root, name) for name in ("loud", "quiet")]
        tenants = [await world.tenant(loud, str(number)) for number in range(3)]
        stuck = asyncio.Event()
        for number in range(WEBHOOKS + 4):
            slow = await hook(world, f"slow{number}", tenant_id=tenants[number % 3])
            senders.slow[slow.url] = stuck
            await queue(world, slow, CALLS)
        async with delivering(deliverer := node(world.storage, senders)):
            await senders.calls(OF_ORGANISATION * CALLS)
            good = await hook(world, "good", tenant_id=quiet)
            await queue(world, good, 9)
            deliverer.wake()
            await senders.calls(OF_ORGANISATION * CALLS + 9)
            called = Counter(url for url, _ in senders.got)
            assert called.pop(good.url) == 9
            assert len(called) == OF_ORGANISATION
            stuck.set()

    async def test_of_one_tenant_few_are_called_at_once(
        self, world: World, senders: Senders
    ) -> None:
        stuck = asyncio.Event()
        for number in range(OF_TENANT + 1):
            slow = await hook(world, f"slow{number}")
            senders.slow[slow.url] = stuck
            await queue(world, slow)
        async with delivering(deliverer := node(world.storage, senders)):
            await senders.calls(OF_TENANT)
            await deliverer._begin()
            assert len(deliverer._serving) == OF_TENANT
            stuck.set()
            await senders.calls(OF_TENANT + 1)

    async def test_after_a_timeout_it_is_the_others_turn(
        self, world: World, senders: Senders, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "WEBHOOKS", 1)
        slow = await hook(world, "slow")
        await queue(world, slow, 20)
        senders.answers[slow.url] = [Answered(None, "timeout")] * 20
        deliverer = node(world.storage, senders)
        await deliverer.deliver()
        assert len(senders.got) == CALLS
        await deliverer.deliver()
        assert len(senders.got) == 2 * CALLS

    async def test_calls_under_way_are_finished_at_the_end(
        self, world: World, senders: Senders
    ) -> None:
        webhook = await hook(world)
        await queue(world, webhook)
        senders.slow[webhook.url] = asyncio.Event()
        async with delivering(node(world.storage, senders)):
            await senders.calls(1)
            asyncio.get_running_loop().call_later(0.1, senders.slow[webhook.url].set)
        assert [one.state for one in await told(world, webhook)] == [DeliveryState.DELIVERED]

    async def test_a_fault_is_told_once_and_made_up_for(
        self,
        world: World,
        senders: Senders,
        caplog: pytest.LogCaptureFixture,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(module, "INTERVAL", 0.01)
        webhook = await hook(world)
        await queue(world, webhook)
        broken = node(world.storage, senders)
        real, faults = broken._begin, [ValueError("secret text"), OSError(), None]

        async def begin() -> None:
            if faults and (fault := faults.pop(0)) is not None:
                raise fault
            await real()

        monkeypatch.setattr(broken, "_begin", begin)
        with caplog.at_level(logging.INFO):
            async with delivering(broken):
                await senders.calls(1)
        assert caplog.text.count("deliveries to webhooks fail") == 1
        assert "secret text" not in caplog.text
        assert "work again" in caplog.text


class TestKeyWatch:
    async def expiring(self, world: World, days: float) -> str:
        async with world.storage.store.transaction() as work:
            now = await work.now()
        return await world.new_key(expires_at=now + timedelta(days=days))

    async def test_told_once(self, world: World) -> None:
        key_id = await self.expiring(world, 5)
        webhook = await hook(world, unused_days=3_650)
        woken: list[None] = []
        watch = KeyWatch(world.storage.store, lambda: woken.append(None))
        assert (await watch.look(), len(woken)) == (1, 1)
        assert await watch.look() == 0  # its turn is in an hour
        [delivery] = await told(world, webhook)
        assert delivery.type == "api_key.expiring"
        assert key_id in delivery.payload
        assert '"details":{"days":7}' in delivery.payload
        async with world.storage.store._engine.begin() as connection:
            await connection.execute(update(webhooks).values(checked_at=None))
        assert await watch.look() == 1  # found again
        assert await told(world, webhook) == [delivery]

    async def test_page_by_page_by_one_node_of_many(self, database_url: str) -> None:
        async with open_storage(database_url) as one, open_storage(database_url) as other:
            world = await World.build(one)
            keys = {await self.expiring(world, 0.5) for _ in range(7)}
            webhook = await hook(world, events=("api_key.expiring",))
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("keyturn.server.services.key_events.PAGE", 3)
                watches = [KeyWatch(storage.store) for storage in (one, other)]
                found = await asyncio.gather(*(watch.look() for watch in watches))
            assert sorted(found) == [0, 7]
            assert len(await told(world, webhook)) == len(keys)

    async def test_what_nobody_wants_is_not_told(self, world: World) -> None:
        await self.expiring(world, 0.5)
        webhook = await hook(world, events=("api_key.expired",))
        await hook(world, disabled_at=NOW, disabled_reason=Disabled.REQUEST)
        assert await KeyWatch(world.storage.store).look() == 0
        assert await told(world, webhook) == []

    async def test_a_fault_is_told_once_and_made_up_for(
        self, world: World, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(key_events, "INTERVAL", 0.01)
        await self.expiring(world, 0.5)
        await hook(world, events=("api_key.expiring",))
        found = asyncio.Event()
        watch = KeyWatch(world.storage.store, found.set)
        real, faults = watch.look, [ValueError("secret text"), Unavailable("away")]

        async def look() -> int:
            if faults:
                raise faults.pop(0)
            return await real()

        monkeypatch.setattr(watch, "look", look)
        async with key_events.watching_keys(watch), asyncio.timeout(20):
            await found.wait()
        assert caplog.text.count("looking through keys fails") == 1
        assert "secret text" not in caplog.text


class TestMasterSecret:
    async def test_sealed_anew(self, world: World) -> None:
        both = SealedWebhookSecrets(DerivedKeys(["n" * 40, "m" * 40], "webhooks", 64))
        new = SealedWebhookSecrets(DerivedKeys(["n" * 40], "webhooks", 64))
        webhook = await hook(world)
        webhook = replace(webhook, old_secret=SECRETS.new(webhook.id)[1], old_until=NOW)
        moved = both.resealed(webhook)
        assert moved is not None
        before = NOW - timedelta(seconds=1)
        signed = SECRETS.signature(webhook, before, b"x")
        assert signed is not None
        assert signed == both.signature(webhook, before, b"x") == new.signature(moved, before, b"x")
        assert signed.startswith(f"{new.signature(moved, NOW, b'x')} v1,")
        assert both.resealed(moved) is None
        assert new.signature(webhook, NOW, b"x") is None
        none = replace(webhook, secret=None, old_secret=None, old_until=None)
        assert both.signature(none, NOW, b"x") is None
        assert both.resealed(none) is None
        other = replace(webhook, id=new_id())
        assert SECRETS.signature(other, NOW, b"x") is None
