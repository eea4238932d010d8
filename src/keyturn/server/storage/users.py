"""Users, their epochs and memberships."""

from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Row, select, update

from ..domain.errors import Code, Refusal
from ..domain.ids import parse_id
from ..domain.model import Membership, User, UserKind
from .columns import storable
from .tables import memberships, users
from .unit import Unit


class UserRepository:
    """Implements `ports.Users`."""

    def __init__(self, unit: Unit) -> None:
        self._unit = unit

    async def add(self, user: User) -> None:
        """Raises Refusal `conflict` when the username is taken, in whatever case."""
        row = {
            "id": user.id,
            "kind": user.kind.value,
            "username": user.username,
            "username_folded": user.username.casefold(),
            "display_name": user.display_name,
            "tenant_id": user.home_tenant_id,
            "epoch": user.epoch,
            "created_at": user.created_at,
            "disabled_at": user.disabled_at,
        }
        statement = self._unit.insert(users).on_conflict_do_nothing().returning(users.c.id)
        if (await self._unit.run(statement, row)).first() is None:
            raise Refusal(Code.CONFLICT, "The username is taken.")

    async def get(self, user_id: str) -> User | None:
        """None for a malformed id, too."""
        return None if parse_id(user_id) is None else await self._one(users.c.id == user_id)

    async def by_username(self, username: str) -> User | None:
        """In whatever case."""
        if not storable(username):
            return None
        return await self._one(users.c.username_folded == username.casefold())

    async def raise_epoch(self, user_id: str) -> int | None:
        """The row's lock serialises concurrent raises until their transactions end."""
        if parse_id(user_id) is None:
            return None
        statement = (
            update(users)
            .where(users.c.id == user_id)
            .values(epoch=users.c.epoch + 1)
            .returning(users.c.epoch)
        )
        return (await self._unit.run(statement)).scalar_one_or_none()

    async def set_disabled(self, user_id: str, at: datetime | None) -> bool:
        """False when there is no such user."""
        if parse_id(user_id) is None:
            return False
        statement = update(users).where(users.c.id == user_id).values(disabled_at=at)
        return (await self._unit.run(statement)).rowcount > 0

    async def add_membership(self, membership: Membership) -> None:
        """Raises Refusal `conflict` when the user has the role in the tenant, in any state."""
        row = {
            "user_id": membership.user_id,
            "tenant_id": membership.tenant_id,
            "role_id": membership.role_id,
            "state": membership.state.value,
            "created_at": membership.created_at,
        }
        statement = (
            self._unit.insert(memberships).on_conflict_do_nothing().returning(memberships.c.user_id)
        )
        if (await self._unit.run(statement, row)).first() is None:
            raise Refusal(Code.CONFLICT, "The user has that role there already.")

    async def _one(self, condition: ColumnElement[bool]) -> User | None:
        row = (await self._unit.run(select(users).where(condition))).first()
        return None if row is None else _user(row)


def _user(row: Row[Any]) -> User:
    return User(
        id=row.id,
        kind=UserKind(row.kind),
        username=row.username,
        display_name=row.display_name,
        home_tenant_id=row.tenant_id,
        epoch=row.epoch,
        created_at=row.created_at,
        disabled_at=row.disabled_at,
    )
