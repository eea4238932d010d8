"""What was measured, as a table for people (Markdown) and as JSON for scripts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import median

from rich import box
from rich.console import Console
from rich.table import Table

from tests.bench import machine, stores
from tests.bench.libraries import FIGURES
from tests.bench.machine import Cores
from tests.bench.measure import SIGNATURES, Figure, Plan, Results
from tests.bench.stores import STORES
from tests.bench.wire import CONNECTIONS, Round

#: A generator that is this busy may be the limit itself.
BUSY = 0.9

Value = float | int | str | None


@dataclass(frozen=True)
class Line:
    """One line of the table: medians over the rounds. Times in seconds."""

    name: str
    rate: float
    least: float
    most: float
    p50: float | None = None
    p99: float | None = None
    vs_bare: float | None = None
    #: Processor time of the service for one answer.
    cpu: float | None = None
    #: Share of a core that service and generator took.
    service_busy: float | None = None
    generator_busy: float | None = None
    generator: str = ""
    errors: int = 0

    def as_json(self) -> dict[str, Value]:
        """The same under the names that the README explains; times in milliseconds or µs."""
        return {
            "per_second": round(self.rate, 1),
            "min_per_second": round(self.least, 1),
            "max_per_second": round(self.most, 1),
            "p50_ms": _scaled(self.p50, 1e3),
            "p99_ms": _scaled(self.p99, 1e3),
            "vs_bare": _scaled(self.vs_bare, 1),
            "service_cpu_us": _scaled(self.cpu, 1e6),
            "service_busy": _scaled(self.service_busy, 1),
            "generator_busy": _scaled(self.generator_busy, 1),
            "generator": self.generator or None,
            "errors": self.errors,
        }


def lines(results: Results) -> list[Line]:
    """The table's lines: the limits first, then the service."""
    found = []
    if results.signatures:
        rates = results.signatures
        found.append(Line(SIGNATURES, median(rates), min(rates), max(rates)))
    by_generator: dict[str, list[Round]] = {}
    for figure in results.figures.values():
        by_generator.setdefault(figure.generator, []).extend(figure.bare)
    for generator, rounds in sorted(by_generator.items(), reverse=True):
        name = "bare" if len(by_generator) == 1 else f"bare.{generator}"
        found.append(_line(name, generator, rounds))
    found += [_service_line(name, figure) for name, figure in results.figures.items()]
    return found


def _service_line(name: str, figure: Figure) -> Line:
    pairs = zip(figure.rounds, figure.bare, strict=True)
    ratios = [one.rate / bare.rate for one, bare in pairs if bare.requests]
    return _line(name, figure.generator, figure.rounds, median(ratios) if ratios else None)


def _line(name: str, generator: str, rounds: Sequence[Round], vs_bare: float | None = None) -> Line:
    cpu = [(one, one.service_cpu) for one in rounds if one.service_cpu is not None]
    rates = [one.rate for one in rounds]
    return Line(
        name,
        rate=median(rates),
        least=min(rates),
        most=max(rates),
        p50=median(one.p50 for one in rounds),
        p99=median(one.p99 for one in rounds),
        vs_bare=vs_bare,
        cpu=median(used / max(1, one.requests) for one, used in cpu) if cpu else None,
        service_busy=median(used / one.elapsed for one, used in cpu) if cpu else None,
        generator_busy=median(one.generator_cpu / one.elapsed for one in rounds),
        generator=generator,
        errors=sum(one.errors for one in rounds),
    )


def as_json(plan: Plan, cores: Cores, results: Results) -> dict[str, object]:
    """Everything, for `--json`."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine.description(),
        "placement": str(cores),
        "connections": CONNECTIONS,
        "seconds": plan.seconds,
        "rounds": plan.rounds,
        "figures": {line.name: line.as_json() for line in lines(results)},
        "libraries": {
            name: {"value": round(value, 3), "unit": FIGURES[name][0]}
            for name, value in results.libraries.items()
        },
    }


def show(plan: Plan, cores: Cores, results: Results) -> None:
    """Prints the table to stdout. It is Markdown, to be pasted where it is kept."""
    console = Console(highlight=False, markup=False, soft_wrap=True, width=160)
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
        if plan.chosen(store):
            console.print(stores.described(store))
    console.print()
    found = lines(results)
    console.print(_table(found))
    console.print()
    for note in _notes(found):
        console.print(note)
    if results.libraries:
        console.print()
        console.print(_libraries(results.libraries))


def _table(found: Iterable[Line]) -> Table:
    table = Table(box=box.MARKDOWN)
    table.add_column("figure", no_wrap=True)
    names = ("per second", "min – max", "of bare", "p50 ms", "p99 ms", "cpu µs", "busy", "errors")
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)
    for line in found:
        table.add_row(
            line.name,
            f"{line.rate:,.0f}",
            f"{line.least:,.0f} – {line.most:,.0f}",
            _shown(line.vs_bare, 1, 2),
            _shown(line.p50, 1e3, 2),
            _shown(line.p99, 1e3, 2),
            _shown(line.cpu, 1e6, 0),
            "" if line.service_busy is None else f"{line.service_busy:.0%}",
            "" if line.name == SIGNATURES else str(line.errors),
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


def _notes(found: Iterable[Line]) -> Iterable[str]:
    for line in found:
        busy = line.generator_busy
        if busy and line.name.startswith("bare"):
            yield (
                f"Load by the {line.generator} generator: {busy:.0%} of a core at the bare route,"
                f" so it could send about {line.rate / busy:,.0f}/s there."
            )
        if busy and busy >= BUSY:
            yield f"{line.name}: the generator was busy for {busy:.0%}; it may have been the limit."


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


def _scaled(value: float | None, by: float) -> float | None:
    return None if value is None else round(value * by, 4)


def _shown(value: float | None, by: float, digits: int) -> str:
    return "" if value is None else f"{value * by:,.{digits}f}"
