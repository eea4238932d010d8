"""Which of a tenant's keys a list is of."""

from typing import Any

from sqlalchemy import Column, ColumnElement, Select, and_, not_, or_, select

from ..services.ports import KeyFilter
from .columns import db_now
from .tables import api_keys

# Asked once a statement: what changes from row to row bounds no index.
_NOW = select(db_now()).scalar_subquery()


def filtered(statement: Select[Any], wanted: KeyFilter) -> Select[Any]:
    """The statement's keys that are wanted, of whichever user.

    When they were used stands in no index: it would cost each use more than it spares a list.
    """
    key = api_keys.c
    if wanted.revoked is not None:
        statement = statement.where(_is(key.revoked_at.is_not(None), wanted.revoked))
    if wanted.expired is not None:
        ended = and_(key.expires_at.is_not(None), key.expires_at <= _NOW)
        never = key.expires_at.is_(None)
        if wanted.expires_before is not None:
            statement = statement.where(_is(key.expires_at <= _NOW, wanted.expired))
        else:
            goes_on = or_(never, key.expires_at > _NOW)
            statement = statement.where(ended if wanted.expired else goes_on)
    if wanted.expires_before is not None:
        statement = statement.where(key.expires_at < wanted.expires_before)
    if (since := wanted.unused_since) is not None:
        later = (_not_since(column, since) for column in (key.rotated_at, key.last_used_at))
        statement = statement.where(key.created_at < since, *later)
    return statement


def _is(condition: ColumnElement[bool], wanted: bool) -> ColumnElement[bool]:
    return condition if wanted else not_(condition)


def _not_since(column: Column[Any], since: object) -> ColumnElement[bool]:
    return or_(column.is_(None), column < since)
