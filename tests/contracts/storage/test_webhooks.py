"""`ports.Webhooks` and `ports.Deliveries`: what is kept, who takes it, and what audit rows tell."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from keyturn.server.domain.errors import Code
from keyturn.server.domain.ids import new_id
from keyturn.server.domain.trail import Actor, AuditEvent
from keyturn.server.domain.webhooks import (
    KEPT_FOR,
    Delivery,
    DeliveryState,
    Disabled,
    Webhook,
)
from keyturn.server.services.ports import AuditFilter, Perishable, Slice, Tried
from keyturn.server.storage import open_storage
from tests.contracts.storage.plans import plan
from tests.contracts.storage.world import NOW, World, refused, walk

LEASE = timedelta(seconds=60)
SECOND = timedelta(seconds=1)


async def added(world: World, tenant: str = "", **more: Any) -> Webhook:
    webhook = Webhook(
        new_id(), tenant or world.root, "Höok", "https://hooks.example/x", NOW, b"sealed", **more
    )
    async with world.storage.store.transaction() as work:
        await work.webhooks.add(webhook)
    return webhook


async def queued(world: World, webhook: Webhook, count: int = 1, **more: Any) -> list[Delivery]:
    made = [
        replace(
            Delivery(new_id(), webhook.tenant_id, webhook.id, new_id(), "webhook.test", "{}", NOW),
            **{"due_at": NOW, **more},
        )
        for _ in range(count)
    ]
    async with world.storage.store.transaction() as work:
        await work.deliveries.add(made)
    return made


async def claimed(world: World, webhook: Webhook, **more: Any) -> tuple[Delivery, ...]:
    given: Any = {"now": NOW, "lease": LEASE, "at_most": 10, **more}
    async with world.storage.store.transaction() as work:
        _, deliveries = await work.deliveries.claim(webhook.id, given.pop("now"), **given)
        return deliveries


async def waiting(world: World) -> set[str]:
    async with world.storage.store.transaction() as work:
        return {one.webhook_id for one in await work.deliveries.waiting(NOW, 100)}


async def told(world: World, webhook: Webhook) -> list[Delivery]:
    """All of a webhook's deliveries, the newest first."""
    async with world.storage.store.transaction() as work:
        return list((await work.deliveries.of_webhook(webhook.id, Slice(100))).items)


class TestWebhooks:
    async def test_as_it_was_given(self, world: World) -> None:
        full = await added(
            world,
            events=("api_key.created",),
            expiring_days=(5,),
            unused_days=3,
            old_secret=b"old",
            old_until=NOW,
            disabled_at=NOW,
            disabled_reason=Disabled.GONE,
            checked_at=NOW,
            version=7,
        )
        plain = await added(world)
        other = await world.tenant(world.root, "other")
        async with world.storage.store.transaction() as work:
            for webhook in (full, plain):
                assert await work.webhooks.get(world.root, webhook.id) == webhook
                assert await work.webhooks.get(other, webhook.id) is None
            assert await work.webhooks.get(world.root, "junk") is None

    async def test_pages_of_a_tenant(self, world: World) -> None:
        below = await world.tenant(world.root, "below")
        own = [await added(world, below) for _ in range(3)]
        await added(world)
        async with world.storage.store.transaction() as work:
            found = await walk(lambda part: work.webhooks.in_tenant(below, part), 2)
        assert found == sorted(own, key=lambda one: one.id)

    async def test_saved_with_its_next_version(self, world: World) -> None:
        webhook = await added(world)
        changed = replace(webhook, url="https://b.example", events=(), secret=b"2", unused_days=1)
        async with world.storage.store.transaction() as work:
            assert await work.webhooks.save(changed) == replace(changed, version=2)
            await work.webhooks.remove(world.root, webhook.id)
            assert (await refused(work.webhooks.save(changed))).code is Code.NOT_FOUND

    async def test_other_tenants_remove_nothing(self, world: World) -> None:
        webhook = await added(world)
        other = await world.tenant(world.root, "other")
        async with world.storage.store.transaction() as work:
            await work.webhooks.remove(other, webhook.id)
            assert await work.webhooks.get(world.root, webhook.id) == webhook

    async def test_disabled_once(self, world: World) -> None:
        webhook = await added(world)
        async with world.storage.store.transaction() as work:
            assert await work.webhooks.disable(webhook.id, NOW, Disabled.GONE)
            assert not await work.webhooks.disable(webhook.id, NOW, Disabled.REQUEST)
            found = await work.webhooks.get(world.root, webhook.id)
        assert found is not None
        assert (found.disabled_at, found.disabled_reason) == (NOW, Disabled.GONE)

    async def test_go_with_their_tenant_and_take_their_deliveries(self, world: World) -> None:
        below = await world.tenant(world.root, "below")
        webhook = await added(world, below)
        [delivery] = await queued(world, webhook)
        async with world.storage.store.transaction() as work:
            await work.tenants.remove(below)
            assert await work.webhooks.get(below, webhook.id) is None
            assert await work.deliveries.get(webhook.id, delivery.id) is None

    async def test_checked_by_one(self, world: World) -> None:
        webhook = await added(world)
        await added(world, disabled_at=NOW, disabled_reason=Disabled.REQUEST)
        hour = timedelta(hours=1)
        async with world.storage.store.transaction() as work:
            taken = await work.webhooks.take_unchecked(NOW, hour)
            assert taken == replace(webhook, checked_at=NOW)
            assert await work.webhooks.take_unchecked(NOW + hour, hour) is None
            again = await work.webhooks.take_unchecked(NOW + hour + SECOND, hour)
            assert again is not None


