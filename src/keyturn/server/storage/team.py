"""Who works in a tenant and in those below it."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, and_, case, literal, select, true, tuple_

from ..domain.model import Member, Role
from ..services.ports import Page, Slice
from ..services.ports.team import TeamMember
from .columns import Id
from .paging import behind, mentions, page
from .roles import by_name, role_from
from .tables import memberships, roles, tenant_tree, tenants, users
from .unit import Unit
from .users import user_from

_NIL = "00000000-0000-0000-0000-000000000000"
_PAIR = (memberships.c.tenant_id, memberships.c.user_id)


class TeamRepository:
    """Implements `ports.Team`."""

    def __init__(self, unit: Unit) -> None:
        self._unit = unit

    async def members(self, tenant_id: str, part: Slice, *, query: str = "") -> Page[TeamMember]:
        """Three statements: a page of pairs, their users, their roles."""
        rows = (await self._unit.run(self._pairs(tenant_id, part, query))).all()
        found = page(rows, part, _pair, "tenant_id", "user_id")
        if not found.items:
            return Page(())
        wanted = select(users).where(users.c.id.in_({user_id for _, user_id in found.items}))
        by_id = {row.id: user_from(row) for row in await self._unit.run(wanted)}
        # Not by pairs: of their list PostgreSQL makes nothing that an index answers.
        held = await self._roles({pair[0] for pair in found.items}, by_id)
        items = [
            TeamMember(pair[0], Member(by_id[pair[1]], by_name(held[pair])))
            for pair in found.items
            if pair[1] in by_id
        ]
        return Page(tuple(items), found.next)

    async def held(
        self, tenant_ids: Collection[str], user_ids: Collection[str]
    ) -> Mapping[str, Sequence[tuple[str, Role]]]:
        """By the users' own rows, which are few."""
        by_user: defaultdict[str, list[tuple[str, Role]]] = defaultdict(list)
        for (tenant_id, user_id), found in (await self._roles(tenant_ids, user_ids)).items():
            by_user[user_id] += [(tenant_id, role) for role in found]
        return by_user

    async def names(self, tenant_ids: Collection[str]) -> Mapping[str, str]:
        """Of the tenants of one page."""
        wanted = select(tenants.c.id, tenants.c.name).where(tenants.c.id.in_(sorted(tenant_ids)))
        return {row.id: row.name for row in await self._unit.run(wanted)}

    def _pairs(self, tenant_id: str, part: Slice, query: str) -> Select[Any]:
        """One seek a tenant, in the tree's order: as `users.UserRepository` reads a subtree."""
        place = tenant_tree.c.descendant_id
        after = behind(part, place, memberships.c.user_id)
        before: ColumnElement[str] = literal(_NIL, Id)
        within = [tenant_tree.c.ancestor_id == tenant_id]
        if after is not None:
            before = case((place == after[0], literal(after[1], Id)), else_=before)
            within.append(place >= after[0])
        held = select(*_PAIR).group_by(*_PAIR)
        if query:
            named = mentions(query, users.c.display_name_folded, users.c.username_folded)
            held = held.join(users, users.c.id == memberships.c.user_id).where(named)
        if self._unit.on_sqlite:
            here = and_(memberships.c.tenant_id == place, memberships.c.user_id > before)
            whole = held.join(tenant_tree, here).where(*within).order_by(*_PAIR)
            return whole.limit(part.limit + 1)
        first = (
            held.where(tuple_(*_PAIR) > tuple_(place, before), memberships.c.tenant_id <= place)
            .order_by(*_PAIR)
            .limit(part.limit + 1)
            .correlate(tenant_tree)
            .lateral("found")
        )
        return (
            select(first.c.tenant_id, first.c.user_id)
            .select_from(tenant_tree.join(first, true()))
            .where(*within)
            .order_by(place, first.c.user_id)
            .limit(part.limit + 1)
        )

    async def _roles(
        self, tenant_ids: Collection[str], user_ids: Collection[str]
    ) -> Mapping[tuple[str, str], Sequence[Role]]:
        held_in = memberships.c.tenant_id.label("held_in")
        statement = (
            select(held_in, memberships.c.user_id, roles)
            .join(roles, roles.c.id == memberships.c.role_id)
            .where(
                memberships.c.user_id.in_(sorted(user_ids)),
                memberships.c.tenant_id.in_(sorted(tenant_ids)),
            )
        )
        held: defaultdict[tuple[str, str], list[Role]] = defaultdict(list)
        for row in await self._unit.run(statement):
            held[row.held_in, row.user_id].append(role_from(row))
        return held


def _pair(row: Row[Any]) -> tuple[str, str]:
    return row.tenant_id, row.user_id
