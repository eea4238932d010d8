"""The uses of keys, noted in batches: counts, times, and the secrets that end by them."""

from collections.abc import Sequence

from sqlalchemy import bindparam, case, null, or_, select, update

from ..services.ports import KeyUse
from .tables import api_keys
from .unit import Unit, Values

_used_at = bindparam("used_at", type_=api_keys.c.last_used_at.type)
_is_later = or_(api_keys.c.last_used_at.is_(None), api_keys.c.last_used_at < _used_at)
_of_key = api_keys.c.id == bindparam("key_id")
_NOTE_USE = (
    update(api_keys)
    .where(_of_key)
    .values(
        use_count=api_keys.c.use_count + bindparam("uses"),
        last_used_at=case((_is_later, _used_at), else_=api_keys.c.last_used_at),
        last_used_from=case(
            (_is_later, bindparam("used_from", type_=api_keys.c.last_used_from.type)),
            else_=api_keys.c.last_used_from,
        ),
    )
)
# Uses are written down later than they happen, and the secret may have been changed in between:
# what they say is of the secret before, then, and must not touch the new one.
_not_since_changed = or_(api_keys.c.rotated_at.is_(None), api_keys.c.rotated_at <= _used_at)
_REHASH = (
    update(api_keys)
    .where(_of_key, api_keys.c.pepper_version != bindparam("new_version"), _not_since_changed)
    .values(hash=bindparam("new_hash"), pepper_version=bindparam("new_version"))
)
_END_OLD = (
    update(api_keys)
    .where(
        _of_key,
        api_keys.c.old_ends_on_use,
        api_keys.c.old_hash.is_not(None),
        _not_since_changed,
    )
    .values(
        old_hash=null(),
        old_pepper_version=null(),
        old_until=case((api_keys.c.old_until > _used_at, _used_at), else_=api_keys.c.old_until),
    )
)


async def note(unit: Unit, uses: Sequence[KeyUse]) -> frozenset[str]:
    """Writes down all but the uses of keys that a change holds, whose ids it gives.

    A batch that waited for one key while it holds others would make changes wait crosswise.
    """
    ids = sorted(use.key_id for use in uses)
    if not ids:
        return frozenset()
    there = select(api_keys.c.id).where(api_keys.c.id.in_(ids)).order_by(api_keys.c.id)
    locked = there.with_for_update(key_share=True, skip_locked=True)
    free = frozenset((await unit.run(locked)).scalars())
    busy = frozenset((await unit.run(there)).scalars()) - free
    written = [use for use in uses if use.key_id in free]
    counted = [{**_used(u), "uses": u.count, "used_from": u.address} for u in written]
    rehashed = [
        {**_used(u), "new_hash": u.rehash.digest, "new_version": u.rehash.pepper_version}
        for u in written
        if u.rehash is not None
    ]
    ending = [_used(u) for u in written if u.ends_old]
    for statement, rows in ((_NOTE_USE, counted), (_REHASH, rehashed), (_END_OLD, ending)):
        if rows:
            await unit.run(statement, rows)
    return busy


def _used(use: KeyUse) -> Values:
    return {"key_id": use.key_id, "used_at": use.at}
