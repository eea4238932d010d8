"""`python -m tests.bench`: tokens per second of a running service. See README.md."""

from __future__ import annotations

import json
import signal
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from tests.bench import report
from tests.bench.figures import QUICK, choose
from tests.bench.machine import Cores
from tests.bench.measure import Plan, Results, measure
from tests.bench.wire import BenchError
from tests.servers import ServerError

QUICK_SECONDS = 0.5
#: For everything but the end of the last processes, in seconds.
QUICK_BUDGET = 42.0
SECONDS = 2.0
ROUNDS = 3


def main(
    quick: Annotated[
        bool,
        typer.Option("--quick", help=f"Fewer figures, rounds of {QUICK_SECONDS} s; under 50 s."),
    ] = False,
    seconds: Annotated[
        float | None,
        typer.Option(help=f"Length of a round; {SECONDS:g} by default.", min=0.1, max=300),
    ] = None,
    rounds: Annotated[
        int, typer.Option(help="Rounds of each figure; medians are shown.", min=1, max=100)
    ] = ROUNDS,
    only: Annotated[
        str, typer.Option(help="Figures to measure: names or parts of them, by commas.")
    ] = "",
    json_file: Annotated[
        Path | None,
        typer.Option("--json", help="Write all figures to this file.", dir_okay=False),
    ] = None,
) -> None:
    """Load a running service and print tokens per second beside a bare Starlette route.

    Starts the service on SQLite and on a PostgreSQL that makes its commits durable, with a Redis,
    pinned to one core, and loads it over 16 keep-alive connections from another one. Each round is
    preceded by one of the bare route, and "of bare" is the ratio of the two: on a noisy machine,
    trust it more than the rates. Needs nothing; uses wrk if it is installed. Everything is stopped
    and removed at the end. Ends with 1 if any answer was not a 200.

    A quick run measures the main figures, and its last line is one JSON object.

    The figures: signatures; exchange, exchange-many (10,000 keys in turn), client_credentials,
    refresh, me, introspect, verify on postgresql and sqlite; machine and scaling (nothing pinned,
    1 and 2 workers); libraries (what checking tokens costs a resource server, and how soon it
    hears of a revocation).

    \b
    Examples:
      make bench
      make bench BENCH=quick
      make bench ARGS='--only exchange'              on both databases, all algorithms
      make bench ARGS='--only exchange.rs256,signatures.rs256'
      make bench ARGS='--only machine,scaling --rounds 5'
      make bench ARGS='--seconds 10 --json bench.json'
    """  # noqa: D301 - \b keeps the examples' lines
    # `kill` ends it as Ctrl-C does: everything that was started is stopped.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        words = [word for word in only.replace(" ", "").split(",") if word]
        figures = QUICK if quick and not words else choose(words)
    except BenchError as error:
        raise typer.BadParameter(str(error), param_hint="--only") from None
    default, budget = (QUICK_SECONDS, QUICK_BUDGET) if quick else (SECONDS, None)
    plan = Plan(seconds or default, rounds, figures, budget)
    cores = Cores.of_this_process()
    cores.leave_the_service_alone()
    try:
        results = _measured(plan, cores)
        report.show(plan, cores, results)
        if json_file is not None:
            text = json.dumps(report.as_json(plan, cores, results), indent=2)
            json_file.write_text(text + "\n", encoding="utf-8")
        if quick:
            print(json.dumps(report.flat(results), separators=(",", ":")))
    except (BenchError, ServerError, OSError) as error:
        _fail(str(error))
    except KeyboardInterrupt:
        _fail("interrupted; everything it had started is stopped")
    failed = report.failures(results)
    if failed:
        _fail(*(f"{name}: {what}" for name, what in failed.items()))


def _measured(plan: Plan, cores: Cores) -> Results:
    console = Console(stderr=True, highlight=False, markup=False)
    columns = (
        *(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()),
        TimeElapsedColumn(),
    )
    with (
        tempfile.TemporaryDirectory(prefix="keyturn-bench-") as directory,
        Progress(*columns, console=console, disable=not console.is_terminal) as progress,
    ):
        task = progress.add_task("starting", total=plan.steps)

        def tell(what: str, steps: int) -> None:
            progress.update(task, description=what, advance=steps)
            if not console.is_terminal:
                console.print(what)

        return measure(plan, cores, Path(directory), tell)


def _fail(*said: str) -> None:
    for text in said:
        print(f"bench: {text}", file=sys.stderr)
    raise typer.Exit(1)


if __name__ == "__main__":
    help_options = {"help_option_names": ["-h", "--help"]}
    app = typer.Typer(add_completion=False, context_settings=help_options)
    app.command()(main)
    app(prog_name="python -m tests.bench")
