"""API keys. Hashes are written here and read only by the lookup.

People's sign-ins to the console are in the same table (`sign_ins`), and are no API keys: whatever
lists, counts or names keys passes them over.
"""

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Row,
    Select,
    func,
    insert,
    or_,
    select,
    update,
)

from ..domain.errors import invalid_request, not_found
from ..domain.ids import parse_id
from ..domain.model import ApiKey, KeyHash, Rotation
from ..services.ports import Holding, KeyFilter, KeyUse, Page, Slice
from ..services.ports.credentials import ALL_KEYS
from . import key_uses
from .columns import db_now, storable
from .epochs import epoch_in_force
from .key_filters import filtered
from .paging import page, sliced
from .tables import api_keys, tenant_tree, users
from .unit import Unit, Values

_HASHES = ("hash", "pepper_version", "old_hash", "old_pepper_version")
_LISTED = [c for c in api_keys.c if c.name not in _HASHES]
_FOR_PROGRAMS = api_keys.c.for_console.is_(False)


class ApiKeyRepository:
    """Implements `ports.ApiKeys`."""

    def __init__(self, unit: Unit) -> None:
        self._unit = unit

    async def add(self, key: ApiKey, key_hash: KeyHash) -> None:
        """The id is random: should it be taken, that is a mistake and no conflict."""
        row = {
            "id": key.id,
            "user_id": key.user_id,
            "home_tenant_id": key.home_tenant_id,
            "tenant_id": key.tenant_id,
            "hash": key_hash.digest,
            "pepper_version": key_hash.pepper_version,
            "created_at": key.created_at,
            "created_by": key.created_by,
            "expires_at": key.expires_at,
            "idle_timeout": key.idle_timeout,
            "revoked_at": key.revoked_at,
            "revoked_reason": key.revoked_reason,
            "last_used_at": key.last_used_at,
            "last_used_from": key.last_used_from,
            "use_count": key.use_count,
            "version": key.version,
            **_changeable(key),
        }
        await self._unit.run(insert(api_keys), row)

    async def get(self, key_id: str) -> ApiKey | None:
        """Revoked and expired ones, too."""
        key = await self.of_caller(key_id)
        return None if key is None or key.for_console else key

    async def of_caller(self, key_id: str) -> ApiKey | None:
        """Sign-ins to the console, too."""
        if not storable(key_id):
            return None
        row = (await self._unit.run(select(*_LISTED).where(api_keys.c.id == key_id))).first()
        return None if row is None else _key(row)

    async def many(self, key_ids: Collection[str]) -> tuple[ApiKey, ...]:
        """In no order."""
        statement = select(*_LISTED).where(api_keys.c.id.in_(sorted(key_ids)))
        return tuple(_key(row) for row in await self._unit.run(statement))

    async def end_sessions(self, key_id: str, epoch: int) -> None:
        """Those with a row and those without."""
        await self._unit.run(
            update(api_keys).where(api_keys.c.id == key_id).values(sessions_epoch=epoch)
        )

    async def hold(self, key_id: str) -> Holding | None:
        """Locks the rows of key and user, as a change of them would."""
        if not storable(key_id):
            return None
        statement = (
            select(
                epoch_in_force().label("epoch"),
                users.c.disabled_at,
                api_keys.c.revoked_at,
                api_keys.c.expires_at,
            )
            .join_from(api_keys, users, users.c.id == api_keys.c.user_id)
            .where(api_keys.c.id == key_id)
            .with_for_update(key_share=True, of=[api_keys, users])
        )
        row = (await self._unit.run(statement)).first()
        return None if row is None else Holding(**row._mapping)

    async def at_home(
        self, tenant_id: str, part: Slice, wanted: KeyFilter = ALL_KEYS
    ) -> Page[ApiKey]:
        """Revoked and expired ones, too. Of one user: none when the user has another home."""
        user_id, whose = wanted.user_id, api_keys.c.home_tenant_id == tenant_id
        if user_id is not None:
            # Not by both columns of the keys: a planner could take the tenant's index for the
            # user's.
            home = select(users.c.id).where(users.c.id == user_id, users.c.tenant_id == tenant_id)
            if (await self._unit.run(home)).first() is None:
                return Page(())
            whose = api_keys.c.user_id == user_id
        statement = filtered(select(*_LISTED).where(whose, _FOR_PROGRAMS), wanted)
        order = ("id",) if wanted.expires_before is None else ("expires_at", "id")
        statement = sliced(statement, part, *(api_keys.c[name] for name in order))
        return page((await self._unit.run(statement)).all(), part, _key, *order)

    async def of_user(
        self, user_id: str, part: Slice, *, newest_first: bool = False
    ) -> Page[ApiKey]:
        """Revoked and expired ones, too."""
        return await self._page(api_keys.c.user_id == user_id, part, backwards=newest_first)

    async def made_by(self, user_id: str, tenant_id: str) -> tuple[ApiKey, ...]:
        """By id."""
        at_home_below = (
            select(tenant_tree.c.depth)
            .where(
                tenant_tree.c.ancestor_id == tenant_id,
                tenant_tree.c.descendant_id == api_keys.c.home_tenant_id,
            )
            .exists()
        )
        statement = _live(select(*_LISTED), db_now()).where(
            api_keys.c.created_by == user_id,
            api_keys.c.user_id != user_id,
            _FOR_PROGRAMS,
            at_home_below,
        )
        rows = await self._unit.run(statement.order_by(api_keys.c.id))
        return tuple(_key(row) for row in rows)

    async def count_at_home(self, tenant_id: str, now: datetime, at_most: int) -> int:
        """Neither revoked nor expired at `now`."""
        return await self._count(api_keys.c.home_tenant_id == tenant_id, now, at_most)

    async def count_of_user(self, user_id: str, now: datetime, at_most: int) -> int:
        """Neither revoked nor expired at `now`."""
        return await self._count(api_keys.c.user_id == user_id, now, at_most)

    async def name_taken(self, user_id: str, name: str, now: datetime) -> bool:
        """To the letter."""
        named = select(api_keys.c.id).where(
            api_keys.c.user_id == user_id, api_keys.c.name == name, _FOR_PROGRAMS
        )
        return (await self._unit.run(_live(named, now).limit(1))).first() is not None

    async def save(self, key: ApiKey) -> ApiKey:
        """Raises Refusal `not_found` when the key is gone."""
        statement = (
            update(api_keys)
            .where(api_keys.c.id == key.id)
            .values(**_changeable(key), version=api_keys.c.version + 1)
            .returning(api_keys.c.version)
        )
        version = (await self._unit.run(statement)).scalar_one_or_none()
        if version is None:
            raise not_found("the key was deleted meanwhile")
        return replace(key, version=version)

    async def rotate(self, key_id: str, key_hash: KeyHash, rotation: Rotation) -> None:
        """An old secret that still worked ends: there is one at a time."""
        await self._unit.run(
            update(api_keys)
            .where(api_keys.c.id == key_id)
            .values(
                old_hash=api_keys.c.hash,
                old_pepper_version=api_keys.c.pepper_version,
                hash=key_hash.digest,
                pepper_version=key_hash.pepper_version,
                rotated_at=rotation.at,
                old_until=rotation.old_until,
                old_ends_on_use=rotation.ends_on_use,
                version=api_keys.c.version + 1,
            )
        )

    async def revoke(self, key_id: str, at: datetime, reason: str) -> bool:
        """False when there is no such key or it was revoked before."""
        if not storable(key_id):
            return False
        statement = (
            update(api_keys)
            .where(api_keys.c.id == key_id, api_keys.c.revoked_at.is_(None))
            .values(revoked_at=at, revoked_reason=reason, version=api_keys.c.version + 1)
        )
        return (await self._unit.run(statement)).rowcount > 0

    async def note_uses(self, uses: Sequence[KeyUse]) -> frozenset[str]:
        """Keys that are gone are passed over."""
        return await key_uses.note(self._unit, uses)

    async def _count(self, condition: ColumnElement[bool], now: datetime, at_most: int) -> int:
        counted = (
            _live(select(api_keys.c.id).where(condition, _FOR_PROGRAMS), now)
            .limit(at_most)
            .subquery()
        )
        count: int = (await self._unit.run(select(func.count()).select_from(counted))).scalar_one()
        return count

    async def _page(
        self, condition: ColumnElement[bool], part: Slice, *, backwards: bool = False
    ) -> Page[ApiKey]:
        wanted = select(*_LISTED).where(condition, _FOR_PROGRAMS)
        statement = sliced(wanted, part, api_keys.c.id, backwards=backwards)
        return page((await self._unit.run(statement)).all(), part, _key, "id")


