"""API keys. Hashes are written here and read only by the lookup."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import bindparam, case, insert, or_, select, update

from ..domain.model import ApiKey, KeyHash
from ..services.ports import KeyUse
from .columns import storable
from .tables import api_keys
from .unit import Unit

_LISTED = [c for c in api_keys.c if c.name not in ("hash", "pepper_version")]

_is_later = or_(api_keys.c.last_used_at.is_(None), api_keys.c.last_used_at < bindparam("used_at"))
_NOTE_USE = (
    update(api_keys)
    .where(api_keys.c.id == bindparam("key_id"))
    .values(
        use_count=api_keys.c.use_count + bindparam("uses"),
        last_used_at=case(
            (_is_later, bindparam("used_at", type_=api_keys.c.last_used_at.type)),
            else_=api_keys.c.last_used_at,
        ),
        last_used_from=case(
            (_is_later, bindparam("used_from", type_=api_keys.c.last_used_from.type)),
            else_=api_keys.c.last_used_from,
        ),
    )
)
_REHASH = (
    update(api_keys)
    .where(api_keys.c.id == bindparam("key_id"))
    .values(hash=bindparam("new_hash"), pepper_version=bindparam("new_version"))
)


class ApiKeyRepository:
    """Implements `ports.ApiKeys`."""

    def __init__(self, unit: Unit) -> None:
        self._unit = unit

    async def add(self, key: ApiKey, key_hash: KeyHash) -> None:
        """The id is random: should it be taken, that is a mistake and no conflict."""
        row = {
            "id": key.id,
            "user_id": key.user_id,
            "tenant_id": key.tenant_id,
            "name": key.name,
            "hash": key_hash.digest,
            "pepper_version": key_hash.pepper_version,
            "role_ids": None if key.role_ids is None else list(key.role_ids),
            "created_at": key.created_at,
            "expires_at": key.expires_at,
            "revoked_at": key.revoked_at,
            "last_used_at": key.last_used_at,
            "last_used_from": key.last_used_from,
            "use_count": key.use_count,
        }
        await self._unit.run(insert(api_keys), row)

    async def get(self, key_id: str) -> ApiKey | None:
        """Revoked and expired ones, too."""
        if not storable(key_id):
            return None
        row = (await self._unit.run(select(*_LISTED).where(api_keys.c.id == key_id))).first()
        if row is None:
            return None
        return ApiKey(
            id=row.id,
            user_id=row.user_id,
            name=row.name,
            created_at=row.created_at,
            tenant_id=row.tenant_id,
            role_ids=None if row.role_ids is None else tuple(row.role_ids),
            expires_at=row.expires_at,
            revoked_at=row.revoked_at,
            last_used_at=row.last_used_at,
            last_used_from=row.last_used_from,
            use_count=row.use_count,
        )

    async def revoke(self, key_id: str, at: datetime) -> bool:
        """False when there is no such key or it was revoked before."""
        if not storable(key_id):
            return False
        statement = (
            update(api_keys)
            .where(api_keys.c.id == key_id, api_keys.c.revoked_at.is_(None))
            .values(revoked_at=at)
        )
        return (await self._unit.run(statement)).rowcount > 0

    async def note_uses(self, uses: Sequence[KeyUse]) -> None:
        """Keys that are gone are passed over."""
        # In the order of their ids, so that two processes' batches never lock crosswise.
        ordered = sorted(uses, key=lambda use: use.key_id)
        rows = [
            {"key_id": u.key_id, "uses": u.count, "used_at": u.at, "used_from": u.address}
            for u in ordered
        ]
        if rows:
            await self._unit.run(_NOTE_USE, rows)
        hashes = [
            {
                "key_id": use.key_id,
                "new_hash": use.rehash.digest,
                "new_version": use.rehash.pepper_version,
            }
            for use in ordered
            if use.rehash is not None
        ]
        if hashes:
            await self._unit.run(_REHASH, hashes)
