"""Signing keys to the coordinates of a timeline, which a template draws in SVG."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from .api import Document
from .templates import moment

#: The drawing's width, the room for names at its left and the height of a row, in SVG units.
WIDTH, LEFT, ROW, ABOVE, BELOW = 720, 96, 34, 8, 24


@dataclass(frozen=True, slots=True)
class Stretch:
    """A time of a key: published before it signs, signing, published after."""

    phase: str
    x: float
    width: float


@dataclass(frozen=True, slots=True)
class Row:
    """One key."""

    kid: str
    algorithm: str
    slot: str
    y: int
    stretches: Sequence[Stretch]


@dataclass(frozen=True, slots=True)
class Timeline:
    """All keys. `marks` are (x, time) of the scale, `now` where this moment stands."""

    rows: Sequence[Row]
    marks: Sequence[tuple[float, datetime]]
    now: float
    height: int
    width: int = WIDTH
    row: int = ROW
    left: int = LEFT


def timeline(keys: Sequence[Document], now: datetime, ahead: timedelta) -> Timeline:
    """The keys of the API's list, from the first one's making to `ahead` of now or the last end."""
    # Who signs now does so until another one takes over, as far as that is planned.
    planned = [moment(key["signs_from"]) for key in keys if key["signs_from"]]
    horizon = max([now + ahead, *planned])
    spans = [_phases(key, horizon) for key in keys]
    ends = [at for phases in spans for _, since, until in phases for at in (since, until)]
    begin, end = min([now - ahead, *ends]), max([now + ahead, *ends])
    length = (end - begin).total_seconds()

    def x(at: datetime) -> float:
        return round(LEFT + (WIDTH - LEFT) * (at - begin).total_seconds() / length, 2)

    rows = [
        Row(
            key["kid"],
            key["algorithm"],
            key["slot"],
            ABOVE + ROW * index,
            [
                Stretch(name, x(since), max(2.0, x(until) - x(since)))
                for name, since, until in spans[index]
            ],
        )
        for index, key in enumerate(keys)
    ]
    marks = [begin + (end - begin) * part / 4 for part in range(4)]
    height = ABOVE + ROW * len(rows) + BELOW
    return Timeline(rows, [(x(at), at) for at in marks], x(now), height)


def _phases(key: Document, horizon: datetime) -> list[tuple[str, datetime, datetime]]:
    """(phase, from, until) of one key, as far as it is known or planned."""
    made = moment(key["created_at"])
    signs = moment(key["signs_from"]) if key["signs_from"] else None
    if key["slot"] == "next":
        until = signs or horizon
        return [("published", made, max(made, until))]
    signs = signs or made
    if key["slot"] == "current":
        return [("published", made, signs), ("signing", signs, max(signs, horizon))]
    retired = moment(key["slot_since"])
    removed = moment(key["removed_at"]) if key["removed_at"] else horizon
    return [("published", made, signs), ("signing", signs, retired), ("retired", retired, removed)]
