"""Who holds which role where."""

from collections import defaultdict
from collections.abc import Collection

from sqlalchemy import Column, ColumnElement, and_, delete, select

from ..domain.errors import conflict
from ..domain.ids import parse_id
from ..domain.model import Member, Membership, Role, UserKind
from ..domain.permissions import TENANT_ADMIN
from ..domain.policy import effective
from ..services.ports import Page, Slice
from .paging import mentions, page, sliced
from .roles import by_name, role_from
from .tables import memberships, roles, users
from .tenants import TenantRepository
from .unit import Unit
from .users import user_from

# Whether a tenant has one administrator left is what is asked; ten answer that.
_ADMINISTRATORS = 10


class MembershipRepository:
    """Implements `ports.Memberships`."""

    def __init__(self, unit: Unit) -> None:
        self._unit = unit

    async def add(self, membership: Membership) -> None:
        """Raises Refusal `conflict` when the user has that role there."""
        row = {
            "user_id": membership.user_id,
            "tenant_id": membership.tenant_id,
            "role_id": membership.role_id,
            "created_at": membership.created_at,
        }
        statement = (
            self._unit.insert(memberships).on_conflict_do_nothing().returning(memberships.c.user_id)
        )
        if (await self._unit.run(statement, row)).first() is None:
            raise conflict("The user has that role there already.")

    async def remove(self, membership: Membership) -> bool:
        """False when there was none."""
        statement = delete(memberships).where(
            memberships.c.user_id == membership.user_id,
            memberships.c.tenant_id == membership.tenant_id,
            memberships.c.role_id == membership.role_id,
        )
        return (await self._unit.run(statement)).rowcount > 0

    async def of_user(self, user_id: str) -> tuple[tuple[Membership, Role], ...]:
        """By tenant id and role name."""
        if parse_id(user_id) is None:
            return ()
        # One join has the tenant of the membership and the tenant of the role.
        where = memberships.c.tenant_id.label("held_in")
        statement = (
            select(memberships.c.user_id, where, memberships.c.created_at, roles)
            .join(roles, roles.c.id == memberships.c.role_id)
            .where(memberships.c.user_id == user_id)
        )
        held = [
            (Membership(row.user_id, row.held_in, row.id, row.created_at), role_from(row))
            for row in await self._unit.run(statement)
        ]
        return tuple(sorted(held, key=lambda pair: (pair[0].tenant_id, pair[1].name)))

    async def members(self, tenant_id: str, part: Slice, *, query: str = "") -> Page[Member]:
        """Two statements: a page of users, then their roles."""
        held = select(memberships.c.user_id).where(memberships.c.tenant_id == tenant_id).distinct()
        if query:
            named = mentions(query, users.c.display_name_folded, users.c.username_folded)
            held = held.join(users, users.c.id == memberships.c.user_id).where(named)
        ids = sliced(held, part, memberships.c.user_id).subquery()
        statement = select(users).join(ids, ids.c.user_id == users.c.id).order_by(users.c.id)
        found = page((await self._unit.run(statement)).all(), part, user_from, "id")
        given = await self._roles(tenant_id, [user.id for user in found.items])
        return Page(tuple(Member(user, given[user.id]) for user in found.items), found.next)

    async def member(self, tenant_id: str, user_id: str) -> Member | None:
        """None for malformed ids, too."""
        if parse_id(tenant_id) is None or parse_id(user_id) is None:
            return None
        row = (await self._unit.run(select(users).where(users.c.id == user_id))).first()
        if row is None:
            return None
        user = user_from(row)
        given = await self._roles(tenant_id, [user.id])
        return Member(user, given[user.id]) if user.id in given else None

    async def user_ids(self, tenant_id: str) -> tuple[str, ...]:
        """By id."""
        return await self._holding(memberships.c.tenant_id, tenant_id)

    async def holders(self, role_id: str) -> tuple[str, ...]:
        """By id."""
        return await self._holding(memberships.c.role_id, role_id)

    async def administrators(self, tenant_id: str) -> tuple[str, ...]:
        """By id."""
        policy = effective(await TenantRepository(self._unit).policies(tenant_id))
        counts: ColumnElement[bool] = users.c.disabled_at.is_(None)
        if not policy.service_users_administer:
            counts = and_(counts, users.c.kind == UserKind.HUMAN.value)
        # Not a join: merging it, PostgreSQL would read all users up to the tenant's.
        active = select(counts).where(users.c.id == memberships.c.user_id)
        held = (
            select(memberships.c.user_id)
            .where(
                memberships.c.tenant_id == tenant_id,
                memberships.c.role_id == TENANT_ADMIN.id,
                active.scalar_subquery(),
            )
            .order_by(memberships.c.user_id)
            .limit(_ADMINISTRATORS)
        )
        return tuple((await self._unit.run(held)).scalars())

    async def _holding(self, column: Column[str], wanted: str) -> tuple[str, ...]:
        if parse_id(wanted) is None:
            return ()
        held = select(memberships.c.user_id).where(column == wanted).distinct()
        ordered = held.order_by(memberships.c.user_id)
        return tuple((await self._unit.run(ordered)).scalars())

    async def _roles(
        self, tenant_id: str, user_ids: Collection[str]
    ) -> dict[str, tuple[Role, ...]]:
        if not user_ids:
            return {}
        statement = (
            select(memberships.c.user_id, roles)
            .join(roles, roles.c.id == memberships.c.role_id)
            .where(memberships.c.tenant_id == tenant_id, memberships.c.user_id.in_(user_ids))
        )
        held: defaultdict[str, list[Role]] = defaultdict(list)
        for row in await self._unit.run(statement):
            held[row.user_id].append(role_from(row))
        return {user_id: by_name(found) for user_id, found in held.items()}
