"""A sign-in is a key, and no API key: nothing that lists, counts, names or tells of keys shows it.

What a person makes with one, outlives it.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from sqlalchemy import update

from keyturn.server.domain.ids import new_id
from keyturn.server.domain.model import KeyHash
from keyturn.server.domain.webhooks import Webhook
from keyturn.server.services.callers import Needs
from keyturn.server.services.key_events import KeyWatch
from keyturn.server.services.management.api_keys import ApiKeyManagement
from keyturn.server.services.management.key_making import WantedKey
from keyturn.server.services.management.own_keys import OwnKeys
from keyturn.server.services.ports import NewKey, Slice
from keyturn.server.storage import aging_keys
from keyturn.server.storage.tables import api_keys
from tests.http.management.conftest import Person
from tests.http.sign_in.conftest import Console

DAYS = timedelta(days=3_000)


async def calling(console: Console, tenant: str | None) -> tuple[Person, str]:
    """The same person by REST, and its one API key."""
    service = console.service
    key = await service.add_key(user_id=console.user.id, home_tenant_id=service.acme)
    body = await service.exchange(key=key, user=console.user.username)
    return Person(service, console.user, body["access_token"], tenant), key.key_id


class TestSignIns:
    async def test_are_in_no_list(self, console: Console) -> None:
        cookie = await console.sign_in()
        key_id = cookie.split("_")[1]
        admin, _ = await calling(console, console.service.acme)
        me, mine = await calling(console, None)
        lists: dict[str, Any] = {}
        for path in ("/api-keys", f"/api-keys?user_id={console.user.id}"):
            lists[path] = (await admin.get(path)).json()["items"]
        for path in ("/users/me/api-keys", "/users/me/sessions"):
            lists[path] = (await me.get(path)).json()["items"]
        for path in (f"/sessions?user_id={console.user.id}", "/webhooks"):
            lists[path] = (await admin.get(path)).json()["items"]
        assert mine in str(lists["/api-keys"])
        assert mine in str(lists["/users/me/api-keys"])
        assert key_id not in str(lists)

    async def test_404_by_their_ids_own_ones_too(self, console: Console) -> None:
        cookie = await console.sign_in()
        key_id = cookie.split("_")[1]
        admin, _ = await calling(console, console.service.acme)
        me, _ = await calling(console, None)
        answers = [
            await admin.get(f"/api-keys/{key_id}"),
            await admin.patch(f"/api-keys/{key_id}", {"name": "x"}),
            await admin.post(f"/api-keys/{key_id}/rotate", {}),
            await admin.post(f"/api-keys/{key_id}/revoke"),
            await admin.get(f"/sessions?api_key_id={key_id}"),
            await admin.post("/revocations", {"api_key_id": key_id}),
            await me.get(f"/users/me/api-keys/{key_id}"),
            await me.patch(f"/users/me/api-keys/{key_id}", {"name": "x"}),
            await me.post(f"/users/me/api-keys/{key_id}/rotate", {}),
            await me.post(f"/users/me/api-keys/{key_id}/revoke"),
            await me.delete(f"/users/me/sessions/{key_id}"),
        ]
        assert [answer.status_code for answer in answers] == [404] * len(answers)
        await console.arrive(cookie)

    async def test_count_for_nothing_and_take_no_name(self, console: Console) -> None:
        store, now = console.service.service.parts.store, console.service.clock()
        async with store.transaction() as tx:
            before = await tx.api_keys.count_at_home(console.service.acme, now, 100)
        cookie = await console.sign_in()
        agent = (await console.signing_in.mine(await console.caller(cookie)))[0].agent
        async with store.transaction() as tx:
            keys, part = tx.api_keys, Slice(100)
            assert await keys.count_at_home(console.service.acme, now, 100) == before
            assert await keys.count_of_user(console.user.id, now, 100) == 0
            assert not await keys.name_taken(console.user.id, agent, now)
            assert not (await keys.of_user(console.user.id, part)).items
            assert len((await keys.at_home(console.service.acme, part)).items) == before
            assert not await tx.endpoints.listed_by([new_id()])

    async def test_are_told_to_no_webhook(self, console: Console) -> None:
        await console.sign_in()
        store = console.service.service.parts.store
        acme, now = console.service.acme, console.service.clock()
        soon = await console.service.add_key(expires_at=now + timedelta(hours=10))
        async with store.transaction() as tx:
            # As old as the watch wants a key's life to be, or it tells of neither.
            for key_id in (soon.key_id, (await tx.sign_ins.live_of(console.user.id, now))[0].id):
                await tx.unit.run(  # type: ignore[attr-defined]
                    update(api_keys)
                    .where(api_keys.c.id == key_id)
                    .values(created_at=now - timedelta(days=60), last_used_at=None)
                )
            hook = Webhook(new_id(), acme, "w", "https://w.example/", now, b"sealed")
            await tx.webhooks.add(hook)
        assert await KeyWatch(store).look() == 1  # the key will expire

    async def test_are_no_finding_and_in_nobodys_way(self, console: Console) -> None:
        await console.sign_in()
        url = console.service.settings.database_url.get_secret_value()
        aging = await aging_keys(url, within=DAYS, unused_for=timedelta(0), at_most=100)
        assert (aging.soon.count, aging.expired.count) == (0, 0)
        assert console.user.id not in str(aging)
        async with console.service.service.parts.store.transaction() as tx:
            outside = await tx.seals.some_keys_outside([1], await tx.now(), 100)
        assert console.user.username not in {one.username for one in outside}

    async def test_explain_no_call(self, console: Console) -> None:
        cookie = await console.sign_in()
        admin, mine = await calling(console, console.service.acme)
        entry = {
            "name": "a",
            "service": "s",
            "method": "GET",
            "path": "/a",
            "opened_by": [["assets:manage"]],
        }
        made = await admin.post("/endpoints", entry)
        assert made.status_code == 201, made.text
        told = await admin.get("/endpoints/explain?method=GET&path=/a")
        assert told.status_code == 200, told.text
        assert mine in told.text
        assert cookie.split("_")[1] not in told.text


class TestWhatTheyMake:
    async def test_outlives_them(self, console: Console) -> None:
        signing_in, parts = console.signing_in, console.service.service.parts
        changes, cookie = signing_in._changes, await console.sign_in()
        own = OwnKeys(parts.store, changes, parts.key_format, parts.lookup)
        made = await own.make(await console.caller(cookie, "POST"), WantedKey("laptop"))
        assert (made.key.expires_at, made.key.idle_timeout) == (None, None)
        arrival = await console.arrive(cookie)
        caller = await signing_in._callers.in_tenant(
            arrival, console.service.acme, Needs("users:write")
        )
        keys = ApiKeyManagement(parts.store, changes, parts.key_format)
        others = await keys.make(caller, console.service.demo.user.id, WantedKey("batch"))
        assert (others.key.expires_at, others.key.idle_timeout) == (None, None)
        await signing_in.sign_out(cookie)
        await console.service.exchange(key=self.new(others), user=console.service.username)

    @staticmethod
    def new(made: Any) -> Any:
        return NewKey(made.key.id, made.secret, KeyHash(b"", 0))
