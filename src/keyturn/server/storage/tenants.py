"""Tenants and their tree."""

from dataclasses import fields
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Row,
    delete,
    exists,
    func,
    insert,
    literal,
    or_,
    select,
    update,
)

from ..domain.errors import conflict, not_found
from ..domain.ids import parse_id
from ..domain.model import Tenant, UserKind
from ..domain.policy import Offboarding, Policy
from ..services.ports import Page, Slice
from .columns import Id, db_now
from .names import hold_names
from .paging import begins, page, sliced
from .tables import (
    api_keys,
    endpoints,
    invitations,
    memberships,
    permissions,
    resource_servers,
    roles,
    tenant_tree,
    tenants,
    users,
)
from .unit import Unit

# The columns of a policy are named as its fields are.
_POLICY = [tenants.c[field.name] for field in fields(Policy)]


class TenantRepository:
    """Implements `ports.Tenants`."""

    def __init__(self, unit: Unit) -> None:
        self._unit = unit

    async def add(self, tenant: Tenant) -> None:
        """Raises Refusal `conflict` when a sibling has the name, or there is a root already."""
        if tenant.parent_id is not None:
            # `save` trusts that no sibling takes the name meanwhile.
            await hold_names(self._unit, f"tenants below {tenant.parent_id}")
        row = {
            "id": tenant.id,
            "parent_id": tenant.parent_id,
            "root": 1 if tenant.parent_id is None else None,
            "created_at": tenant.created_at,
            "suspended_at": tenant.suspended_at,
            "version": tenant.version,
            **_changeable(tenant),
        }
        statement = self._unit.insert(tenants).on_conflict_do_nothing().returning(tenants.c.id)
        if (await self._unit.run(statement, row)).first() is None:
            raise _taken()
        # A tenant never moves, so its ancestors are written once, here.
        folded = tenant.name.casefold()
        above = select(
            tenant_tree.c.ancestor_id,
            literal(tenant.id, Id),
            tenant_tree.c.depth + 1,
            literal(folded, tenant_tree.c.name_folded.type),
        ).where(tenant_tree.c.descendant_id == tenant.parent_id)
        columns = ["ancestor_id", "descendant_id", "depth", "name_folded"]
        itself = dict(zip(columns, (tenant.id, tenant.id, 0, folded), strict=True))
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

    async def lock(self, tenant_id: str) -> bool:
        """On SQLite there is nothing to wait for: a transaction has the database to itself."""
        if parse_id(tenant_id) is None:
            return False
        # Not FOR UPDATE: rows that refer to the tenant can still be written.
        statement = (
            select(tenants.c.id).where(tenants.c.id == tenant_id).with_for_update(key_share=True)
        )
        return (await self._unit.run(statement)).first() is not None

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

    async def above(self, tenant_id: str) -> tuple[str, ...]:
        """Nothing when there is no such tenant."""
        if parse_id(tenant_id) is None:
            return ()
        statement = (
            select(tenant_tree.c.ancestor_id)
            .where(tenant_tree.c.descendant_id == tenant_id, tenant_tree.c.depth > 0)
            .order_by(tenant_tree.c.depth)
        )
        return tuple((await self._unit.run(statement)).scalars())

    async def reaches(self, above: str, tenant_id: str) -> bool:
        """False when one of them is not there."""
        if parse_id(above) is None or parse_id(tenant_id) is None:
            return False
        statement = select(tenant_tree.c.depth).where(
            tenant_tree.c.ancestor_id == above, tenant_tree.c.descendant_id == tenant_id
        )
        return (await self._unit.run(statement)).first() is not None

    async def policies(self, tenant_id: str) -> tuple[Policy, ...]:
        """The tenant's own first, the root's last."""
        if parse_id(tenant_id) is None:
            return ()
        statement = (
            select(*_POLICY)
            .join(tenant_tree, tenant_tree.c.ancestor_id == tenants.c.id)
            .where(tenant_tree.c.descendant_id == tenant_id)
            .order_by(tenant_tree.c.depth)
        )
        return tuple(_policy(row) for row in await self._unit.run(statement))

    async def children(self, tenant_id: str, part: Slice, *, name: str = "") -> Page[Tenant]:
        """Reads one range of the index of siblings' names."""
        statement = select(tenants).where(tenants.c.parent_id == tenant_id)
        if name:
            statement = statement.where(begins(tenants.c.name_folded, name))
        rows = (await self._unit.run(sliced(statement, part, tenants.c.name_folded))).all()
        return page(rows, part, _tenant, "name_folded")

    async def descendants(self, tenant_id: str, part: Slice, *, name: str = "") -> Page[Tenant]:
        """Reads a range of one of the tree's indexes: by id, or with `name` by name."""
        ids = select(tenant_tree.c.descendant_id).where(
            tenant_tree.c.ancestor_id == tenant_id, tenant_tree.c.depth > 0
        )
        place, order, keys = [tenant_tree.c.descendant_id], [tenants.c.id], ["id"]
        if name:
            ids = ids.where(begins(tenant_tree.c.name_folded, name))
            place.insert(0, tenant_tree.c.name_folded)
            order.insert(0, tenants.c.name_folded)
            keys.insert(0, "name_folded")
        found = sliced(ids, part, *place).subquery()
        statement = select(tenants).join(found, found.c.descendant_id == tenants.c.id)
        rows = (await self._unit.run(statement.order_by(*order))).all()
        return page(rows, part, _tenant, *keys)

    async def save(self, tenant: Tenant) -> Tenant:
        """Raises Refusal `conflict` when a sibling has the name, `not_found` without the tenant."""
        folded = tenant.name.casefold()
        row = await self._write(tenant, tenants.c.name_folded == folded)
        if row is None:
            if tenant.parent_id is not None:
                await hold_names(self._unit, f"tenants below {tenant.parent_id}")
            sibling = select(tenants.c.id).where(
                tenants.c.parent_id == tenant.parent_id,
                tenants.c.name_folded == folded,
                tenants.c.id != tenant.id,
            )
            if (await self._unit.run(sibling)).first() is not None:
                raise _taken()
            row = await self._write(tenant)
        if row is None:
            raise not_found()
        return _tenant(row)

    async def set_suspended(self, tenant_id: str, at: datetime | None) -> bool:
        """False when there is no such tenant."""
        if parse_id(tenant_id) is None:
            return False
        statement = (
            update(tenants)
            .where(tenants.c.id == tenant_id)
            .values(suspended_at=at, version=tenants.c.version + 1)
        )
        return (await self._unit.run(statement)).rowcount > 0

    async def active(self, tenant_id: str) -> tuple[str, ...]:
        """By id; nothing when a tenant above is suspended."""
        if parse_id(tenant_id) is None:
            return ()
        up = tenant_tree.alias("up")
        above = tenants.alias("above")
        suspended = exists().where(
            up.c.descendant_id == tenant_tree.c.descendant_id,
            above.c.id == up.c.ancestor_id,
            above.c.suspended_at.is_not(None),
        )
        statement = (
            select(tenant_tree.c.descendant_id)
            .where(tenant_tree.c.ancestor_id == tenant_id, ~suspended)
            .order_by(tenant_tree.c.descendant_id)
        )
        return tuple((await self._unit.run(statement)).scalars())

    async def suspended(self, tenant_id: str) -> bool:
        """False for a malformed id, too."""
        if parse_id(tenant_id) is None:
            return False
        statement = select(
            exists().where(
                tenant_tree.c.descendant_id == tenant_id,
                tenants.c.id == tenant_tree.c.ancestor_id,
                tenants.c.suspended_at.is_not(None),
            )
        )
        return bool((await self._unit.run(statement)).scalar_one())

    async def occupied(self, tenant_id: str) -> bool:
        """Keys that are dead anyway do not count."""
        if parse_id(tenant_id) is None:
            return False
        unexpired = or_(api_keys.c.expires_at.is_(None), api_keys.c.expires_at > db_now())
        statement = select(
            or_(
                exists().where(tenants.c.parent_id == tenant_id),
                exists().where(
                    users.c.tenant_id == tenant_id, users.c.kind == UserKind.SERVICE.value
                ),
                exists().where(
                    api_keys.c.tenant_id == tenant_id, api_keys.c.revoked_at.is_(None), unexpired
                ),
            )
        )
        return bool((await self._unit.run(statement)).scalar_one())

    async def remove(self, tenant_id: str) -> None:
        """The tenant must not be occupied, nor be the root."""
        parent = select(tenants.c.parent_id).where(tenants.c.id == tenant_id).scalar_subquery()
        for table, column in ((users, "tenant_id"), (api_keys, "home_tenant_id")):
            await self._unit.run(
                update(table).where(table.c[column] == tenant_id).values({column: parent})
            )
        await self._unit.run(
            update(api_keys)
            .where(api_keys.c.tenant_id == tenant_id)
            .values(
                tenant_id=None,
                # What ended it might not have for ever: unbound, it must not come back.
                revoked_at=func.coalesce(api_keys.c.revoked_at, db_now()),
                revoked_reason=func.coalesce(api_keys.c.revoked_reason, "tenant_deleted"),
            )
        )
        for table in (memberships, invitations, roles, permissions, endpoints, resource_servers):
            await self._unit.run(delete(table).where(table.c.tenant_id == tenant_id))
        await self._unit.run(delete(tenant_tree).where(tenant_tree.c.descendant_id == tenant_id))
        await self._unit.run(delete(tenants).where(tenants.c.id == tenant_id))

    async def _write(self, tenant: Tenant, *conditions: ColumnElement[bool]) -> Row[Any] | None:
        statement = (
            update(tenants)
            .where(tenants.c.id == tenant.id, *conditions)
            .values(version=tenants.c.version + 1, **_changeable(tenant))
            .returning(tenants)
        )
        row = (await self._unit.run(statement)).first()
        if row is not None:
            renamed = (
                update(tenant_tree)
                .where(
                    tenant_tree.c.descendant_id == tenant.id,
                    tenant_tree.c.name_folded != row.name_folded,
                )
                .values(name_folded=row.name_folded)
            )
            await self._unit.run(renamed)
        return row


def _taken() -> Exception:
    return conflict("A tenant of that name is there already.", field="name")


def _changeable(tenant: Tenant) -> dict[str, Any]:
    settled = {column.name: getattr(tenant.policy, column.name) for column in _POLICY}
    return {"name": tenant.name, "name_folded": tenant.name.casefold(), **settled}


def _tenant(row: Row[Any]) -> Tenant:
    return Tenant(
        id=row.id,
        parent_id=row.parent_id,
        name=row.name,
        created_at=row.created_at,
        suspended_at=row.suspended_at,
        policy=_policy(row),
        version=row.version,
    )


def _policy(row: Row[Any]) -> Policy:
    settled = {column.name: getattr(row, column.name) for column in _POLICY}
    if row.offboarding is not None:
        settled["offboarding"] = Offboarding(row.offboarding)
    return Policy(**settled)
