"""Numbers to the coordinates of a chart, which a template draws in SVG. Nothing here is markup."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, log10

#: The drawing's size, with the room for numbers at its left and times below it, in SVG units.
WIDTH, HEIGHT, LEFT, BELOW, ABOVE = 520, 190, 48, 26, 10


@dataclass(frozen=True, slots=True)
class Bar:
    """One step: where it stands, and what stands on it. `parts` are (series, y, height)."""

    at: str
    x: float
    width: float
    parts: Sequence[tuple[int, float, float]]
    numbers: Sequence[int]


@dataclass(frozen=True, slots=True)
class Chart:
    """Stacked bars over time. `lines` are (y, number) of the scale, `marks` the bars named."""

    bars: Sequence[Bar]
    lines: Sequence[tuple[float, int]]
    marks: Sequence[tuple[float, str]]
    totals: Sequence[int]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    base: int = HEIGHT - BELOW

    @property
    def empty(self) -> bool:
        """Whether nothing happened at all."""
        return not any(self.totals)


def chart(times: Sequence[str], series: Sequence[Sequence[int]]) -> Chart:
    """Bars of `series`, each as long as `times`, the first at the bottom."""
    top = scale(max((sum(step) for step in zip(*series, strict=True)), default=0))
    base, room = HEIGHT - BELOW, HEIGHT - BELOW - ABOVE
    pitch = (WIDTH - LEFT) / max(1, len(times))
    bars = []
    for index, at in enumerate(times):
        numbers = [one[index] for one in series]
        parts, y = [], float(base)
        for which, number in enumerate(numbers):
            height = round(room * number / top, 2)
            y -= height
            if number:
                parts.append((which, round(y, 2), height))
        x = round(LEFT + index * pitch + pitch * 0.1, 2)
        bars.append(Bar(at, x, round(pitch * 0.8, 2), parts, numbers))
    lines = [(round(base - room * part / 2, 2), top * part // 2) for part in (0, 1, 2)]
    every = max(1, ceil(len(times) / 4))
    marks = [(bar.x, bar.at) for bar in bars[::every]]
    return Chart(bars, lines, marks, [sum(one) for one in series])


def scale(most: int) -> int:
    """The scale's end: an even, round number of at least `most`."""
    if most <= 2:
        return 2
    size: int = 10 ** int(log10(most))
    steps = (size, 2 * size, 4 * size, 6 * size, 8 * size, 10 * size)
    return next(end for end in steps if end >= most)
