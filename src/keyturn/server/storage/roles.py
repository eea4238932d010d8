"""Built-in roles (no tenant; `migrate` keeps them) and custom ones."""

import json
from collections.abc import Collection, Iterable
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Row,
    String,
    cast,
    delete,
    exists,
    literal,
    or_,
    select,
    union,
    union_all,
    update,
)

from ..domain.errors import conflict, not_found
from ..domain.ids import parse_id
from ..domain.model import InvitationState, Role
from ..domain.permissions import is_permission
from .columns import lists_any
from .names import hold_names
from .tables import api_keys, invitations, memberships, roles, tenant_tree
from .unit import Unit


class RoleRepository:
    """Implements `ports.Roles`."""

    def __init__(self, unit: Unit) -> None:
        self._unit = unit

    async def add(self, role: Role) -> None:
        """Raises Refusal `conflict` when the name is taken in the tenant, above or below it."""
        await self._claim_name(role)
        row = {
            "id": role.id,
            "tenant_id": role.tenant_id,
            "version": role.version,
            **_changeable(role),
        }
        statement = self._unit.insert(roles).on_conflict_do_nothing().returning(roles.c.id)
        if (await self._unit.run(statement, row)).first() is None:
            raise _taken()

    async def get(self, role_id: str) -> Role | None:
        """None for a malformed id, too."""
        if parse_id(role_id) is None:
            return None
        row = (await self._unit.run(select(roles).where(roles.c.id == role_id))).first()
        return None if row is None else role_from(row)

    async def lock(self, role_id: str) -> Role | None:
        """FOR UPDATE: a membership that is being written refers to the role's row."""
        if parse_id(role_id) is None:
            return None
        statement = select(roles).where(roles.c.id == role_id).with_for_update()
        row = (await self._unit.run(statement)).first()
        return None if row is None else role_from(row)

    async def many(self, role_ids: Collection[str]) -> tuple[Role, ...]:
        """By name; malformed ids are passed over."""
        known = {role_id for role_id in role_ids if parse_id(role_id) is not None}
        if not known:
            return ()
        rows = await self._unit.run(select(roles).where(roles.c.id.in_(known)))
        return by_name(role_from(row) for row in rows)

    async def any_has(self, permission: str, tenant_id: str) -> bool:
        """Reads all roles of those tenants: no index knows what is in a role."""
        if parse_id(tenant_id) is None or not is_permission(permission):
            return False
        # In quotes it can be nothing else in a list of permissions.
        listed = cast(roles.c.permissions, String).contains(f'"{permission}"', autoescape=True)
        found = exists().where(
            tenant_tree.c.ancestor_id == tenant_id,
            tenant_tree.c.descendant_id == roles.c.tenant_id,
            listed,
        )
        return bool((await self._unit.run(select(found))).scalar_one())

    async def in_tenant(self, tenant_id: str) -> tuple[Role, ...]:
        """By name."""
        statement = [select(roles).where(roles.c.tenant_id.is_(None))]
        if parse_id(tenant_id) is not None:
            statement.append(
                select(roles)
                .join(tenant_tree, tenant_tree.c.ancestor_id == roles.c.tenant_id)
                .where(tenant_tree.c.descendant_id == tenant_id)
            )
        return by_name(role_from(row) for row in await self._unit.run(union_all(*statement)))

    async def save(self, role: Role) -> Role:
        """Raises Refusal `conflict` as `add` does, `not_found` when the role is gone."""
        row = await self._write(role, roles.c.name_folded == role.name.casefold())
        if row is None:
            await self._claim_name(role)
            row = await self._write(role)
        if row is None:
            raise not_found()
        return role_from(row)

    async def in_use(self, role_id: str) -> bool:
        """Keys that were revoked do not count."""
        if parse_id(role_id) is None:
            return False
        offered = exists().where(
            invitations.c.role_id == role_id, invitations.c.state == InvitationState.PENDING.value
        )
        narrowed = exists().where(
            # What the index is of; SQLite does not see that the rest says so, too.
            api_keys.c.role_ids.is_not(None),
            lists_any(api_keys.c.role_ids, literal(json.dumps([parse_id(role_id)]))),
            api_keys.c.revoked_at.is_(None),
        )
        used = or_(exists().where(memberships.c.role_id == role_id), offered, narrowed)
        return bool((await self._unit.run(select(used))).scalar_one())

    async def remove(self, role_id: str) -> None:
        """Keys stay narrowed to it, which gives them nothing."""
        for table in (memberships, invitations):
            await self._unit.run(delete(table).where(table.c.role_id == role_id))
        await self._unit.run(delete(roles).where(roles.c.id == role_id))

    async def _claim_name(self, role: Role) -> None:
        """Raises Refusal `conflict` unless the name is free wherever the role could meet it.

        A token carries names, and two roles of one name in a tenant could not be told apart.
        Built-in roles exist in every tenant; a tenant's own reach all below it.
        """
        await hold_names(self._unit, "roles")
        wanted = [roles.c.name_folded == role.name.casefold(), roles.c.id != role.id]
        statements = [select(roles.c.id).where(roles.c.tenant_id.is_(None), *wanted)]
        if role.tenant_id is not None:
            above = select(tenant_tree.c.ancestor_id.label("id")).where(
                tenant_tree.c.descendant_id == role.tenant_id
            )
            below = select(tenant_tree.c.descendant_id).where(
                tenant_tree.c.ancestor_id == role.tenant_id
            )
            met = union(above, below).subquery()
            statements.append(
                select(roles.c.id).join(met, met.c.id == roles.c.tenant_id).where(*wanted)
            )
        if (await self._unit.run(union_all(*statements))).first() is not None:
            raise _taken()

    async def _write(self, role: Role, *conditions: ColumnElement[bool]) -> Row[Any] | None:
        statement = (
            update(roles)
            .where(roles.c.id == role.id, *conditions)
            .values(version=roles.c.version + 1, **_changeable(role))
            .returning(roles)
        )
        return (await self._unit.run(statement)).first()


def _taken() -> Exception:
    return conflict("A role of that name is there already.", field="name")


def _changeable(role: Role) -> dict[str, Any]:
    return {
        "name": role.name,
        "name_folded": role.name.casefold(),
        "description": role.description,
        "permissions": sorted(role.permissions),
    }


def role_from(row: Row[Any]) -> Role:
    """The record of a row of `roles`."""
    return Role(
        id=row.id,
        name=row.name,
        permissions=frozenset(row.permissions),
        tenant_id=row.tenant_id,
        description=row.description,
        version=row.version,
    )


def by_name(found: Iterable[Role]) -> tuple[Role, ...]:
    """Sorted here: PostgreSQL would sort names by its locale."""
    return tuple(sorted(found, key=lambda role: role.name))
