"""What still depends on other master secrets."""

from collections.abc import Collection, Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, and_, func, or_, select

from ..services.ports import UnmovedKey
from .tables import api_keys, kept_answers, users
from .unit import Unit


class SealRepository:
    """Implements `ports.Seals`. Reads all keys: it is asked by hand, once in a while."""

    def __init__(self, unit: Unit) -> None:
        self._unit = unit

    async def keys_outside(self, versions: Collection[int], now: datetime) -> int:
        statement = select(func.count()).select_from(api_keys).where(_outside(versions, now))
        return int((await self._unit.run(statement)).scalar_one())

    async def some_keys_outside(
        self, versions: Collection[int], now: datetime, limit: int
    ) -> Sequence[UnmovedKey]:
        """Ids sort by their time."""
        statement = (
            select(api_keys.c.id, users.c.username, api_keys.c.last_used_at)
            .join(users, users.c.id == api_keys.c.user_id)
            .where(_outside(versions, now))
            .order_by(api_keys.c.id)
            .limit(limit)
        )
        rows = await self._unit.run(statement)
        return [UnmovedKey(row.id, row.username, row.last_used_at) for row in rows]

    async def answers_outside(self, versions: Collection[int], now: datetime) -> int:
        """The first four bytes are the version (tokens/answers)."""
        statement = select(func.count()).where(
            kept_answers.c.expires_at > now,
            func.substr(kept_answers.c.sealed, 1, 4).not_in(
                [version.to_bytes(4, "big") for version in versions]
            ),
        )
        return int((await self._unit.run(statement)).scalar_one())


def _outside(versions: Collection[int], now: datetime) -> ColumnElement[bool]:
    """Which API keys can be used, and have a hash of another version.

    People's sign-ins die out within hours.
    """
    old_counts = or_(api_keys.c.old_until.is_(None), api_keys.c.old_until > now)
    return and_(
        api_keys.c.for_console.is_(False),
        api_keys.c.revoked_at.is_(None),
        or_(api_keys.c.expires_at.is_(None), api_keys.c.expires_at > now),
        or_(
            api_keys.c.pepper_version.not_in(versions),
            and_(
                api_keys.c.old_hash.is_not(None),
                api_keys.c.old_pepper_version.not_in(versions),
                old_counts,
            ),
        ),
    )
