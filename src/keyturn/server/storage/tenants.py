"""Tenants and their tree."""

from datetime import datetime
from typing import Any

from sqlalchemy import Row, insert, literal, select, update

from ..domain.errors import Code, Refusal
from ..domain.ids import parse_id
from ..domain.model import Tenant
from .columns import Id
from .tables import tenant_tree, tenants
from .unit import Unit


class TenantRepository:
    """Implements `ports.Tenants`."""

    def __init__(self, unit: Unit) -> None:
        self._unit = unit

    async def add(self, tenant: Tenant) -> None:
        """Raises Refusal `conflict` when a sibling has the name, or there is a root already."""
        row = {
            "id": tenant.id,
            "parent_id": tenant.parent_id,
            "root": 1 if tenant.parent_id is None else None,
            "name": tenant.name,
            "created_at": tenant.created_at,
            "suspended_at": tenant.suspended_at,
        }
        statement = self._unit.insert(tenants).on_conflict_do_nothing().returning(tenants.c.id)
        if (await self._unit.run(statement, row)).first() is None:
            raise Refusal(Code.CONFLICT, "A tenant of that name is there already.")
        # A tenant never moves, so its ancestors are written once, here.
        above = select(
            tenant_tree.c.ancestor_id, literal(tenant.id, Id), tenant_tree.c.depth + 1
        ).where(tenant_tree.c.descendant_id == tenant.parent_id)
        columns = ["ancestor_id", "descendant_id", "depth"]
        itself = {"ancestor_id": tenant.id, "descendant_id": tenant.id, "depth": 0}
        await self._unit.run(insert(tenant_tree), itself)
        if tenant.parent_id is not None:
            await self._unit.run(insert(tenant_tree).from_select(columns, above))

    async def get(self, tenant_id: str) -> Tenant | None:
        """None for a malformed id, too."""
        if parse_id(tenant_id) is None:
            return None
        row = (await self._unit.run(select(tenants).where(tenants.c.id == tenant_id))).first()
        return None if row is None else _tenant(row)

    async def root(self) -> Tenant | None:
        """None as long as nothing was set up."""
        row = (await self._unit.run(select(tenants).where(tenants.c.root == 1))).first()
        return None if row is None else _tenant(row)

    async def below(self, tenant_id: str) -> tuple[str, ...]:
        """The tenant itself and all below it, by id; nothing when there is no such tenant."""
        if parse_id(tenant_id) is None:
            return ()
        statement = (
            select(tenant_tree.c.descendant_id)
            .where(tenant_tree.c.ancestor_id == tenant_id)
            .order_by(tenant_tree.c.descendant_id)
        )
        return tuple((await self._unit.run(statement)).scalars())

    async def set_suspended(self, tenant_id: str, at: datetime | None) -> bool:
        """False when there is no such tenant."""
        if parse_id(tenant_id) is None:
            return False
        statement = update(tenants).where(tenants.c.id == tenant_id).values(suspended_at=at)
        return (await self._unit.run(statement)).rowcount > 0


def _tenant(row: Row[Any]) -> Tenant:
    return Tenant(row.id, row.parent_id, row.name, row.created_at, row.suspended_at)
