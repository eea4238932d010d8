"""`keyturn migrate-store`: from an SQLite file to PostgreSQL."""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .problems import ExitCode, Problem, reported, say
from .store import ConfigOption, settings_of

if TYPE_CHECKING:
    from ..server.storage.moving import MovedTable

#: Without a terminal, a line each time that so many rows went over.
_LINE_EVERY = 50_000
_SAME = (
    "both have the same rows. Next: set KEYTURN_DATABASE_URL to the target, keep the master secret;"
    " start the service; run `keyturn doctor`; put the SQLite file away, for it is out of date then"
)


def migrate_store(
    to: Annotated[
        str | None, typer.Option("--to", metavar="URL", help="The PostgreSQL database.")
    ] = None,
    to_file: Annotated[
        Path | None,
        typer.Option("--to-file", help="A file with that URL, if a password stands in it."),
    ] = None,
    verify_only: Annotated[
        bool, typer.Option("--verify-only", help="Compare both, and copy nothing.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    config: ConfigOption = None,
) -> None:
    """Copy everything from the SQLite file of the settings to PostgreSQL, and compare it.

    Stop the service first; the file is only read. The database must be there, and empty. When it
    is interrupted, run it again: it goes on where it was. Tokens, sessions and keys stay good
    under the same master secret. The exit code is 1 unless both have the same rows.

    A password in --to can be seen by others on this machine: use --to-file, or PGPASSFILE.

    \b
    Examples:
      keyturn migrate-store --to postgresql://keyturn@db.example/keyturn
      keyturn migrate-store --to-file postgres-url --verify-only
    """  # noqa: D301 - \b keeps the examples' lines
    with reported():
        import asyncio

        from ..server.storage.moving import move

        settings = settings_of(config, require=("database_url",))
        source, target = settings.database_url.get_secret_value(), _target(to, to_file)
        with _progress(as_json) as progress:
            tables = asyncio.run(move(source, target, progress, verify_only=verify_only))
        same = all(table.same for table in tables)
        if as_json:
            print(json.dumps({"same": same, "tables": [_told(table) for table in tables]}))
        else:
            _tell(tables)
            say(f"keyturn: {_SAME if same else 'THEY DIFFER: do not serve the target'}")
        raise typer.Exit(ExitCode.OK if same else ExitCode.FAILED)


def _target(to: str | None, to_file: Path | None) -> str:
    if (to is None) == (to_file is None):
        raise Problem("say where to, by --to or --to-file (see --help)", ExitCode.USAGE)
    if to_file is None:
        url = to or ""
    else:
        try:
            url = to_file.read_text(encoding="utf-8").strip()
        except OSError as error:
            raise Problem(f"cannot read {to_file}: {error.strerror}", ExitCode.USAGE) from None
    if not url.startswith(("postgresql", "postgres:")):
        raise Problem("the target must be postgresql://user@host/name", ExitCode.USAGE)
    return url


@contextmanager
def _progress(quiet: bool) -> Iterator[Callable[[str, int, int], None]]:
    """Bars on a terminal, lines elsewhere."""
    if quiet:
        yield lambda *_: None
        return
    if not sys.stderr.isatty():
        yield _line
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

    columns = (TextColumn("{task.description:<18}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=Console(stderr=True)) as bars:
        known: dict[str, TaskID] = {}

        def show(table: str, done: int, total: int) -> None:
            if table not in known:
                known[table] = bars.add_task(table, total=total)
            bars.update(known[table], completed=done)

        yield show


def _line(table: str, done: int, total: int) -> None:
    if done == total or done % _LINE_EVERY == 0:
        say(f"{table}: {done} of {total}")


def _told(table: "MovedTable") -> dict[str, object]:
    return {
        "table": table.name,
        "rows": table.rows,
        "rows_there": table.there,
        "moved": table.moved,
        "replaced": table.replaced,
        "checksum": table.checksum,
        "checksum_there": table.checksum_there,
        "same": table.same,
    }


def _tell(tables: "Sequence[MovedTable]") -> None:
    for one in tables:
        state = "the same" if one.same else f"DIFFERENT: {one.there} rows there"
        replaced = f", {one.replaced} with letters replaced" if one.replaced else ""
        # The target's schema brings some rows with it, and a run before this one may have.
        before = one.there - one.moved
        counts = f"{one.rows:>9} rows: {one.moved:>9} copied now, {before:>9} there before"
        print(f"{one.name:<18} {counts}; {state}{replaced}")
