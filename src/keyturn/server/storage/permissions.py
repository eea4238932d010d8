"""The registry of resource servers' permissions."""

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import Row, delete, func, select

from ..domain.ids import parse_id
from ..domain.model import Permission
from ..services.ports import Page, Slice
from .columns import storable
from .paging import page, sliced
from .tables import permissions, tenant_tree
from .unit import Unit, Values

_KEY = (permissions.c.tenant_id, permissions.c.name)


class PermissionRepository:
    """Implements `ports.Permissions`."""

    def __init__(self, unit: Unit) -> None:
        self._unit = unit

    async def add(self, registered: Sequence[Permission]) -> None:
        """In one batch, sorted: two that add the same ones never lock crosswise."""
        rows = sorted(map(_row, registered), key=lambda row: (row["tenant_id"], row["name"]))
        if rows:
            await self._unit.run(self._unit.insert(permissions).on_conflict_do_nothing(), rows)

    async def describe(self, permission: Permission) -> None:
        """Known ones keep the time they were registered at."""
        statement = self._unit.insert(permissions).values(_row(permission))
        await self._unit.run(
            statement.on_conflict_do_update(
                index_elements=_KEY, set_={"description": statement.excluded.description}
            )
        )

    async def remove(self, tenant_id: str, name: str) -> bool:
        """False for what cannot be a tenant or a name, too."""
        if parse_id(tenant_id) is None or not storable(name):
            return False
        statement = delete(permissions).where(
            permissions.c.tenant_id == tenant_id, permissions.c.name == name
        )
        return (await self._unit.run(statement)).rowcount > 0

    async def count(self, tenant_id: str) -> int:
        """Those above it are not counted."""
        statement = select(func.count()).where(permissions.c.tenant_id == tenant_id)
        count: int = (await self._unit.run(statement)).scalar_one()
        return count

    async def visible(self, tenant_id: str, part: Slice) -> Page[Permission]:
        """One read a tenant, each in the order of the index and no longer than a page."""
        above = select(tenant_tree.c.ancestor_id).where(tenant_tree.c.descendant_id == tenant_id)
        found: list[Row[Any]] = []
        for owner in (await self._unit.run(above)).scalars():
            its_own = select(permissions).where(permissions.c.tenant_id == owner)
            statement = sliced(its_own, part, permissions.c.name, permissions.c.tenant_id)
            found += (await self._unit.run(statement)).all()
        found.sort(key=lambda row: (row.name, row.tenant_id))
        return page(found, part, _permission, "name", "tenant_id")

    async def known(self, tenant_id: str, names: Collection[str]) -> frozenset[str]:
        """What no database could hold is not known."""
        statement = (
            select(permissions.c.name)
            .join(tenant_tree, tenant_tree.c.ancestor_id == permissions.c.tenant_id)
            .where(
                tenant_tree.c.descendant_id == tenant_id,
                permissions.c.name.in_([name for name in names if storable(name)]),
            )
        )
        return frozenset((await self._unit.run(statement)).scalars())


def _row(permission: Permission) -> Values:
    return {
        "tenant_id": permission.tenant_id,
        "name": permission.name,
        "description": permission.description,
        "created_at": permission.created_at,
    }


def _permission(row: Row[Any]) -> Permission:
    return Permission(row.tenant_id, row.name, row.description, row.created_at)
