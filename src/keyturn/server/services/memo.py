"""What follows from records that are used again (`recent_keys`), worked out once."""

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

T = TypeVar("T")

#: Most results that are kept.
MOST = 500


class Memo(Generic[T]):
    """Results of a function of things that never change."""

    def __init__(self) -> None:
        self._kept: dict[tuple[Hashable, ...], tuple[tuple[object, ...], T]] = {}

    def of(self, things: tuple[object, ...], values: Hashable, make: Callable[[], T]) -> T:
        """What `make` gives for these very `things` (not for equal ones) and equal `values`.

        What `make` raises is raised, and made anew the next time.
        """
        key = (*map(id, things), values)
        kept = self._kept.get(key)
        if kept is not None:
            return kept[1]
        result = make()
        if len(self._kept) >= MOST:
            self._kept.clear()
        # With the things themselves: as long as they are kept, nothing else has their ids.
        self._kept[key] = (things, result)
        return result
