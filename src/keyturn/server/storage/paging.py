"""Pages of long lists: rows behind the last one seen, in the order of an index."""

import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

from sqlalchemy import Column, ColumnElement, Row, Select, and_, or_, tuple_

from ..domain.addresses import folded_address
from ..domain.errors import invalid_request
from ..domain.ids import parse_id
from ..services.ports import Page, Slice
from .columns import Id, UtcDateTime, storable

T = TypeVar("T")


def sliced(
    statement: Select[Any], part: Slice, *columns: Column[Any], backwards: bool = False
) -> Select[Any]:
    """The statement's rows behind `part.after`, in the order of the columns.

    Reads one row more than a page has: whether there is another page is known from it. Raises
    Refusal `invalid_request` when `part.after` is not of these columns' kinds.
    """
    values = behind(part, *columns)
    if values is not None:
        place = tuple_(*columns)
        statement = statement.where(place < values if backwards else place > values)
    order = [column.desc() if backwards else column.asc() for column in columns]
    return statement.order_by(*order).limit(part.limit + 1)


def behind(part: Slice, *columns: Column[Any]) -> tuple[object, ...] | None:
    """The values of `part.after`, one a column; None: from the start.

    Cursors come from outside. Raises Refusal `invalid_request` for a malformed one.
    """
    if part.after is None:
        return None
    values = [_value(column, text) for column, text in zip(columns, part.after, strict=False)]
    if len(part.after) != len(columns) or None in values:
        raise invalid_request("The cursor is not valid.", field="cursor")
    return tuple(values)


def page(
    rows: Sequence[Row[Any]], part: Slice, record: Callable[[Row[Any]], T], *keys: str
) -> Page[T]:
    """The page of the rows that a `sliced` statement gave; `keys` names the rows' key columns."""
    items = tuple(record(row) for row in rows[: part.limit])
    if len(rows) <= part.limit:
        return Page(items)
    last = rows[part.limit - 1]
    return Page(items, tuple(_text(getattr(last, key)) for key in keys))


def begins(folded: Column[str], prefix: str) -> ColumnElement[bool]:
    """Whether a folded name begins with `prefix`, in whatever case: a range of its index."""
    first = prefix.casefold()
    last = _successor(first)
    return folded >= first if last is None else and_(folded >= first, folded < last)


def mentions(text: str, name: Column[str] | None, address: Column[str]) -> ColumnElement[bool]:
    """Whether a folded name or address has `text` in it, in whatever case.

    What is searched is read one by one: it should be one tenant's.
    """
    found = address.contains(folded_address(text), autoescape=True)
    if name is None:
        return found
    return or_(found, name.contains(text.casefold(), autoescape=True))


def _successor(text: str) -> str | None:
    """The first text behind all that begin with `text`, by code points; None: there is none."""
    head = text.rstrip(chr(sys.maxunicode))
    if not head:
        return None
    following = ord(head[-1]) + 1
    # Surrogates are no characters, and cannot be stored.
    return head[:-1] + chr(0xE000 if following == 0xD800 else following)


def _value(column: Column[Any], text: str) -> str | datetime | None:
    if isinstance(column.type, Id):
        return parse_id(text)
    if isinstance(column.type, UtcDateTime):
        return _time(text)
    return text if storable(text) else None


def _time(text: str) -> datetime | None:
    try:
        time = datetime.fromisoformat(text)
        return None if time.tzinfo is None else time.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _text(value: str | datetime) -> str:
    return value.isoformat() if isinstance(value, datetime) else value
