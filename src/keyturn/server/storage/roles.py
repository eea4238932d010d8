"""Built-in roles (no tenant; `migrate` keeps them) and custom ones."""

from typing import Any

from sqlalchemy import Row, or_, select

from ..domain.errors import Code, Refusal
from ..domain.ids import parse_id
from ..domain.model import Role
from .tables import roles
from .unit import Unit


class RoleRepository:
    """Implements `ports.Roles`."""

    def __init__(self, unit: Unit) -> None:
        self._unit = unit

    async def add(self, role: Role) -> None:
        """Raises Refusal `conflict` when the tenant has a role of that name.

        Built-in roles exist in every tenant, so their names are taken everywhere: a token
        carries names, and two roles of one name in a tenant could not be told apart.
        """
        built_in = select(roles.c.id).where(roles.c.tenant_id.is_(None), roles.c.name == role.name)
        taken = role.tenant_id is not None and (await self._unit.run(built_in)).first() is not None
        row = {
            "id": role.id,
            "tenant_id": role.tenant_id,
            "name": role.name,
            "permissions": sorted(role.permissions),
        }
        statement = self._unit.insert(roles).on_conflict_do_nothing().returning(roles.c.id)
        if taken or (await self._unit.run(statement, row)).first() is None:
            raise Refusal(Code.CONFLICT, "The tenant has a role of that name.")

    async def get(self, role_id: str) -> Role | None:
        """None for a malformed id, too."""
        if parse_id(role_id) is None:
            return None
        row = (await self._unit.run(select(roles).where(roles.c.id == role_id))).first()
        return None if row is None else _role(row)

    async def in_tenant(self, tenant_id: str) -> tuple[Role, ...]:
        """By name."""
        its_own = roles.c.tenant_id == tenant_id
        statement = select(roles).where(
            roles.c.tenant_id.is_(None)
            if parse_id(tenant_id) is None
            else or_(roles.c.tenant_id.is_(None), its_own)
        )
        found = [_role(row) for row in await self._unit.run(statement)]
        # Sorted here: PostgreSQL would sort by its locale.
        return tuple(sorted(found, key=lambda role: role.name))


def _role(row: Row[Any]) -> Role:
    return Role(row.id, row.name, frozenset(row.permissions), row.tenant_id)
