"""`ports.Permissions` and `ports.Endpoints`: what a tenant registers counts there and below."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from datetime import timedelta
from functools import partial

import pytest

from keyturn.server.domain.endpoints import FOR_ALL, Endpoint, Entry
from keyturn.server.domain.errors import Code
from keyturn.server.domain.ids import new_id
from keyturn.server.domain.model import ApiKey, Permission
from keyturn.server.services.ports import Page, Slice
from keyturn.server.storage import Storage
from tests.contracts.storage.plans import plan
from tests.contracts.storage.world import HASH, NOW, World, new_key_id, refused, walk

DAY = timedelta(days=1)


@dataclass(frozen=True)
class Tree:
    """A root, a tenant in the middle, one below it, and one beside."""

    root: str
    middle: str
    below: str
    beside: str


@pytest.fixture
async def tree(world: World) -> Tree:
    middle = await world.tenant(world.root, "middle")
    below = await world.tenant(middle, "below")
    return Tree(world.root, middle, below, await world.tenant(world.root, "beside"))


def _permission(tenant: str, name: str, description: str = "") -> Permission:
    return Permission(tenant, name, description, NOW)


def _endpoint(tenant: str, path: str = "/hosts/{id}", method: str = "GET") -> Endpoint:
    return Endpoint(
        id=new_id(),
        tenant_id=tenant,
        service="inventory",
        method=method,
        path=path,
        name="Read a host",
        opened_by=(frozenset({"hosts:read"}),),
        deprecated=False,
        experimental=False,
        administrative=False,
        created_at=NOW,
        updated_at=NOW,
        version=1,
    )


async def _register(storage: Storage, *permissions: Permission) -> None:
    async with storage.store.transaction() as work:
        await work.permissions.add(permissions)


async def _permissions(storage: Storage, tenant: str, part: Slice) -> Page[Permission]:
    async with storage.store.transaction() as work:
        return await work.permissions.visible(tenant, part)


def _entry(endpoint: Endpoint) -> Entry:
    return Entry(**{one.name: getattr(endpoint, one.name) for one in fields(Entry)})


async def _add(storage: Storage, *endpoints: Endpoint) -> None:
    async with storage.store.transaction() as work:
        await work.endpoints.add(endpoints)


class TestPermissions:
    async def test_pages_cover_what_is_registered_here_and_above(
        self, storage: Storage, tree: Tree
    ) -> None:
        seen = [
            _permission(tenant, f"{service}:{action}")
            for tenant in (tree.root, tree.middle)
            for service in ("a", "a-b", "a.b", "a1", "z")
            for action in ("read", "write")
        ]
        await _register(
            storage, *seen, _permission(tree.below, "b:b"), _permission(tree.beside, "c:c")
        )
        seen.sort(key=lambda permission: (permission.name, permission.tenant_id))
        for limit in (1, 3, 20, 50):
            assert await walk(partial(_permissions, storage, tree.middle), limit) == seen
        assert len(await walk(partial(_permissions, storage, tree.below), 4)) == 21

    async def test_nothing_for_a_tenant_that_is_not_there(
        self, storage: Storage, tree: Tree
    ) -> None:
        await _register(storage, _permission(tree.root, "a:a"))
        assert await _permissions(storage, new_id(), Slice(5)) == Page(())

    @pytest.mark.parametrize("after", [("a:a", "junk"), ("\0", new_id()), ("a:a",)])
    async def test_400_malformed_cursor(
        self, storage: Storage, tree: Tree, after: tuple[str, ...]
    ) -> None:
        refusal = await refused(_permissions(storage, tree.root, Slice(5, after)))
        assert refusal.code is Code.INVALID_REQUEST

    async def test_what_is_registered_stays_until_it_is_described(
        self, storage: Storage, tree: Tree
    ) -> None:
        first = _permission(tree.root, "a:a", "first")
        await _register(storage)
        await _register(storage, first)
        await _register(storage, replace(first, description="second"), first)
        assert (await _permissions(storage, tree.root, Slice(5))).items == (first,)
        described = replace(first, description="third", created_at=NOW + DAY)
        new = _permission(tree.root, "b:b", "new")
        async with storage.store.transaction() as work:
            await work.permissions.describe(described)
            await work.permissions.describe(new)
        assert (await _permissions(storage, tree.root, Slice(5))).items == (
            replace(first, description="third"),
            new,
        )

    async def test_only_its_own_are_removed(self, storage: Storage, tree: Tree) -> None:
        await _register(storage, _permission(tree.root, "a:a"), _permission(tree.middle, "a:a"))
        async with storage.store.transaction() as work:
            assert not await work.permissions.remove(tree.below, "a:a")
            assert await work.permissions.remove(tree.middle, "a:a")
            assert not await work.permissions.remove(tree.middle, "a:a")
            assert not await work.permissions.remove("junk", "\0")
        assert len((await _permissions(storage, tree.middle, Slice(5))).items) == 1

    async def test_known_are_those_of_the_tenant_and_above(
        self, storage: Storage, tree: Tree
    ) -> None:
        await _register(
            storage,
            _permission(tree.root, "a:a"),
            _permission(tree.middle, "a:a"),
            _permission(tree.middle, "b:b"),
            _permission(tree.beside, "c:c"),
        )
        asked = ["a:a", "b:b", "c:c", "d:d", "\0"]
        async with storage.store.transaction() as work:
            assert await work.permissions.known(tree.below, asked) == {"a:a", "b:b"}
            assert await work.permissions.known(tree.root, asked) == {"a:a"}
            assert await work.permissions.known(tree.root, []) == frozenset()


class TestEndpoints:
    async def test_endpoint_comes_back_with_all_it_had(self, storage: Storage, tree: Tree) -> None:
        odd = Endpoint(
            id=new_id(),
            tenant_id=tree.root,
            service="ünïcode",
            method="DELETE",
            path="/hosts/{id}/tags/<int:tag>/",
            name="Remove a tag 🏷",
            opened_by=(frozenset({"a:a", "b:b"}), frozenset({"c:c"}), frozenset()),
            deprecated=True,
            experimental=True,
            administrative=True,
            created_at=NOW,
            updated_at=NOW + DAY,
            version=3,
        )
        plain = _endpoint(tree.root, "/")
        closed = replace(_endpoint(tree.root, "/closed"), opened_by=())
        open_to_all = replace(_endpoint(tree.root, "/open"), opened_by=FOR_ALL)
        await _add(storage)
        await _add(storage, odd, plain, closed, open_to_all)
        async with storage.store.transaction() as work:
            for endpoint in (odd, plain, closed, open_to_all):
                assert await work.endpoints.get(endpoint.id) == endpoint
            assert await work.endpoints.get(new_id()) is None
            assert await work.endpoints.get("junk") is None

    async def test_many_gives_those_that_there_are(self, storage: Storage, tree: Tree) -> None:
        one, two = _endpoint(tree.root, "/b"), _endpoint(tree.root, "/a")
        await _add(storage, one, two)
        async with storage.store.transaction() as work:
            assert await work.endpoints.many([one.id, two.id, new_id(), "junk"]) == (two, one)
            assert await work.endpoints.many([]) == ()

    async def test_409_same_method_and_shape(self, storage: Storage, tree: Tree) -> None:
        await _add(storage, _endpoint(tree.root, "/hosts/{id}"))
        for taken in (
            _endpoint(tree.root, "/hosts/{id}"),
            _endpoint(tree.root, "/hosts/:host/"),
            _endpoint(tree.root, "/hosts/<int:id>"),
        ):
            refusal = await refused(_add(storage, _endpoint(tree.root, "/new"), taken))
            assert refusal.code is Code.CONFLICT
        # Nothing of a refused batch is left, and none of these is the same.
        await _add(
            storage,
            _endpoint(tree.root, "/new"),
            _endpoint(tree.root, "/hosts/{id}", "POST"),
            _endpoint(tree.middle, "/hosts/{id}"),
            replace(_endpoint(tree.root, "/hosts/{id}"), service="other"),
        )

    async def test_entries_are_those_of_the_tenant_and_above_in_order(
        self, storage: Storage, tree: Tree
    ) -> None:
        first = _endpoint(tree.middle, "/Z")
        second = _endpoint(tree.root, "/a/{b}", "DELETE")
        third, fourth = sorted(
            (_endpoint(tree.root, "/a/{x}"), _endpoint(tree.middle, "/a/{c}")),
            key=lambda endpoint: endpoint.id,
        )
        fifth = _endpoint(tree.root, "/ä")
        await _add(storage, fifth, fourth, third, second, first)
        await _add(storage, _endpoint(tree.below), _endpoint(tree.beside))
        async with storage.store.transaction() as work:
            expected = sorted(
                (first, second, third, fourth, fifth), key=lambda e: (e.shape, e.method, e.id)
            )
            assert await work.endpoints.entries(tree.middle) == tuple(map(_entry, expected))
            assert await work.endpoints.many([e.id for e in expected]) == tuple(expected)
            assert len(await work.endpoints.entries(tree.below)) == 6
            assert len(await work.endpoints.entries(tree.root)) == 3

    async def test_of_service_and_count_are_about_the_tenant_itself(
        self, storage: Storage, tree: Tree
    ) -> None:
        mine = _endpoint(tree.middle)
        other = replace(_endpoint(tree.middle), service="other")
        await _add(storage, mine, other, _endpoint(tree.root), _endpoint(tree.below))
        async with storage.store.transaction() as work:
            assert await work.endpoints.of_service(tree.middle, "inventory") == (mine,)
            assert await work.endpoints.of_service(tree.middle, "unknown") == ()
            assert await work.endpoints.count(tree.middle) == (2, 3)
            assert await work.endpoints.count(tree.below) == (1, 4)
            assert await work.endpoints.count(new_id()) == (0, 0)

    async def test_candidates_have_the_method_and_as_many_segments(
        self, storage: Storage, tree: Tree
    ) -> None:
        here, above = _endpoint(tree.middle, "/hosts/{id}/"), _endpoint(tree.root, "/a/b")
        post = _endpoint(tree.middle, "/hosts/{id}", "POST")
        await _add(storage, here, above, post, _endpoint(tree.middle, "/hosts"))
        await _add(storage, _endpoint(tree.below), _endpoint(tree.beside))
        async with storage.store.transaction() as work:
            assert await work.endpoints.candidates(tree.middle, {"GET"}, 2) == tuple(
                map(_entry, (above, here))
            )
            both = await work.endpoints.candidates(tree.middle, {"GET", "POST"}, 2)
            assert both == tuple(map(_entry, (above, here, post)))
            assert await work.endpoints.candidates(tree.middle, {"GET"}, 3) == ()
            assert await work.endpoints.candidates(tree.middle, set(), 2) == ()

    async def test_candidates_are_found_by_an_index(self, storage: Storage, tree: Tree) -> None:
        await _add(storage, *(_endpoint(tree.root, f"/{n}") for n in range(50)))
        used = await plan(
            storage, lambda work: work.endpoints.candidates(tree.below, {"GET", "HEAD"}, 2)
        )
        assert "ix_endpoints_tenant_id_method_segments" in used

    async def test_saved_is_all_but_id_tenant_and_creation(
        self, storage: Storage, tree: Tree
    ) -> None:
        before, other = _endpoint(tree.root, "/a"), _endpoint(tree.root, "/b")
        await _add(storage, before, other)
        changed = replace(
            before,
            service="new",
            method="POST",
            path="/a/{b}/c",
            name="New",
            opened_by=(frozenset({"x:y"}), frozenset()),
            deprecated=True,
            experimental=True,
            administrative=True,
            updated_at=NOW + DAY,
        )
        meddled = replace(changed, tenant_id=tree.below, created_at=NOW + DAY, version=9)
        async with storage.store.transaction() as work:
            await work.endpoints.save([])
            await work.endpoints.save([other, meddled])
            assert await work.endpoints.get(before.id) == replace(changed, version=2)
            assert await work.endpoints.get(other.id) == replace(other, version=2)
            # Shape and segments moved with the path.
            assert await work.endpoints.candidates(tree.root, {"POST"}, 3) == (_entry(changed),)

    async def test_409_saved_as_one_that_is_there(self, storage: Storage, tree: Tree) -> None:
        one, two = _endpoint(tree.root, "/a/{b}"), _endpoint(tree.root, "/b")
        await _add(storage, one, two)

        async def save() -> None:
            async with storage.store.transaction() as work:
                await work.endpoints.save([replace(one, name="New"), replace(two, path="/a/:x")])

        refusal = await refused(save())
        assert refusal.code is Code.CONFLICT
        async with storage.store.transaction() as work:
            assert await work.endpoints.many([one.id, two.id]) == (one, two)

    async def test_removed_is_gone(self, storage: Storage, tree: Tree) -> None:
        endpoint = _endpoint(tree.root)
        await _add(storage, endpoint)
        async with storage.store.transaction() as work:
            await work.endpoints.remove("junk")
            await work.endpoints.remove(endpoint.id)
            await work.endpoints.remove(endpoint.id)
            assert await work.endpoints.get(endpoint.id) is None


class TestListedBy:
    def _key(self, world: World, user: str, *listed: str) -> ApiKey:
        return ApiKey(new_key_id(), user, world.root, "a key", NOW, endpoint_ids=listed)

    async def test_users_of_live_keys_that_list_one_of_them(self, world: World) -> None:
        users = [await world.new_user(f"user {n}") for n in range(5)]
        one, two, three = (new_id() for _ in range(3))
        async with world.storage.store.transaction() as work:
            now = await work.now()
            for key in (
                self._key(world, users[0], one, three),
                self._key(world, users[0], one),
                self._key(world, users[1], three, two),
                replace(self._key(world, users[1], two), expires_at=now + DAY),
                self._key(world, users[2], three),
                replace(self._key(world, users[3], one), revoked_at=NOW),
                replace(self._key(world, users[4], one), expires_at=now - DAY),
                self._key(world, users[4]),
            ):
                await work.api_keys.add(key, HASH)
        async with world.storage.store.transaction() as work:
            for asked, expected in (
                ([one], users[:1]),
                ([one, two], users[:2]),
                ([two.upper()], users[1:2]),
                ([three, "junk"], users[:3]),
                ([new_id()], []),
                ([], []),
            ):
                assert await work.endpoints.listed_by(asked) == tuple(sorted(expected))

    async def test_they_are_found_by_an_index(self, storage: Storage) -> None:
        used = await plan(storage, lambda work: work.endpoints.listed_by([new_id()]), bitmaps=True)
        assert "ix_api_keys_endpoint_ids" in used
