"""Who acts in one example: tenants, roles, users and keys of its own, so that none meets another's.

org ── acme          everybody's home, never suspended
└─── globex ── lab  where some hold roles, too
"""

from __future__ import annotations

import secrets
from datetime import UTC, datetime

from keyturn.server.domain import model as rows
from keyturn.server.domain.ids import new_id
from keyturn.server.parts import Parts
from keyturn.server.services.bootstrap import service_username
from keyturn.server.services.ports import Transaction
from tests.model.model import Key, Model, Role, Tenant, User
from tests.model.world import World

HOME, APART, BELOW = "acme", "globex", "lab"
TENANTS = (HOME, APART, BELOW)
PERMISSIONS = ("assets:read", "assets:write", "data:read", "data:write")
ROLES = {
    "reader": ("assets:read", "data:read"),
    "worker": ("assets:read", "assets:write"),
    "keeper": ("assets:read", "assets:write", "data:write"),
}
#: Who holds which roles where.
USERS = {
    "ann": (("acme", "worker"), ("globex", "reader")),
    "ben": (("acme", "keeper"), ("globex", "worker"), ("lab", "reader")),
}
#: Keys: whose, and the one tenant they are bound to.
KEYS = {"ann-1": ("ann", None), "ann-2": ("ann", "globex"), "ben-1": ("ben", None)}


class Cast:
    """Makes the rows of an example, and the model of them."""

    def __init__(self, world: World) -> None:
        self.model = Model()
        self.keys: list[Key] = []
        self.org = ""
        self._world = world
        self._root = world.root
        self._tag = secrets.token_hex(4)
        self._now = datetime.now(UTC)

    @property
    def _parts(self) -> Parts:
        """Of the node as it is now: it may have been restarted."""
        return self._world.nodes["A"].parts

    async def make(self) -> None:
        """All of them, in one transaction."""
        async with self._parts.store.transaction() as tx:
            self.org = await self._tenant(tx, f"org {self._tag}", self._root)
            apart = Tenant(APART, await self._tenant(tx, APART, self.org))
            home = Tenant(HOME, await self._tenant(tx, HOME, self.org))
            below = Tenant(BELOW, await self._tenant(tx, BELOW, apart.id), above=apart)
            self.model.tenants = {tenant.name: tenant for tenant in (home, apart, below)}
            await tx.permissions.add(
                [rows.Permission(self.org, name, "", self._now) for name in PERMISSIONS]
            )
            for name, permissions in ROLES.items():
                role = Role(name, new_id(), frozenset(permissions))
                self.model.roles[name] = role
                await tx.roles.add(rows.Role(role.id, name, role.permissions, self.org))
            for name in USERS:
                await self._user(tx, name)
            for name, (user, only) in KEYS.items():
                tenant = None if only is None else self.model.tenants[only]
                self.keys.append(await self._key(tx, name, self.model.users[user], tenant))

    async def successor(self, name: str) -> Key:
        """A new user in the place of one that was deleted, and a key of it."""
        async with self._parts.store.transaction() as tx:
            user = await self._user(tx, name)
            return await self._key(tx, f"{name}-anew", user, None)

    async def _tenant(self, tx: Transaction, name: str, above: str) -> str:
        tenant = rows.Tenant(new_id(), above, name, self._now)
        await tx.tenants.add(tenant)
        return tenant.id

    async def _user(self, tx: Transaction, name: str) -> User:
        username = service_username(f"{name} {secrets.token_hex(2)}", self._tag)
        user = User(name, username, new_id())
        home = self.model.tenants[HOME].id
        kind = rows.UserKind.SERVICE
        await tx.users.add(rows.User(user.id, kind, username, username, home, 1, self._now))
        for place, role_name in USERS[name]:
            tenant, role = self.model.tenants[place], self.model.roles[role_name]
            user.held.add((tenant, role))
            await tx.memberships.add(rows.Membership(user.id, tenant.id, role.id, self._now))
        self.model.users[name] = user
        return user

    async def _key(self, tx: Transaction, name: str, user: User, only: Tenant | None) -> Key:
        new = self._parts.key_format.new()
        home = self.model.tenants[HOME].id
        bound = None if only is None else only.id
        row = rows.ApiKey(new.key_id, user.id, home, name, self._now, tenant_id=bound)
        await tx.api_keys.add(row, new.hash)
        return Key(name, new.key_id, user, new.text, only)
