"""Durations, times and numbers as people write them: `90d`, `12h`, `2026-03-01`, `none`."""

import re
from datetime import UTC, datetime, timedelta

import typer

#: What the word `none` is read as, where a number is: no option can be null.
NONE = -1
_UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


def seconds(text: str | int) -> int:
    """A duration such as 90d, 12h, 30m, 45s, in seconds."""
    match = re.fullmatch(r"(\d{1,9})([smhd])", str(text).strip(), re.ASCII)
    if match is None:
        raise typer.BadParameter("must be a duration such as 90d, 12h, 30m or 45s")
    return int(match[1]) * _UNITS[match[2]]


def duration(value: object) -> object:
    """Seconds as a duration, in the largest unit that says it whole; anything else as it is."""
    if not isinstance(value, int) or isinstance(value, bool):
        return value
    unit = max((unit for unit in _UNITS if value % _UNITS[unit] == 0), key=_UNITS.__getitem__)
    return f"{value // _UNITS[unit]}{unit}" if value else "0s"


def seconds_or_none(text: str | int) -> int:
    """The same, or NONE for the word `none`."""
    return NONE if str(text) == "none" else seconds(text)


def number_or_none(text: str | int) -> int:
    """A number, or NONE for the word `none`."""
    if str(text) == "none":
        return NONE
    if not re.fullmatch(r"\d{1,9}", str(text), re.ASCII):
        raise typer.BadParameter("must be a number, or none")
    return int(text)


def moment(text: str) -> str:
    """A time to come or gone: RFC 3339; a date means its beginning, in UTC."""
    try:
        return _time(text)
    except ValueError:
        raise typer.BadParameter(
            "must be a time such as 2026-03-01T12:00:00Z, or a date such as 2026-03-01"
        ) from None


def past(text: str) -> str:
    """A time gone: as `moment`, or how long ago it was (`12h`)."""
    try:
        if not re.fullmatch(r"\d+[smhd]", text, re.ASCII):
            return _time(text)
        return (datetime.now(UTC) - timedelta(seconds=seconds(text))).isoformat()
    except ValueError:
        raise typer.BadParameter(
            "must be how long ago it was, such as 12h or 7d, a time such as 2026-03-01T12:00:00Z,"
            " or a date such as 2026-03-01"
        ) from None
    except OverflowError:
        raise typer.BadParameter("is too long ago") from None


def ahead(text: str) -> str:
    """How long it is until then (`30d`), as a time."""
    return (datetime.now(UTC) + timedelta(seconds=seconds(text))).isoformat()


def _time(text: str) -> str:
    time = datetime.fromisoformat(text)
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).isoformat()
