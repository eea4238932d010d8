"""Templates to HTML. Everything that is put into one is escaped; only templates hold markup."""

import functools
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from jinja2 import Environment

_HERE = Path(__file__).parent / "templates"

_MINUTE, _HOUR, _DAY = 60, 3_600, 86_400


class Templates:
    """The console's templates."""

    def __init__(self, asset: Callable[[str], str], clock: Callable[[], datetime]) -> None:
        """`asset` gives the address of a file that pages load."""
        self._asset = asset
        self.now = clock

    def render(self, name: str, context: Mapping[str, Any]) -> str:
        """A page. Raises jinja2's UndefinedError for what its template names and nobody gave."""
        return self._environment.get_template(name).render(context)

    @functools.cached_property
    def _environment(self) -> "Environment":
        # Whoever never opens the console need not load it.
        from jinja2 import Environment, FileSystemLoader, StrictUndefined

        environment = Environment(
            loader=FileSystemLoader(_HERE),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        environment.globals["asset"] = self._asset
        environment.globals["now"] = self.now
        environment.filters["moment"] = moment
        environment.filters["utc"] = utc
        environment.filters["iso"] = iso
        environment.filters["ago"] = lambda at: ago(at, self.now())
        environment.filters["span"] = span
        environment.filters["json"] = pretty
        return environment


def pretty(document: object) -> str:
    """A document of the API as JSON, for people."""
    return orjson.dumps(document, option=orjson.OPT_INDENT_2).decode()


def moment(at: str | datetime) -> datetime:
    """A time as the API writes it (RFC 3339), or one already."""
    return at if isinstance(at, datetime) else datetime.fromisoformat(at)


def iso(at: str | datetime) -> str:
    """For `<time datetime>`."""
    return moment(at).astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def utc(at: str | datetime) -> str:
    """For people, in UTC: the browser puts its own zone's time in its place."""
    return f"{moment(at).astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def ago(at: str | datetime, now: datetime) -> str:
    """How long before `now`, or after it, in the largest unit: `3 minutes ago`, `in 2 days`."""
    seconds = int((now - moment(at)).total_seconds())
    if abs(seconds) < _MINUTE:
        return "just now" if seconds >= 0 else "in a moment"
    return f"{span(seconds)} ago" if seconds > 0 else f"in {span(-seconds)}"


def span(seconds: int) -> str:
    """A duration in its largest unit: `90` is `1 minute`, `172800` is `2 days`."""
    for size, unit in ((_DAY, "day"), (_HOUR, "hour"), (_MINUTE, "minute")):
        if seconds >= size:
            count = seconds // size
            return f"{count:,} {unit}{'' if count == 1 else 's'}"
    return f"{seconds} second{'' if seconds == 1 else 's'}"