def _live(statement: Select[Any], now: datetime | ColumnElement[Any]) -> Select[Any]:
    never = api_keys.c.expires_at.is_(None)
    return statement.where(api_keys.c.revoked_at.is_(None), or_(never, api_keys.c.expires_at > now))


def _changeable(key: ApiKey) -> Values:
    return {
        "name": key.name,
        "role_ids": _ids(key.role_ids),
        "endpoint_ids": _ids(key.endpoint_ids),
        "networks": None if key.networks is None else list(key.networks),
    }


def _ids(texts: Sequence[str] | None) -> list[str] | None:
    """Canonical, as the lookup compares them. Raises Refusal `invalid_request` for others."""
    if texts is None:
        return None
    ids = [canonical for canonical in map(parse_id, texts) if canonical is not None]
    if len(ids) < len(texts):
        raise invalid_request("An id is malformed.")
    return ids


def _tuple(texts: Sequence[str] | None) -> tuple[str, ...] | None:
    return None if texts is None else tuple(texts)


def _key(row: Row[Any]) -> ApiKey:
    rotation = None
    if row.rotated_at is not None:
        rotation = Rotation(row.rotated_at, row.old_until, row.old_ends_on_use)
    return ApiKey(
        id=row.id,
        user_id=row.user_id,
        home_tenant_id=row.home_tenant_id,
        name=row.name,
        created_at=row.created_at,
        created_by=row.created_by,
        tenant_id=row.tenant_id,
        role_ids=_tuple(row.role_ids),
        endpoint_ids=_tuple(row.endpoint_ids),
        networks=_tuple(row.networks),
        expires_at=row.expires_at,
        idle_timeout=row.idle_timeout,
        revoked_at=row.revoked_at,
        revoked_reason=row.revoked_reason,
        rotation=rotation,
        last_used_at=row.last_used_at,
        last_used_from=row.last_used_from,
        use_count=row.use_count,
        for_console=row.for_console,
        version=row.version,
    )
