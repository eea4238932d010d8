"""What commands print: tables for people (rich draws them on terminals), JSON for programs."""

import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence

from .answers import Entity
from .problems import say

#: A field to show: its name (`actor.user_id` for one inside another), or a heading and what
#: stands below it.
Column = str | tuple[str, Callable[[Entity], object]]

_FRACTION = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d+)?(Z|\+00:00)")


def show_json(value: object) -> None:
    """Prints what the service answered, as one line."""
    print(json.dumps(value, ensure_ascii=False))


def show_list(
    items: Sequence[Entity],
    more: bool,
    columns: Sequence[Column],
    *,
    as_json: bool,
    none: str = "none",
) -> None:
    """Prints a list, and on stderr whether there is more of it, or that there is `none`."""
    if as_json:
        show_json(items)
    elif items:
        _table([_head(column) for column in columns], [_row(item, columns) for item in items])
    else:
        say(none)
    if more:
        say(f"keyturn: these are the first {len(items)}; --limit shows more")


def show_one(item: Entity, columns: Sequence[Column], *, as_json: bool) -> None:
    """Prints one thing, a field a line."""
    if as_json:
        show_json(item)
        return
    rows = zip([_head(column) for column in columns], _row(item, columns), strict=True)
    _table([], [list(row) for row in rows])


def show_secret(
    item: Entity, secret: str, columns: Sequence[Column], *, as_json: bool, quiet: bool
) -> None:
    """Prints one thing with its field `secret`, which nobody can see again; `quiet`, that alone."""
    if quiet:
        print(item[secret])
    else:
        show_one(item, [*columns, secret], as_json=as_json)
    say(f"Keep the {secret} now: it is not shown again.")


def with_name(id_: str, known: Mapping[str, str]) -> str:
    """An id with its name before it, when that is known."""
    return f"{known[id_]} ({id_})" if id_ in known else id_


def text(value: object) -> str:
    """A value as it stands in a table: no control characters, whoever chose it."""
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case list() | tuple():
            return ", ".join(text(item) for item in value)
        case Mapping():
            return json.dumps(value, ensure_ascii=False)
    said = _FRACTION.sub(r"\1Z", str(value))
    return "".join(letter if letter.isprintable() else " " for letter in said)


def _head(column: Column) -> str:
    return column if isinstance(column, str) else column[0]


def _row(item: Entity, columns: Sequence[Column]) -> list[str]:
    return [text(_value(item, column)) for column in columns]


def _value(item: Entity, column: Column) -> object:
    if not isinstance(column, str):
        return column[1](item)
    value: object = item
    for name in column.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    # Without heads it is one thing: its fields stay on their lines, to be copied.
    if heads and sys.stdout.isatty():
        _rich_table(heads, rows)
        return
    lines = [heads, *rows] if heads else rows
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        print("  ".join(cells).rstrip())


def _rich_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for number, head in enumerate(heads):
        # The first column is what one copies: an id, mostly.
        table.add_column(head, no_wrap=number == 0, overflow="fold")
    for row in rows:
        table.add_row(*row)
    Console(highlight=False, markup=False).print(table)