class TestDeliveries:
    async def test_as_they_were_given(self, world: World) -> None:
        webhook = await added(world)
        made = await queued(world, webhook, status=500, error="x", attempts=3, payload='{"ä":1}')
        async with world.storage.store.transaction() as work:
            assert await work.deliveries.get(webhook.id, made[0].id) == made[0]
            assert await work.deliveries.get(new_id(), made[0].id) is None
            assert await work.deliveries.get(webhook.id, "junk") is None

    async def test_an_event_is_told_once(self, world: World) -> None:
        webhook = await added(world)
        [first] = await queued(world, webhook)
        await queued(world, webhook, event_id=first.event_id)
        assert await told(world, webhook) == [first]

    async def test_pages_by_state_the_newest_first(self, world: World) -> None:
        webhook = await added(world)
        dead = await queued(world, webhook, 3, state=DeliveryState.DEAD, due_at=None, ended_at=NOW)
        all_ = dead + await queued(world, webhook, 2)
        async with world.storage.store.transaction() as work:
            for state, wanted in ((None, all_), (DeliveryState.DEAD, dead)):
                found = await walk(
                    lambda part, state=state: work.deliveries.of_webhook(  # type: ignore[misc]
                        webhook.id, part, state=state
                    ),
                    2,
                )
                assert found == sorted(wanted, key=lambda one: one.id, reverse=True)

    async def test_waiting_on_the_index_of_what_is_pending(self, world: World) -> None:
        used = await plan(world.storage, lambda work: work.deliveries.waiting(NOW, 10))
        assert "ix_webhook_deliveries_due" in used

    async def test_who_waits(self, world: World) -> None:
        suspended = await world.tenant(world.root, "suspended")
        below = await world.tenant(suspended, "below")
        some, later, nothing, disabled, resting = [
            await added(world),
            await added(world),
            await added(world),
            await added(world, disabled_at=NOW, disabled_reason=Disabled.REQUEST),
            await added(world, below),
        ]
        for webhook in (some, disabled, resting):
            await queued(world, webhook, 3)
        await queued(world, later, due_at=NOW + SECOND)
        await queued(world, nothing, state=DeliveryState.DEAD, due_at=None)
        assert await waiting(world) == {some.id, resting.id}
        async with world.storage.store.transaction() as work:
            await work.tenants.set_suspended(suspended, NOW)
        assert await waiting(world) == {some.id}
        assert await claimed(world, resting) == ()
        assert await claimed(world, disabled) == ()

    async def test_in_turn_by_organisation_and_tenant(self, world: World) -> None:
        loud = await world.tenant(world.root, "loud")
        below, deep = await world.tenant(loud, "a"), await world.tenant(loud, "b")
        deep = await world.tenant(deep, "c")
        quiet = await world.tenant(world.root, "quiet")
        of = dict.fromkeys((loud, below, deep), loud) | {quiet: quiet, "": world.root}
        for tenant, count in {loud: 9, below: 9, deep: 1, quiet: 1, "": 1}.items():
            for _ in range(count):
                made = await (added(world, tenant) if tenant else added(world))
                await queued(world, made)
        async with world.storage.store.transaction() as work:
            found = await work.deliveries.waiting(NOW, 100)
        assert len({one.webhook_id for one in found}) == 21
        assert {one.organisation_id for one in found[:3]} == {loud, quiet, world.root}
        assert {one.organisation_id for one in found[3:]} == {loud}
        first = {one.tenant_id for one in found if one.organisation_id == loud}
        turns = [one for one in found if one.organisation_id == loud]
        assert {one.tenant_id for one in turns[:3]} == first == {loud, below, deep}
        assert all(one.organisation_id == of.get(one.tenant_id, world.root) for one in found)
        async with world.storage.store.transaction() as work:
            assert len(await work.deliveries.waiting(NOW, 2)) == 2

    async def test_how_many_are_pending(self, world: World) -> None:
        webhook, other = await added(world), await added(world)
        await queued(world, webhook, 3)
        await queued(world, other)
        await queued(world, webhook, state=DeliveryState.DEAD, due_at=None)
        async with world.storage.store.transaction() as work:
            assert [await work.deliveries.pending(webhook.id, most) for most in (2, 9)] == [2, 3]

    async def test_claimed_for_a_while(self, world: World) -> None:
        webhook = await added(world)
        made = await queued(world, webhook, 3)
        first = await claimed(world, webhook, at_most=2)
        assert {one.attempts for one in first} == {1}
        assert await claimed(world, webhook, now=NOW + LEASE - SECOND) == tuple(
            replace(one, attempts=1, due_at=NOW + LEASE * 2 - SECOND)
            for one in made
            if one.id not in {taken.id for taken in first}
        )
        again = await claimed(world, webhook, now=NOW + LEASE)
        assert {one.id for one in again} == {one.id for one in first}
        assert {one.attempts for one in again} == {2}

    async def test_by_two_at_once_each_one_once(self, database_url: str) -> None:
        async with open_storage(database_url) as storage:
            world = await World.build(storage)
            webhook = await added(world)
            made = await queued(world, webhook, 20)
            taken = await asyncio.gather(*(claimed(world, webhook, at_most=4) for _ in range(5)))
            ids = [one.id for some in taken for one in some]
            assert len(ids) == len(set(ids))
            while more := await claimed(world, webhook):
                ids += [one.id for one in more]
            assert sorted(ids) == sorted(one.id for one in made)

    async def test_recorded_by_who_claimed_last(self, world: World) -> None:
        webhook = await added(world)
        await queued(world, webhook)
        [lost] = await claimed(world, webhook)
        [held] = await claimed(world, webhook, now=NOW + LEASE)
        dead = Tried(lost, DeliveryState.DEAD, None, None, "timeout")
        good = Tried(held, DeliveryState.DELIVERED, None, 200, None)
        async with world.storage.store.transaction() as work:
            await work.deliveries.record([dead], NOW)
            await work.deliveries.record([good], NOW + SECOND)
            await work.deliveries.record([replace(dead, delivery=held)], NOW)
        assert await told(world, webhook) == [
            replace(
                held,
                state=DeliveryState.DELIVERED,
                due_at=None,
                status=200,
                ended_at=NOW + SECOND,
            )
        ]

    async def test_dead_ones_retried(self, world: World) -> None:
        webhook, other = await added(world), await added(world)
        dead: Any = {"state": DeliveryState.DEAD, "due_at": None, "attempts": 8, "ended_at": NOW}
        made = await queued(world, webhook, 5, **dead)
        await queued(world, webhook, state=DeliveryState.DELIVERED, due_at=None)
        await queued(world, other, **dead)
        async with world.storage.store.transaction() as work:
            retry = work.deliveries.retry
            one = made[0].id
            assert await retry(other.id, NOW, delivery_id=one, at_most=1) == 0
            assert await retry(webhook.id, NOW, delivery_id=one, at_most=1) == 1
            assert await retry(webhook.id, NOW, delivery_id=one, at_most=1) == 0
            assert await retry(webhook.id, NOW, at_most=3) == 3
            assert await retry(webhook.id, NOW, at_most=3) == 1
        assert {one.id for one in await claimed(world, webhook)} == {one.id for one in made}

    async def test_deleted_after_their_time(self, world: World) -> None:
        webhook = await added(world)
        async with world.storage.store.transaction() as work:
            now = await work.now()
        await queued(world, webhook, created_at=now - KEPT_FOR - SECOND)
        [kept] = await queued(world, webhook, created_at=now - KEPT_FOR + timedelta(hours=1))
        async with world.storage.store.transaction() as work:
            what = Perishable.WEBHOOK_DELIVERIES
            assert await work.housekeeping.delete(what, kept=timedelta(0), at_most=9) == 1
        assert await told(world, webhook) == [kept]


