"""`ports.KeyLookup`: what an exchange reads."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise
from random import Random
from time import perf_counter

import asyncpg
import pytest

from keyturn.server.domain.endpoints import FOR_ALL, Endpoint
from keyturn.server.domain.errors import Refusal
from keyturn.server.domain.ids import new_id
from keyturn.server.domain.model import (
    ApiKey,
    KeyHash,
    KeyRecord,
    OldSecret,
    Role,
    Rotation,
    Tenant,
)
from keyturn.server.domain.permissions import EDITOR, TENANT_ADMIN, VIEWER
from keyturn.server.domain.policy import Policy
from keyturn.server.services.ports import KeyUse
from keyturn.server.storage import SqliteLookup, Storage, open_storage
from keyturn.server.storage.driver import _SETTINGS
from keyturn.server.storage.lookup_postgres import LOOKUP
from tests.contracts.storage.world import HASH, NOW, World, names, new_key_id


async def test_record_has_key_and_user_to_the_letter(world: World) -> None:
    key = await world.new_key(expires_at=NOW + timedelta(days=1))
    record = await world.find(key)
    assert (record.key_id, record.hash, record.user_id) == (key, HASH, world.user)
    assert record.expires_at == NOW + timedelta(days=1)
    assert (record.username, record.user_kind, record.epoch) == ("reader", "service", 0)
    assert record.home_tenant_id == world.root
    assert record.roles == ()
    assert not record.more_tenants
    assert (record.old_secret, record.networks) == (None, None)
    assert (record.endpoint_ids, record.opened) == (None, None)
    assert (record.idle_since, record.idle_timeout) == (NOW, None)


@pytest.mark.parametrize("key", ["", "0" * 22, "\0" * 22, "\ud800", "x" * 5000, "' OR 1=1 --", "ä"])
async def test_none_for_what_is_no_key(world: World, key: str) -> None:
    assert await world.storage.lookup.find(key) is None


async def test_revoked_key_and_disabled_user_are_found_and_say_so(world: World) -> None:
    async with world.storage.store.transaction() as work:
        await work.api_keys.revoke(world.key, NOW, "lost")
        await work.users.set_disabled(world.user, NOW)
        await work.users.raise_epochs([world.user])
    record = await world.find()
    assert (record.revoked_at, record.user_disabled_at, record.epoch) == (NOW, NOW, 1)


async def test_role_reaches_the_tenants_below(world: World) -> None:
    organisation = await world.tenant(world.root, "organisation")
    product = await world.tenant(organisation, "product")
    await world.tenant(world.root, "other")
    await world.member(organisation, EDITOR)
    await world.member(product, VIEWER)
    record = await world.find()
    assert names(record) == [(organisation, "editor"), (product, "editor"), (product, "viewer")]
    assert record.roles[0].tenant_name == "organisation"
    assert record.roles[0].role == replace(EDITOR, description="")


async def test_role_held_above_and_here_comes_once(world: World) -> None:
    below = await world.tenant(world.root, "below")
    await world.member(world.root)
    await world.member(below)
    assert names(await world.find()) == [(world.root, "viewer"), (below, "viewer")]


async def test_custom_role_comes_with_its_permissions(world: World) -> None:
    role = Role(new_id(), "writer", frozenset({"assets:write"}), world.root)
    async with world.storage.store.transaction() as work:
        await work.roles.add(role)
    await world.member(world.root, role)
    assert (await world.find()).roles[0].role == role


async def test_suspended_tenant_takes_all_below_with_it(world: World) -> None:
    organisation = await world.tenant(world.root, "organisation")
    product = await world.tenant(organisation, "product")
    other = await world.tenant(world.root, "other")
    await world.member(world.root)
    await world.member(product)
    await world.suspend(organisation)
    assert names(await world.find()) == [(world.root, "viewer"), (other, "viewer")]
    found = await world.storage.lookup.find(world.key, tenants=[product, organisation, other])
    assert found is not None
    assert names(found) == [(other, "viewer")]


async def test_key_of_one_tenant_gives_exactly_that(world: World) -> None:
    below = await world.tenant(world.root, "below")
    await world.tenant(below, "further below")
    await world.member(world.root)
    key = await world.new_key(tenant=below)
    record = await world.find(key)
    assert names(record) == [(below, "viewer")]
    assert record.key_tenant_id == below
    for options in ({"tenants": [world.root]}, {"after": below}):
        found = await world.storage.lookup.find(key, **options)
        assert found is not None
        assert found.roles == ()


async def test_key_of_some_roles_gives_only_those(world: World) -> None:
    await world.member(world.root, VIEWER)
    await world.member(world.root, EDITOR)
    one = await world.new_key(roles=(VIEWER.id, TENANT_ADMIN.id))
    none = await world.new_key(roles=())
    assert names(await world.find(one)) == [(world.root, "viewer")]
    assert names(await world.find(none)) == []


async def test_pages_cover_every_tenant_once_in_order(world: World) -> None:
    tops = [world.root] + [await world.tenant(world.root, f"{n:02}") for n in range(12)]
    every = sorted([*tops, await world.tenant(tops[3], "deep")])
    await world.member(world.root)
    await world.member(tops[3], EDITOR)
    await world.member(tops[7])
    seen: list[str] = []
    after, more = "", True
    while more:
        page = await world.storage.lookup.find(world.key, after=after, limit=5)
        assert page is not None
        tenants = list(dict.fromkeys(item.tenant_id for item in page.roles))
        assert len(tenants) <= 5
        seen += tenants
        after, more = tenants[-1], page.more_tenants
    assert seen == every
    assert all(one < other for one, other in pairwise(seen))


@pytest.mark.parametrize("inverted", [False, True])
async def test_pages_of_many_memberships_are_as_counted_by_hand(
    world: World, inverted: bool
) -> None:
    """Teams below departments, many of them held by themselves; some are suspended, and with
    `inverted` some have ids below their parents', as if clocks had disagreed.
    """
    chance = Random(5)
    parents: dict[str, str | None] = {world.root: None}
    departments = [await world.tenant(world.root, f"{n:02}") for n in range(8)]
    parents.update(dict.fromkeys(departments, world.root))
    for number in range(40):
        above = chance.choice(departments)
        if inverted and number % 7 == 0:
            team = f"00000000-0000-7000-8000-{number:012}"
            async with world.storage.store.transaction() as work:
                await work.tenants.add(Tenant(team, above, f"t{number}", NOW))
        else:
            team = await world.tenant(above, f"t{number}")
        parents[team] = above
    held: dict[str, set[str]] = {}
    for tenant in [*departments[:3], *chance.sample(list(parents)[9:], 25)]:
        role = chance.choice((VIEWER, EDITOR))
        await world.member(tenant, role)
        held.setdefault(tenant, set()).add(role.id)
    suspended = {departments[1], *chance.sample(list(parents)[9:], 5)}
    for tenant in suspended:
        await world.suspend(tenant)

    def line(tenant: str | None) -> list[str]:
        return [] if tenant is None else [tenant, *line(parents[tenant])]

    def reached(roles: set[str]) -> list[tuple[str, str]]:
        return sorted(
            {
                (tenant, role)
                for tenant in parents
                if not suspended & set(line(tenant))
                for above in line(tenant)
                for role in held.get(above, set()) & roles
            }
        )

    both = {VIEWER.id, EDITOR.id}
    narrowed = await world.new_key(roles=(EDITOR.id,))
    for key, roles in ((world.key, both), (narrowed, {EDITOR.id})):
        for limit in (1, 4, 100):
            seen: list[tuple[str, str]] = []
            after, more = "", True
            while more:
                page = await world.storage.lookup.find(key, after=after, limit=limit)
                assert page is not None
                seen += sorted((item.tenant_id, item.role.id) for item in page.roles)
                after, more = page.roles[-1].tenant_id, page.more_tenants
            assert seen == reached(roles)
        for tenant in parents:
            one = await world.storage.lookup.find(key, tenants=[tenant])
            assert one is not None
            found = sorted((item.tenant_id, item.role.id) for item in one.roles)
            assert found == [pair for pair in reached(roles) if pair[0] == tenant]


async def test_as_many_tenants_as_the_limit_are_not_more(world: World) -> None:
    await world.member(world.root)
    await world.tenant(world.root, "second")
    for limit, more in ((2, False), (1, True)):
        record = await world.storage.lookup.find(world.key, limit=limit)
        assert record is not None
        assert (len(record.roles), record.more_tenants) == (limit, more)


async def test_named_tenants_are_not_limited_and_junk_names_none(world: World) -> None:
    tenants = [await world.tenant(world.root, f"{n}") for n in range(4)]
    await world.member(world.root)
    asked = [*tenants[:3], tenants[0].upper(), new_id(), "\0", "junk"]
    record = await world.storage.lookup.find(world.key, tenants=asked, limit=1)
    assert record is not None
    assert [item.tenant_id for item in record.roles] == tenants[:3]
    assert not record.more_tenants
    empty = await world.storage.lookup.find(world.key, tenants=[])
    assert empty is not None
    assert empty.roles == ()


async def test_malformed_cursor_is_refused(world: World) -> None:
    with pytest.raises(Refusal):
        await world.storage.lookup.find(world.key, after="junk\0")


class TestNarrowedKey:
    async def test_record_has_its_networks(self, world: World) -> None:
        networks = ("10.0.0.0/8", "2001:db8::/32")
        record = await _record(world, _key(world, networks=networks))
        assert record.networks == networks
        assert (await _record(world, _key(world, networks=()))).networks == ()

    async def test_listed_endpoints_open_what_any_of_them_may_need(self, world: World) -> None:
        reading = _endpoint(world.root, "/hosts", ({"hosts:read"}, {"all:read", "hosts:list"}))
        writing = _endpoint(world.root, "/hosts/{id}", ({"hosts:write"},))
        open_to_all = _endpoint(world.root, "/health", FOR_ALL)
        unknown = _endpoint(world.root, "/odd", ())
        async with world.storage.store.transaction() as work:
            await work.endpoints.add([reading, writing, open_to_all, unknown])
        listed = (reading.id, open_to_all.id, unknown.id)
        record = await _record(world, _key(world, endpoint_ids=listed))
        assert record.endpoint_ids == listed
        assert record.opened == frozenset({"hosts:read", "all:read", "hosts:list"})
        both = await _record(world, _key(world, endpoint_ids=(reading.id, writing.id)))
        assert record.opened is not None
        assert both.opened == record.opened | {"hosts:write"}

    async def test_list_of_nothing_or_of_what_is_gone_opens_nothing(self, world: World) -> None:
        endpoint = _endpoint(world.root, "/hosts", ({"hosts:read"},))
        async with world.storage.store.transaction() as work:
            await work.endpoints.add([endpoint])
            await work.endpoints.remove(endpoint.id)
        for listed in ((), (endpoint.id, new_id())):
            record = await _record(world, _key(world, endpoint_ids=listed))
            assert (record.endpoint_ids, record.opened) == (listed, frozenset())

    async def test_only_catalogues_at_or_above_home_open_anything(self, world: World) -> None:
        home = await world.tenant(world.root, "home")
        below = await world.tenant(home, "below")
        beside = await world.tenant(world.root, "beside")
        user = await world.new_user("narrowed", home=home)
        endpoints = [
            _endpoint(tenant, "/hosts", ({f"hosts:{name}"},))
            for name, tenant in zip(
                ("above", "home", "below", "beside"),
                (world.root, home, below, beside),
                strict=True,
            )
        ]
        async with world.storage.store.transaction() as work:
            await work.endpoints.add(endpoints)
        listed = tuple(endpoint.id for endpoint in endpoints)
        for holder, opened in (
            (user, {"hosts:above", "hosts:home"}),
            (world.user, {"hosts:above"}),
        ):
            key = replace(_key(world, endpoint_ids=listed), user_id=holder)
            assert (await _record(world, key)).opened == frozenset(opened)

    async def test_what_became_administrative_opens_nothing(self, world: World) -> None:
        endpoint = _endpoint(world.root, "/hosts", ({"hosts:read"},))
        async with world.storage.store.transaction() as work:
            await work.endpoints.add([endpoint])
            await work.endpoints.save([replace(endpoint, administrative=True)])
        record = await _record(world, _key(world, endpoint_ids=(endpoint.id,)))
        assert record.opened == frozenset()

    async def test_list_takes_no_roles_away(self, world: World) -> None:
        await world.member(world.root)
        record = await _record(world, _key(world, endpoint_ids=()))
        assert names(record) == [(world.root, "viewer")]


class TestRotatedKey:
    async def test_record_has_both_secrets(self, world: World) -> None:
        newest = KeyHash(b"newest", 3)
        until = NOW + timedelta(days=2)
        async with world.storage.store.transaction() as work:
            await work.api_keys.rotate(world.key, newest, Rotation(NOW, until, ends_on_use=True))
        record = await world.find()
        assert record.hash == newest
        assert record.old_secret == OldSecret(HASH, until, ends_on_use=True)

    async def test_old_secret_is_gone_when_the_new_one_was_used(self, world: World) -> None:
        rotation = Rotation(NOW, NOW + timedelta(days=2), ends_on_use=True)
        async with world.storage.store.transaction() as work:
            await work.api_keys.rotate(world.key, KeyHash(b"newest", 3), rotation)
            await work.api_keys.note_uses([KeyUse(world.key, 1, NOW, None, ends_old=True)])
        assert (await world.find()).old_secret is None


class TestIdleKey:
    async def test_since_is_the_latest_of_made_rotated_and_used(self, world: World) -> None:
        assert (await world.find()).idle_since == NOW
        day = timedelta(days=1)
        async with world.storage.store.transaction() as work:
            await work.api_keys.rotate(
                world.key, HASH, Rotation(NOW + 2 * day, NOW + 3 * day, ends_on_use=False)
            )
        assert (await world.find()).idle_since == NOW + 2 * day
        for used, since in ((NOW + day, NOW + 2 * day), (NOW + 3 * day, NOW + 3 * day)):
            await _use(world, used)
            assert (await world.find()).idle_since == since

    async def test_since_is_the_use_of_a_key_never_rotated(self, world: World) -> None:
        used = NOW + timedelta(microseconds=1)
        await _use(world, used)
        assert (await world.find()).idle_since == used

    @pytest.mark.parametrize(
        ("own", "root", "middle", "home", "shortest"),
        [
            (None, None, None, None, None),
            (50, None, None, None, 50),
            (None, 40, None, None, 40),
            (None, 40, 30, 60, 30),
            (None, None, None, 20, 20),
            (50, 40, None, 60, 40),
            (10, 40, None, 60, 10),
        ],
    )
    async def test_timeout_is_the_shortest_of_its_own_and_those_above(
        self,
        storage: Storage,
        own: int | None,
        root: int | None,
        middle: int | None,
        home: int | None,
        shortest: int | None,
    ) -> None:
        world = World(storage)
        tenants: list[str] = []
        for name, seconds in (("root", root), ("middle", middle), ("home", home)):
            tenants.append(await _settled(storage, tenants, name, seconds))
        world.root = tenants[0]
        # Neither a sibling nor a tenant below has a say.
        await _settled(storage, tenants[:2], "sibling", 1)
        await _settled(storage, tenants, "below", 1)
        world.user = await world.new_user("reader", home=tenants[2])
        key = replace(_key(world, idle_timeout=own), home_tenant_id=tenants[2])
        record = await _record(world, key)
        assert (record.home_tenant_id, record.idle_timeout) == (tenants[2], shortest)


async def test_lookup_cannot_be_made_to_write(sqlite_url: str) -> None:
    async with open_storage(sqlite_url) as storage:
        assert isinstance(storage.lookup, SqliteLookup)
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            storage.lookup._connection.execute("DELETE FROM roles")


def _key(
    world: World,
    *,
    endpoint_ids: tuple[str, ...] | None = None,
    networks: tuple[str, ...] | None = None,
    idle_timeout: int | None = None,
) -> ApiKey:
    return ApiKey(
        new_key_id(),
        world.user,
        world.root,
        "narrowed",
        NOW,
        endpoint_ids=endpoint_ids,
        networks=networks,
        idle_timeout=idle_timeout,
    )


async def _record(world: World, key: ApiKey) -> KeyRecord:
    async with world.storage.store.transaction() as work:
        await work.api_keys.add(key, HASH)
    return await world.find(key.id)


async def _use(world: World, at: datetime) -> None:
    async with world.storage.store.transaction() as work:
        await work.api_keys.note_uses([KeyUse(world.key, 1, at, None)])


async def _settled(storage: Storage, above: list[str], name: str, seconds: int | None) -> str:
    """A tenant below the last of `above`, with a policy about idle keys."""
    parent = above[-1] if above else None
    tenant = Tenant(new_id(), parent, name, NOW, policy=Policy(api_key_idle_timeout=seconds))
    async with storage.store.transaction() as work:
        await work.tenants.add(tenant)
    return tenant.id


def _endpoint(tenant: str, path: str, groups: Iterable[Iterable[str]]) -> Endpoint:
    opened_by = tuple(frozenset(group) for group in groups)
    return Endpoint(
        id=new_id(),
        tenant_id=tenant,
        service="inventory",
        method="GET",
        path=path,
        name="",
        opened_by=opened_by,
        deprecated=False,
        experimental=False,
        administrative=False,
        created_at=NOW,
        updated_at=NOW,
        version=1,
    )


async def test_20000_tenants_cost_no_more_than_a_page(postgres_url: str) -> None:
    async with open_storage(postgres_url) as storage:
        world = await World.build(storage)
        await world.member(world.root)
        bound = await world.new_key(tenant=await world.tenant(world.root, "below"))
        endpoints = [_endpoint(world.root, f"/{n}", ({"a:a"},)) for n in range(3)]
        async with storage.store.transaction() as work:
            await work.endpoints.add(endpoints)
        listing = await _record(world, _key(world, endpoint_ids=tuple(e.id for e in endpoints)))
        await _many_tenants(postgres_url, world.root)
    connection = await asyncpg.connect(postgres_url, server_settings=_SETTINGS)
    try:
        # Statistics of empty tables, then true ones: neither may lead the planner astray.
        policies = "UPDATE tenants SET api_key_idle_timeout = 9"
        for preparation in ("SELECT 1", "ANALYZE", "VACUUM ANALYZE", policies, "ANALYZE"):
            await connection.execute(preparation)
            async with open_storage(postgres_url) as storage:
                record = await storage.lookup.find(world.key)
                assert record is not None
                assert (record.more_tenants, len(record.roles)) == (True, 20)
                for key in (world.key, bound, listing.key_id):
                    assert await _fastest(storage, key) < 0.01
                    plan = await _plan(connection, key)
                    assert _rows_read(plan) < 500, plan
    finally:
        await connection.close()


async def _fastest(storage: Storage, key: str) -> float:
    times = []
    for _ in range(50):
        begin = perf_counter()
        await storage.lookup.find(key)
        times.append(perf_counter() - begin)
    return min(times)


async def _many_tenants(url: str, root: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(
            f"""
            CREATE TEMP TABLE fresh AS
                SELECT gen_random_uuid() AS id FROM generate_series(1, 20000);
            INSERT INTO tenants (id, parent_id, name, name_folded, created_at, version)
                SELECT id, '{root}', id::text, id::text, now(), 1 FROM fresh;
            INSERT INTO tenant_tree SELECT id, id, 0, id::text FROM fresh;
            INSERT INTO tenant_tree SELECT '{root}', id, 1, id::text FROM fresh;
            INSERT INTO endpoints SELECT id, '{root}', 's', 'GET', '/' || id, '/' || id, 1, '',
                '[]', false, false, false, now(), now(), 1 FROM fresh;
            """
        )
    finally:
        await connection.close()


async def _plan(connection: asyncpg.Connection[asyncpg.Record], key: str) -> str:
    await connection.execute(f"PREPARE lookup AS {LOOKUP}")
    lines = await connection.fetch(
        "EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF) EXECUTE lookup"
        f"('{key}', NULL, '00000000-0000-0000-0000-000000000000', 20)"
    )
    await connection.execute("DEALLOCATE lookup")
    return "\n".join(line for (line,) in lines)


def _rows_read(plan: str) -> int:
    """The most rows that any step of the plan touched."""
    most = 0
    for line in plan.splitlines():
        if "rows=" in line and "loops=" in line:
            rows = int(line.split("rows=")[1].split()[0])
            most = max(most, rows * int(line.split("loops=")[1].split(")")[0]))
        if "Removed by" in line:
            most = max(most, int(line.split(":")[1]))
    return most
