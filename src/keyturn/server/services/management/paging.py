"""Pages of lists that are short enough to be read whole."""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import TypeVar

from ...domain.errors import invalid_request
from ..ports import Page, Slice

T = TypeVar("T")


def paged(ordered: Sequence[T], part: Slice, place: Callable[[T], tuple[str, ...]]) -> Page[T]:
    """One page of what is in the order of `place`.

    Raises Refusal `invalid_request` when `part.after` is no place in such a list.
    """
    start = 0
    if part.after is not None and ordered:
        if len(part.after) != len(place(ordered[0])):
            raise invalid_request("The cursor is not valid.", field="cursor")
        start = bisect_right(ordered, part.after, key=place)
    end = start + part.limit
    items = tuple(ordered[start:end])
    return Page(items, place(items[-1]) if end < len(ordered) else None)