class TestRestored:
    async def test_nothing_is_told_and_nothing_signs(self, world: World) -> None:
        on = await added(world, old_secret=b"old", old_until=NOW)
        off = await added(world, disabled_at=NOW, disabled_reason=Disabled.REQUEST)
        [waits] = await queued(world, on)
        [ended] = await queued(world, on, state=DeliveryState.DELIVERED, due_at=None)
        for count in (2, 0):  # again it does nothing
            async with world.storage.store.transaction() as work:
                assert await work.restored.disable_webhooks(NOW + SECOND) == count
                assert await work.restored.give_up_deliveries(NOW + SECOND) == count // 2
        async with world.storage.store.transaction() as work:
            found = {one.id: one for one in await work.webhooks.all_after(None, 9)}
        assert found == {
            one.id: replace(
                one,
                secret=None,
                old_secret=None,
                old_until=None,
                disabled_at=one.disabled_at or NOW + SECOND,
                disabled_reason=Disabled.RESTORED,
                version=2,
            )
            for one in (on, off)
        }
        dead = replace(waits, state=DeliveryState.DEAD, due_at=None, ended_at=NOW + SECOND)
        assert await told(world, on) == [ended, dead]
        assert await waiting(world) == set()


class TestAuditRowsTell:
    async def noted(self, world: World, *events: AuditEvent) -> None:
        async with world.storage.store.transaction() as work:
            await work.audit.add(events)

    async def test_each_webhook_that_wants_it(self, world: World) -> None:
        other = await world.tenant(world.root, "other")
        all_, one, none, elsewhere, disabled = [
            await added(world),
            await added(world, events=("api_key.revoked",)),
            await added(world, events=("api_key.created",)),
            await added(world, other),
            await added(world, disabled_at=NOW, disabled_reason=Disabled.REQUEST),
        ]
        actor = Actor(user_id=new_id(), key_id="k", session_id=new_id(), address="192.0.2.1")
        row = AuditEvent(
            "api_key.revoked", "done", actor, world.root, world.key, {"reason": "revoked"}
        )
        await self.noted(world, row, replace(row, action="role.changed"))
        for webhook in (none, elsewhere, disabled):
            assert await told(world, webhook) == []
        [first], [second] = await told(world, all_), await told(world, one)
        assert first.event_id == second.event_id
        assert first.payload == second.payload
        async with world.storage.store.transaction() as work:
            trail = await work.audit.events(world.root, _of("api_key.revoked"), Slice(5))
        [told_row] = trail.items
        assert told_row.at is not None
        assert json.loads(first.payload) == {
            "schema": "keyturn.event.v1",
            "id": told_row.id,
            "type": "api_key.revoked",
            "at": told_row.at.isoformat().replace("+00:00", "Z"),
            "tenant_id": world.root,
            "data": {
                "api_key": {
                    "id": world.key,
                    "name": "a key",
                    "user_id": world.user,
                    "expires_at": None,
                },
                "actor": {"user_id": actor.user_id, "api_key_id": "k"},
                "details": {"reason": "revoked"},
            },
        }
        assert (first.due_at, first.event_id) == (told_row.at, told_row.id)

    async def test_nothing_when_the_change_is_undone(self, world: World) -> None:
        webhook = await added(world)

        async def undone() -> None:
            async with world.storage.store.transaction() as work:
                await work.audit.add([_row(world, "service_user.created", world.user)])
                raise RuntimeError

        with pytest.raises(RuntimeError):
            await undone()
        assert await told(world, webhook) == []

    @pytest.mark.parametrize("gone", [False, True])
    async def test_who_a_service_user_is_or_was(self, world: World, gone: bool) -> None:
        webhook = await added(world)
        before = {"before": {"name": "Gone", "email": "gone@x"}} if gone else {}
        target = new_id() if gone else world.user
        await self.noted(world, _row(world, "service_user.deleted", target, before))
        [delivery] = await told(world, webhook)
        name, email = ("Gone", "gone@x") if gone else ("A reader", "reader")
        assert json.loads(delivery.payload)["data"]["service_user"] == {
            "id": target,
            "name": name,
            "email": email,
        }

    async def test_many_at_once(self, world: World) -> None:
        webhook = await added(world)
        await self.noted(world, *(_row(world, "api_key.revoked", f"k{n}") for n in range(1_201)))
        async with world.storage.store.transaction() as work:
            found = await walk(lambda part: work.deliveries.of_webhook(webhook.id, part), 200)
        assert len({one.event_id for one in found}) == 1_201

    async def test_one_read_where_nobody_wants_to_know(self, world: World) -> None:
        used = await plan(
            world.storage,
            lambda work: work.audit.add([_row(world, "api_key.revoked", world.key)]),
        )
        assert "ix_webhooks_tenant_id_id" in used


def _row(world: World, action: str, target: str, data: Any = None) -> AuditEvent:
    return AuditEvent(action, "done", Actor(), world.root, target, data or {})


def _of(action: str) -> AuditFilter:
    return AuditFilter(action=action)
