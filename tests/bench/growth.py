"""`python -m tests.bench.growth`: does an exchange cost the same among 10,000,000 keys?

Two databases on one PostgreSQL, one small and one large, each under a service of its own; all are
up at once, and rounds take turns, so that a noisy neighbour meets all of them.
"""

from __future__ import annotations

import contextlib
import json
import signal
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Annotated

import asyncpg
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeElapsedColumn
from rich.text import Text

from tests.bench.growth_measure import Measured, databases, leave_the_service_alone, measure, ratios
from tests.bench.growth_shape import Size
from tests.bench.machine import description
from tests.bench.wire import BenchError
from tests.servers import ServerError


class Progressed:
    """A bar for the step that goes on, where there is a terminal, and a line for each that is done.

    Implements Tell.
    """

    def __init__(self, progress: Progress, name: str) -> None:
        self._progress, self._name = progress, name
        self._task: Task | None = None

    def begin(self, step: str, total: int | None) -> None:
        task = self._progress.add_task(f"{self._name}: {step}", total=total)
        self._task = next(each for each in self._progress.tasks if each.id == task)

    def advance(self, rows: int) -> None:
        if self._task is not None:
            self._progress.advance(self._task.id, rows)

    def end(self) -> None:
        if (task := self._task) is None:
            return
        rows, took = task.completed, task.elapsed or 1e-9
        counted = f", {rows:,.0f} rows, {rows / took:,.0f} rows/s" if rows else ""
        self._progress.console.print(f"{task.description}: {took:.1f} s{counted}")
        self._progress.remove_task(task.id)


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:,.0f} rows/s" if speed and task.completed > 1 else "")


def show(measured: Measured, console: Console) -> None:
    """A Markdown table, and the ratios."""

    def put(*cells: str) -> None:
        console.print(f"| {cells[0]:<24} | " + " | ".join(f"{c:>9}" for c in cells[1:]) + " |")

    put(
        *("case", "a second", "min", "max", "p50 ms", "p99 ms", "lone p50"),
        *("cpu µs", "db cpu µs", "errors"),
    )
    put("-" * 24, *["-" * 9] * 9)
    for name, turns in measured.busy.items():
        rates = [turn.rate for turn in turns]
        alone = median(turn.p50 for turn in measured.lone[name]) * 1e3
        p50, p99 = (median(getattr(turn, p) for turn in turns) * 1e3 for p in ("p50", "p99"))
        costs = ([t.service_cpu for t in turns], [t.database_cpu for t in turns])
        cpu = (f"{median(known) * 1e6:,.0f}" if (known := _known(c)) else "" for c in costs)
        put(
            *(name, f"{median(rates):,.0f}", f"{min(rates):,.0f}", f"{max(rates):,.0f}"),
            *(f"{p50:.2f}", f"{p99:.2f}", f"{alone:.2f}", *cpu),
            str(sum(turn.errors for turn in (*turns, *measured.lone[name]))),
        )
    console.print()
    put("ratio", "median", "min", "max")
    put("-" * 24, *["-" * 9] * 3)
    for name, ratio in ratios(measured).items():
        put(name, *(f"{figure:.2f}" for figure in (ratio.median, ratio.min, ratio.max)))


def _known(costs: list[float | None]) -> list[float]:
    return [cost for cost in costs if cost is not None]


def as_json(size: Size, measured: Measured) -> str:
    """All of it, for programs."""
    said = {
        "machine": description(),
        "size": asdict(size),
        "ratios": {name: asdict(ratio) for name, ratio in ratios(measured).items()},
        **asdict(measured),
    }
    return json.dumps(said, indent=2) + "\n"


def main(
    keys: Annotated[int, typer.Option(help="API keys.", min=100)] = 10_000_000,
    users: Annotated[int, typer.Option(help="Service users.", min=10)] = 1_000_000,
    tenants: Annotated[int, typer.Option(help="Tenants.", min=10)] = 100_000,
    rounds: Annotated[int, typer.Option(help="Rounds of each case.", min=1, max=100)] = 5,
    seconds: Annotated[float, typer.Option(help="Of a round.", min=0.2, max=60)] = 2.0,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write all to this file.", dir_okay=False)
    ] = None,
) -> None:
    """Fill a large and a small database, and hold the exchange on one against the other.

    Ten million keys take some minutes and ten gigabytes below the temporary directory. All is
    removed at the end. Ends with 1 if any answer was not a 200.
    """
    # `kill` ends it as Ctrl-C does: everything that was started is stopped.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    told = Console(stderr=True, highlight=False, markup=False)
    size = Size(keys, users, tenants)
    try:
        with contextlib.ExitStack() as stack:
            progress = _progress(told)
            with progress:
                filled = databases(size, lambda name: Progressed(progress, name))
                server, small, large = stack.enter_context(filled)
            path = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="keyturn-growth-")))
            measured = measure(
                server,
                small,
                large,
                path,
                cores=leave_the_service_alone(server),
                rounds=rounds,
                seconds=seconds,
                say=told.print,
            )
    except (BenchError, ServerError, OSError, ValueError, asyncpg.PostgresError) as error:
        _fail(str(error))
    except KeyboardInterrupt:
        _fail("interrupted; everything it had started is stopped")
    show(measured, Console(highlight=False, markup=False, width=160))
    if json_file is not None:
        json_file.write_text(as_json(size, measured), encoding="utf-8")
    if failed := [turn.first_error for turn in measured.turns() if turn.errors]:
        _fail(f"{len(failed)} rounds had errors: {failed[0]}")


def _progress(console: Console) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), _Rate(), TimeElapsedColumn())
    return Progress(*columns, console=console, disable=not console.is_terminal)


def _fail(said: str) -> None:
    print(f"growth: {said}", file=sys.stderr)
    raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
