"""How long each list takes in a large installation beside a small one, by the clock."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from statistics import median
from time import perf_counter
from urllib.parse import urlsplit

from rich.table import Table

from keyturn.server.services.ports import Page, Slice
from keyturn.server.storage import Storage, migrate, open_storage
from tests.databases import database, run
from tests.scale.lists import EXCHANGES, READS, Landmarks
from tests.scale.seed import seed
from tests.scale.shape import SMALL

#: Short, so that the small installation's pages are as full as the large one's.
_PAGE = 10

_ROUNDS = 25

#: Seconds for the rounds of one list: its transaction must end in time.
_SECONDS = 2.0


@dataclass(frozen=True)
class Compared:
    """Medians, in milliseconds, and how many items a page of each had (None: no page)."""

    name: str
    view: str
    small: float
    large: float
    items: tuple[int, int] | None

    @property
    def ratio(self) -> float:
        """How many times as long the large one took."""
        return self.large / self.small


@contextmanager
def small_beside(url: str) -> Iterator[str]:
    """A small installation on the server of `url`, dropped at the end."""
    name = f"{urlsplit(url).path.lstrip('/')}_small"
    with database(url, name) as small:
        run(migrate(small))
        run(seed(small, SMALL))
        yield small


async def compare(small: str, large: str) -> list[Compared]:
    """Each list from the viewpoint where it takes longest, and each exchange."""
    async with _opened(small) as one, _opened(large) as other:
        found = []
        for name in READS:
            views = [await _read(one, other, name, index) for index in range(len(one[1].views))]
            found.append(max(views, key=lambda compared: compared.large))
        return found + [await _exchange(one, other, name) for name in EXCHANGES]


_Opened = tuple[Storage, Landmarks]


@asynccontextmanager
async def _opened(url: str) -> AsyncIterator[_Opened]:
    async with open_storage(url) as storage:
        yield storage, await Landmarks.find(url)


async def _read(one: _Opened, other: _Opened, name: str, index: int) -> Compared:
    read, part = READS[name], Slice(_PAGE)
    async with one[0].store.transaction() as small, other[0].store.transaction() as large:
        view = other[1].views[index]
        times, results = await _times(
            lambda: read(small, one[1].views[index], part), lambda: read(large, view, part)
        )
    pages = [result for result in results if isinstance(result, Page)]
    items = (len(pages[0].items), len(pages[1].items)) if pages else None
    return Compared(name, view.name, *times, items)


async def _exchange(one: _Opened, other: _Opened, name: str) -> Compared:
    times, _ = await _times(
        lambda: one[0].lookup.find(one[1].keys[name]),
        lambda: other[0].lookup.find(other[1].keys[name]),
    )
    return Compared("lookup.find", name, *times, None)


async def _times(
    *works: Callable[[], Awaitable[object]],
) -> tuple[tuple[float, float], list[object]]:
    """The median times of two works, done by turns."""
    taken: tuple[list[float], list[float]] = ([], [])
    results: list[object] = []
    until = perf_counter() + _SECONDS
    while len(taken[0]) < _ROUNDS and (not results or perf_counter() < until):
        results = []
        for work, times in zip(works, taken, strict=True):
            begin = perf_counter()
            results.append(await work())
            times.append((perf_counter() - begin) * 1000)
    return (median(taken[0]), median(taken[1])), results


def table(found: list[Compared]) -> Table:
    """For people."""
    shown = Table("list", "of", *("small, ms", "large, ms", "ratio", "items"))
    for each in found:
        items = "" if each.items is None else f"{each.items[0]} / {each.items[1]}"
        shown.add_row(
            *(each.name, each.view, f"{each.small:.2f}", f"{each.large:.2f}"),
            *(f"{each.ratio:.1f}", items),
        )
    return shown
