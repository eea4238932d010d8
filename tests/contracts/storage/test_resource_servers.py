"""Resource servers: one identifier in the whole installation, found by it, and where they reach."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from keyturn.server.domain.errors import Code, Refusal
from keyturn.server.domain.ids import new_id
from keyturn.server.domain.resource_servers import ResourceServer
from keyturn.server.services.ports import Slice
from keyturn.server.storage import open_storage
from tests.contracts.storage.plans import plan
from tests.contracts.storage.world import NOW, World, refused, walk

ASSETS = "https://assets.example"


async def added(
    world: World, tenant: str, identifier: str, algorithm: str = "ES256"
) -> ResourceServer:
    server = ResourceServer(new_id(), tenant, identifier, "Assets of Acmé", algorithm, NOW)
    async with world.storage.store.transaction() as work:
        await work.resource_servers.add(server)
    return server


class TestAdd:
    async def test_as_it_was_given(self, world: World) -> None:
        server = replace(await added(world, world.root, ASSETS), algorithm="Ed25519", version=4)
        other = replace(server, id=new_id(), identifier=f"{ASSETS}/")
        async with world.storage.store.transaction() as work:
            await work.resource_servers.add(other)
            assert await work.resource_servers.get(other.id) == other
            for unknown in (new_id(), "junk"):
                assert await work.resource_servers.get(unknown) is None

    async def test_conflict_in_whatever_tenant(self, world: World) -> None:
        below = await world.tenant(world.root, "below")
        server = await added(world, below, ASSETS)
        for tenant in (below, world.root):
            refusal = await refused(added(world, tenant, ASSETS))
            assert (refusal.code, refusal.field) == (Code.CONFLICT, "identifier")
        async with world.storage.store.transaction() as work:
            assert await work.resource_servers.named([ASSETS]) == (server,)

    async def test_at_once_one_wins(self, database_url: str) -> None:
        async with open_storage(database_url) as storage:
            world = await World.build(storage)
            tenants = [world.root, await world.tenant(world.root, "below")]
            outcomes = await asyncio.gather(
                *(added(world, tenants[n % 2], ASSETS) for n in range(6)), return_exceptions=True
            )
            lost = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
            assert [type(outcome) for outcome in lost] == [Refusal] * 5


class TestInTenant:
    async def test_its_own_page_by_page(self, world: World) -> None:
        below = await world.tenant(world.root, "below")
        own = [await added(world, below, f"urn:{number}") for number in range(5)]
        await added(world, world.root, "urn:root")
        async with world.storage.store.transaction() as work:
            for limit in (1, 2, 5, 6):
                found = await walk(lambda part: work.resource_servers.in_tenant(below, part), limit)
                assert found == sorted(own, key=lambda server: server.id)
            assert (await work.resource_servers.in_tenant(new_id(), Slice(5))).items == ()

    @pytest.mark.parametrize(
        "after", [("x",), (new_id(), new_id()), ("a\0b",)], ids=["x", "two", "nul"]
    )
    async def test_invalid_request_for_no_place(self, world: World, after: tuple[str, ...]) -> None:
        async with world.storage.store.transaction() as work:
            read = work.resource_servers.in_tenant(world.root, Slice(5, after))
            assert (await refused(read)).code is Code.INVALID_REQUEST

    async def test_on_an_index(self, world: World) -> None:
        part = Slice(5, (new_id(),))
        used = await plan(
            world.storage, lambda work: work.resource_servers.in_tenant(world.root, part)
        )
        assert "ix_resource_servers_tenant_id_id" in used


class TestSave:
    async def test_name_and_algorithm_and_the_next_version(self, world: World) -> None:
        server = await added(world, world.root, ASSETS)
        changed = replace(server, name="All", algorithm="RS256")
        async with world.storage.store.transaction() as work:
            kept = await work.resource_servers.save(replace(changed, identifier="urn:other"))
            assert kept == replace(changed, version=2)
            assert await work.resource_servers.get(server.id) == kept

    async def test_not_found_when_it_is_gone(self, world: World) -> None:
        server = await added(world, world.root, ASSETS)
        async with world.storage.store.transaction() as work:
            await work.resource_servers.remove(server.id)
            assert (await refused(work.resource_servers.save(server))).code is Code.NOT_FOUND
            assert await work.resource_servers.named([ASSETS]) == ()
        await added(world, world.root, ASSETS)


class TestNamed:
    async def test_those_that_there_are(self, world: World) -> None:
        servers = {name: await added(world, world.root, name) for name in ("urn:a", "urn:b")}
        asked = ["urn:b", "urn:a", "urn:A", "urn:c", "urn:", "a\0b", "\ud800", "x" * 10_000]
        async with world.storage.store.transaction() as work:
            found = await work.resource_servers.named(asked)
            assert {server.identifier: server for server in found} == servers
            assert await work.resource_servers.named([]) == ()

    async def test_on_an_index(self, world: World) -> None:
        used = await plan(
            world.storage, lambda work: work.resource_servers.named([ASSETS, "urn:a"])
        )
        assert "uq_resource_servers_identifier" in used or "sqlite_autoindex" in used


class TestReached:
    async def test_the_tenant_and_those_below(self, world: World) -> None:
        top = await world.tenant(world.root, "top")
        below = await world.tenant(top, "below")
        other = await world.tenant(world.root, "other")
        among = [world.root, top, below, other, new_id()]
        async with world.storage.store.transaction() as work:
            assert await work.resource_servers.reached(top, among) == {top, below}
            assert await work.resource_servers.reached(below, among) == {below}
            assert await work.resource_servers.reached(top, [other]) == frozenset()
            assert await work.resource_servers.reached(top, []) == frozenset()

    async def test_on_an_index(self, world: World) -> None:
        used = await plan(
            world.storage, lambda work: work.resource_servers.reached(world.root, [world.root])
        )
        assert "_tenant_tree" in used or "sqlite_autoindex" in used


class TestAlgorithms:
    async def test_all_that_any_of_them_wants(self, world: World) -> None:
        below = await world.tenant(world.root, "below")
        async with world.storage.store.transaction() as work:
            assert await work.resource_servers.algorithms() == frozenset()
        for number, algorithm in enumerate(("RS256", "ES256", "RS256")):
            await added(world, below, f"urn:{number}", algorithm)
        async with world.storage.store.transaction() as work:
            assert await work.resource_servers.algorithms() == {"RS256", "ES256"}
