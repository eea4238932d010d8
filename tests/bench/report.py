"""What was measured, as a table for people (Markdown) and as JSON for scripts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

from rich import box
from rich.console import Console
from rich.table import Table

from tests.bench import machine, stores
from tests.bench.figures import MACHINE, SCALING
from tests.bench.libraries import FIGURES
from tests.bench.lines import Line, lines
from tests.bench.machine import Cores
from tests.bench.measure import Plan, Results
from tests.bench.stores import STORES
from tests.bench.whole import TWO, Shared, scaling, shared_lines
from tests.bench.wire import CONNECTIONS

_COMPARED = (
    *("vs_bare", "p99_over_p50", "per_second", "p50_ms", "vs_raw"),
    *("service_cpu_us", "db_cpu_us", "redis_cpu_us", "rss_mb", "errors"),
)
#: A generator that is this busy may be the limit itself.
BUSY = 0.9


def as_json(plan: Plan, cores: Cores, results: Results) -> dict[str, object]:
    """Everything, for `--json`."""
    shared = shared_lines(results.whole)
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine.description(),
        "placement": str(cores),
        "connections": CONNECTIONS,
        "seconds": plan.seconds,
        "rounds": plan.rounds,
        "figures": {line.name: line.as_json() for line in lines(results)},
        "whole_machine": {line.name: line.as_json() for line in shared},
        "scaling": scaling(shared),
        "libraries": {
            name: {"value": round(value, 3), "unit": FIGURES[name][0]}
            for name, value in results.libraries.items()
        },
    }


def flat(results: Results) -> dict[str, float | int]:
    """What scripts compare, each by one key: a figure's name and what is said of it."""
    found: dict[str, float | int] = {}
    for line in lines(results):
        said = line.as_json()
        for name in _COMPARED:
            if isinstance(value := said[name], float | int):
                found[f"{line.name}.{name}"] = value
    shared = shared_lines(results.whole)
    for both in shared:
        if both.name == TWO and both.vs_bare is not None:
            found[f"{MACHINE}.per_second"] = round(both.rate, 1)
            found[f"{MACHINE}.vs_bare"] = round(both.vs_bare, 4)
    return found | {f"{SCALING}.{name}": value for name, value in scaling(shared).items()}


def show(plan: Plan, cores: Cores, results: Results) -> None:
    """Prints the table to stdout. It is Markdown, to be pasted where it is kept."""
    console = Console(highlight=False, markup=False, soft_wrap=True, width=200)
    about = machine.description()
    console.print(
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {about['processor']}, {about['cores']} cores,"
        f" {about['python']}, {about['system']}"
    )
    console.print(
        f"{CONNECTIONS} connections, medians of {plan.rounds} rounds of"
        f" {'at most ' if plan.budget else ''}{plan.seconds:g} s; {cores}"
    )
    for store in STORES:
        if any(section.store == store for section in plan.sections):
            console.print(stores.described(store))
    tables = []
    if found := lines(results):
        tables.append((_table(found), _notes(found)))
    if shared := shared_lines(results.whole):
        tables.append((_shared_table(shared), _scaling_notes(scaling(shared))))
    if results.libraries:
        tables.append((_libraries(results.libraries), ()))
    for table, notes in tables:
        console.print()
        console.print(table)
        for number, note in enumerate(notes):
            console.print(note if number else f"\n{note}")


def _markdown(*columns: str) -> Table:
    table = Table(box=box.MARKDOWN)
    for number, name in enumerate(columns):
        table.add_column(name, no_wrap=True, justify="right" if number else "left")
    return table


def _table(found: Iterable[Line]) -> Table:
    table = _markdown(
        *("figure", "per second", "min – max", "of bare", "of raw", "p50 ms", "p99 ms"),
        *("cpu µs", "db µs", "redis µs", "RSS MB", "busy", "errors"),
    )
    for line in found:
        table.add_row(
            line.name,
            f"{line.rate:,.0f}",
            f"{line.least:,.0f} – {line.most:,.0f}",
            _shown(line.vs_bare, 1, 2),
            _shown(line.vs_raw, 1, 2),
            _shown(line.p50, 1e3, 2),
            _shown(line.p99, 1e3, 2),
            _shown(line.cpu, 1e6, 0),
            _shown(line.db_cpu, 1e6, 0),
            _shown(line.redis_cpu, 1e6, 0),
            _shown(line.resident, 1e-6, 0),
            "" if line.service_busy is None else f"{line.service_busy:.0%}",
            "" if line.p50 is None else str(line.errors),
        )
    return table


def _shared_table(found: Iterable[Shared]) -> Table:
    table = _markdown(
        *("all cores", "per second", "min – max", "of bare", "workers' cores", "db's"),
        *("redis's", "load's", "worker µs", "db µs", "errors"),
    )
    for line in found:
        table.add_row(
            line.name,
            f"{line.rate:,.0f}",
            f"{line.least:,.0f} – {line.most:,.0f}",
            _shown(line.vs_bare, 1, 2),
            *(_shown(line.cores.get(who), 1, 2) for who in ("service", "db", "redis", "load")),
            _shown(line.cost("service"), 1e6, 0),
            _shown(line.cost("db"), 1e6, 0),
            str(line.errors),
        )
    return table


def _libraries(figures: Mapping[str, float]) -> Table:
    table = Table(box=box.MARKDOWN)
    table.add_column("libraries", no_wrap=True)
    table.add_column("", justify="right", no_wrap=True)
    table.add_column("what", no_wrap=True)
    for name, value in figures.items():
        unit, what = FIGURES[name]
        table.add_row(name, f"{value:,.1f} {unit}", what)
    return table


def _notes(found: Sequence[Line]) -> Iterable[str]:
    for line in found:
        busy = line.generator_busy
        if busy and line.name.startswith("bare"):
            yield (
                f"Load by the {line.generator} generator: {busy:.0%} of a core at the bare route,"
                f" so it could send about {line.rate / busy:,.0f}/s there."
            )
        if busy and busy >= BUSY:
            yield f"{line.name}: the generator was busy for {busy:.0%}; it may have been the limit."


def _scaling_notes(found: Mapping[str, float]) -> Iterable[str]:
    if found:
        yield (
            f"2 workers instead of 1, on the same cores: {found['rate']:.2f} times the rate. With"
            " the share of the load and the databases deducted, that is by the workers' own"
            f" processor time for an answer: 2 × {found['per_worker_cpu']:.2f}."
        )


def failures(results: Results) -> Mapping[str, str]:
    """For each figure with errors, how many and the first of them."""
    found: dict[str, str] = {}
    for name, one in results.rounds():
        if one.errors:
            text = f"{one.errors} of {one.requests + one.errors} answers were not 200"
            found.setdefault(name, f"{text} in one round; the first: {one.first_error}")
        elif not one.requests:
            found.setdefault(name, "a round without an answer; try longer ones: --seconds 3")
    return found


def _shown(value: float | None, by: float, digits: int) -> str:
    return "" if value is None else f"{value * by:,.{digits}f}"
