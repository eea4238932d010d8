"""What still depends on an earlier master secret."""

from datetime import datetime

from sqlalchemy import and_, func, or_, select

from .tables import api_keys, kept_answers
from .unit import Unit


class SealRepository:
    """Implements `ports.Seals`."""

    def __init__(self, unit: Unit) -> None:
        self._unit = unit

    async def earlier_keys(self, version: int, now: datetime) -> int:
        """Reads all keys: it is asked by hand, once in a while."""
        old_counts = or_(api_keys.c.old_until.is_(None), api_keys.c.old_until > now)
        statement = select(func.count()).where(
            api_keys.c.revoked_at.is_(None),
            or_(api_keys.c.expires_at.is_(None), api_keys.c.expires_at > now),
            or_(
                api_keys.c.pepper_version != version,
                and_(
                    api_keys.c.old_hash.is_not(None),
                    api_keys.c.old_pepper_version != version,
                    old_counts,
                ),
            ),
        )
        return int((await self._unit.run(statement)).scalar_one())

    async def earlier_answers(self, version: int, now: datetime) -> int:
        """The first four bytes are the version (tokens/answers)."""
        statement = select(func.count()).where(
            kept_answers.c.expires_at > now,
            func.substr(kept_answers.c.sealed, 1, 4) != version.to_bytes(4, "big"),
        )
        return int((await self._unit.run(statement)).scalar_one())
