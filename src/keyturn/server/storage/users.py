"""Users, their epochs and passwords."""

from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Row,
    Select,
    and_,
    case,
    delete,
    func,
    literal,
    select,
    true,
    tuple_,
    update,
)

from ..domain.addresses import folded_address
from ..domain.errors import conflict, not_found
from ..domain.ids import parse_id
from ..domain.model import InvitationState, User, UserKind
from ..services.ports import Page, Slice
from .columns import Id, db_now, greater, storable
from .epochs import FLOOR_STEP, epoch_in_force
from .paging import behind, mentions, page, sliced
from .tables import (
    api_keys,
    installation,
    invitations,
    memberships,
    passwords,
    sessions,
    tenant_tree,
    users,
)
from .unit import Unit

# Ids in one statement; more go into several.
_CHUNK = 500

_NIL = "00000000-0000-0000-0000-000000000000"

_ZERO = datetime(1970, 1, 1, tzinfo=UTC)


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
            "username_folded": folded_address(user.username),
            "display_name": user.display_name,
            "display_name_folded": user.display_name.casefold(),
            "description": user.description,
            "tenant_id": user.home_tenant_id,
            "epoch": user.epoch,
            "created_at": user.created_at,
            "created_by": user.created_by,
            "disabled_at": user.disabled_at,
            "single_token": user.single_token,
            "version": user.version,
        }
        statement = self._unit.insert(users).on_conflict_do_nothing().returning(users.c.id)
        if (await self._unit.run(statement, row)).first() is None:
            raise conflict("The username is taken.")

    async def get(self, user_id: str) -> User | None:
        """None for a malformed id, too."""
        return None if parse_id(user_id) is None else await self._one(users.c.id == user_id)

    async def by_username(self, username: str) -> User | None:
        """In whatever case."""
        if not storable(username):
            return None
        return await self._one(users.c.username_folded == folded_address(username))

    async def named(self, tenant_id: str, kind: UserKind, name: str) -> User | None:
        """In whatever case."""
        if not storable(name):
            return None
        return await self._one(
            and_(
                users.c.tenant_id == tenant_id,
                users.c.kind == kind.value,
                users.c.display_name_folded == name.casefold(),
            )
        )

    async def at_home(
        self,
        tenant_id: str,
        kind: UserKind,
        part: Slice,
        *,
        below: bool = False,
        query: str = "",
    ) -> Page[User]:
        """Reads one range of an index, or with `below` one a tenant until the page is full."""
        if below:
            rows = (await self._unit.run(self._subtree(tenant_id, kind, part, query))).all()
            return page(rows, part, user_from, "tenant_id", "id")
        statement = select(users).where(
            users.c.tenant_id == tenant_id, users.c.kind == kind.value, *_mention(query)
        )
        rows = (await self._unit.run(sliced(statement, part, users.c.id))).all()
        return page(rows, part, user_from, "id")

    async def count_at_home(self, tenant_id: str, kind: UserKind, at_most: int) -> int:
        """Reads no more than `at_most` rows."""
        some = (
            select(users.c.id)
            .where(users.c.tenant_id == tenant_id, users.c.kind == kind.value)
            .limit(at_most)
        )
        statement = select(func.count()).select_from(some.subquery())
        return int((await self._unit.run(statement)).scalar_one())

    async def made_by(self, user_id: str, tenant_id: str) -> tuple[User, ...]:
        """By id; disabled ones, too."""
        statement = (
            select(users)
            .join(tenant_tree, tenant_tree.c.descendant_id == users.c.tenant_id)
            .where(
                tenant_tree.c.ancestor_id == tenant_id,
                users.c.created_by == user_id,
                users.c.kind == UserKind.SERVICE.value,
            )
            .order_by(users.c.id)
        )
        return tuple(user_from(row) for row in await self._unit.run(statement))

    async def raise_epochs(
        self, user_ids: Collection[str], *, end_sessions: bool = False
    ) -> Mapping[str, int]:
        """Locks the users in the order of their ids, so that two calls never wait crosswise."""
        raised = epoch_in_force() + 1
        values = {"epoch": raised, "sessions_epoch": raised} if end_sessions else {"epoch": raised}
        ordered = sorted({known for known in map(parse_id, user_ids) if known is not None})
        epochs: dict[str, int] = {}
        for start in range(0, len(ordered), _CHUNK):
            # An UPDATE by itself locks in whatever order it comes upon the rows.
            locked = (
                select(users.c.id)
                .where(users.c.id.in_(ordered[start : start + _CHUNK]))
                .order_by(users.c.id)
                .with_for_update(key_share=True)
                .cte("locked")
            )
            statement = (
                update(users)
                .where(users.c.id.in_(select(locked.c.id)))
                .values(values)
                .returning(users.c.id, users.c.epoch)
            )
            epochs.update({row.id: row.epoch for row in await self._unit.run(statement)})
        return epochs

    async def raise_floor(self, *, above: int = 0, ahead: timedelta = timedelta(0)) -> int:
        """See `epochs.FLOOR_STEP`: no user's own epoch ever comes near it."""
        now: datetime = (await self._unit.run(select(db_now()))).scalar_one()
        least = max((now + ahead - _ZERO) // timedelta(microseconds=1), above + 1)
        stepped = installation.c.epoch_floor + FLOOR_STEP
        statement = (
            update(installation)
            .values(epoch_floor=greater(stepped, literal(least, BigInteger)))
            .returning(installation.c.epoch_floor)
        )
        return int((await self._unit.run(statement)).scalar_one())

    async def set_disabled(self, user_id: str, at: datetime | None) -> bool:
        """False when there is no such user."""
        if parse_id(user_id) is None:
            return False
        statement = (
            update(users)
            .where(users.c.id == user_id)
            .values(disabled_at=at, version=users.c.version + 1)
        )
        return (await self._unit.run(statement)).rowcount > 0

    async def many(self, user_ids: Collection[str]) -> dict[str, User]:
        """The users of one page of a list, say."""
        statement = select(users).where(users.c.id.in_(sorted(user_ids)))
        return {row.id: user_from(row) for row in await self._unit.run(statement)}

    async def save(self, user: User) -> User:
        """Raises Refusal `not_found` when the user is gone."""
        statement = (
            update(users)
            .where(users.c.id == user.id)
            .values(
                display_name=user.display_name,
                display_name_folded=user.display_name.casefold(),
                description=user.description,
                single_token=user.single_token,
                version=users.c.version + 1,
            )
            .returning(users)
        )
        row = (await self._unit.run(statement)).first()
        if row is None:
            raise not_found()
        return user_from(row)

    async def remove(self, user_id: str) -> None:
        """Invitations that its address could answer go, too: nobody has that address any more."""
        address = select(users.c.username_folded).where(users.c.id == user_id).scalar_subquery()
        offers = delete(invitations).where(
            invitations.c.email_folded == address,
            invitations.c.state == InvitationState.PENDING.value,
        )
        await self._unit.run(offers)
        for table in (sessions, api_keys, memberships, passwords):
            await self._unit.run(delete(table).where(table.c.user_id == user_id))
        await self._unit.run(delete(users).where(users.c.id == user_id))

    async def password(self, user_id: str) -> str | None:
        """None for a malformed id, too."""
        if parse_id(user_id) is None:
            return None
        statement = select(passwords.c.hash).where(passwords.c.user_id == user_id)
        return (await self._unit.run(statement)).scalar_one_or_none()

    async def set_password(self, user_id: str, password_hash: str, at: datetime) -> None:
        """Replaces the one before."""
        changed = {"hash": password_hash, "changed_at": at}
        statement = self._unit.insert(passwords).on_conflict_do_update(
            index_elements=[passwords.c.user_id], set_=changed
        )
        await self._unit.run(statement, {"user_id": user_id, **changed})

    def _subtree(self, tenant_id: str, kind: UserKind, part: Slice, query: str) -> Select[Any]:
        """The users at home in the tenant and below it, by tenant and id."""
        place = tenant_tree.c.descendant_id
        after = behind(part, place, users.c.id)
        wanted = literal(kind.value, users.c.kind.type)
        before: ColumnElement[str] = literal(_NIL, Id)
        found_by = _mention(query)
        within = [tenant_tree.c.ancestor_id == tenant_id]
        if after is not None:
            # Only the tenant where the page before ended begins in its middle.
            before = case((place == after[0], literal(after[1], Id)), else_=before)
            within.append(place >= after[0])
        if self._unit.on_sqlite:
            home = and_(users.c.tenant_id == place, users.c.kind == wanted, users.c.id > before)
            found = tenant_tree.join(users, and_(home, *found_by))
        else:
            # One seek a tenant, in the tree's order, and a page at the most: SQLite joins in just
            # that way, PostgreSQL has no other choice here. As a range of rows, and not by
            # equality: it would expect the few users of an average tenant, and sort all of a
            # large one's.
            index = (users.c.tenant_id, users.c.kind, users.c.id)
            first = (
                select(users.c.id)
                .where(
                    tuple_(*index) > tuple_(place, wanted, before),
                    tuple_(*index[:2]) <= tuple_(place, wanted),
                    *found_by,
                )
                .order_by(*index)
                .limit(part.limit + 1)
            )
            found = tenant_tree.join(first.correlate(tenant_tree).lateral("found"), true())
        user_id = found.right.c.id
        ids = (
            select(user_id)
            .select_from(found)
            .where(*within)
            .order_by(place, user_id)
            .limit(part.limit + 1)
            .subquery()
        )
        return (
            select(users).join(ids, ids.c.id == users.c.id).order_by(users.c.tenant_id, users.c.id)
        )

    async def _one(self, condition: ColumnElement[bool]) -> User | None:
        row = (await self._unit.run(select(users).where(condition).limit(1))).first()
        return None if row is None else user_from(row)


def _mention(query: str) -> list[ColumnElement[bool]]:
    if not query:
        return []
    return [mentions(query, users.c.display_name_folded, users.c.username_folded)]


def user_from(row: Row[Any]) -> User:
    """The record of a row of `users`."""
    return User(
        id=row.id,
        kind=UserKind(row.kind),
        username=row.username,
        display_name=row.display_name,
        home_tenant_id=row.tenant_id,
        epoch=row.epoch,
        created_at=row.created_at,
        disabled_at=row.disabled_at,
        description=row.description,
        created_by=row.created_by,
        single_token=row.single_token,
        version=row.version,
    )
