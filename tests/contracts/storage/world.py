"""Makes tenants, users and keys in as few words as a test has patience for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import pytest

from keyturn.server.domain.authority import UNLISTED
from keyturn.server.domain.errors import Refusal
from keyturn.server.domain.ids import ID_LETTERS, base62, new_id, uuid7_int
from keyturn.server.domain.model import (
    ApiKey,
    KeyHash,
    KeyRecord,
    Membership,
    Role,
    Session,
    Tenant,
    User,
    UserKind,
)
from keyturn.server.domain.permissions import VIEWER
from keyturn.server.domain.sessions import RefreshState
from keyturn.server.services.ports import Page, Slice
from keyturn.server.storage import Storage

T = TypeVar("T")

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
HASH = KeyHash(b"\0\xff" * 16, 2**40)


def new_key_id() -> str:
    return base62(uuid7_int(), ID_LETTERS)


@dataclass
class World:
    storage: Storage
    root: str = ""
    user: str = ""
    key: str = ""

    @classmethod
    async def build(cls, storage: Storage) -> World:
        world = cls(storage)
        world.root = await world.tenant(None, "root")
        world.user = await world.new_user("reader")
        world.key = await world.new_key()
        return world

    async def tenant(self, parent: str | None, name: str) -> str:
        tenant = Tenant(new_id(), parent, name, NOW)
        async with self.storage.store.transaction() as work:
            await work.tenants.add(tenant)
        return tenant.id

    async def new_user(
        self, username: str, *, home: str = "", kind: UserKind = UserKind.SERVICE
    ) -> str:
        user = User(new_id(), kind, username, "A reader", home or self.root, 0, NOW)
        async with self.storage.store.transaction() as work:
            await work.users.add(user)
        return user.id

    async def new_key(
        self,
        *,
        tenant: str | None = None,
        roles: tuple[str, ...] | None = None,
        expires_at: datetime | None = None,
    ) -> str:
        key = ApiKey(
            new_key_id(),
            self.user,
            self.root,
            "a key",
            NOW,
            tenant_id=tenant,
            role_ids=roles,
            expires_at=expires_at,
        )
        async with self.storage.store.transaction() as work:
            await work.api_keys.add(key, HASH)
        return key.id

    async def role(self, tenant: str, name: str, *permissions: str) -> Role:
        role = Role(new_id(), name, frozenset(permissions), tenant)
        async with self.storage.store.transaction() as work:
            await work.roles.add(role)
        return role

    async def member(self, tenant: str, role: Role = VIEWER, *, user: str = "") -> None:
        async with self.storage.store.transaction() as work:
            await work.memberships.add(Membership(user or self.user, tenant, role.id, NOW))

    async def suspend(self, tenant: str) -> None:
        async with self.storage.store.transaction() as work:
            assert await work.tenants.set_suspended(tenant, NOW)

    async def find(self, key: str | None = None) -> KeyRecord:
        found = await self.storage.lookup.find(key or self.key)
        assert found is not None
        return found

    def state(self, session_id: str, generation: int) -> RefreshState:
        ends = int((datetime.now(UTC) + timedelta(hours=10)).timestamp())
        return RefreshState(session_id, generation, self.key, ends, ends, UNLISTED, 1)

    def session(self, session_id: str) -> Session:
        return Session(session_id, self.key, self.user, 0, NOW, NOW + timedelta(hours=10))


def names(record: KeyRecord) -> list[tuple[str, str]]:
    return [(item.tenant_id, item.role.name) for item in record.roles]


async def walk(read: Callable[[Slice], Awaitable[Page[T]]], limit: int) -> list[T]:
    """All items of a list, page by page; every page but the last is full."""
    items: list[T] = []
    after = None
    while True:
        page = await read(Slice(limit, after))
        items += page.items
        if page.next is None:
            return items
        assert len(page.items) == limit
        after = page.next


async def refused(work: Awaitable[object]) -> Refusal:
    """How `work` was refused."""
    with pytest.raises(Refusal) as caught:
        await work
    return caught.value
