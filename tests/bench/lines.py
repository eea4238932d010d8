"""The rounds put together: one line a figure, medians over its rounds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median

from tests.bench import figures
from tests.bench.load import SERVICE
from tests.bench.measure import Figure, Results
from tests.bench.wire import Round
from tests.bench.workloads import SIGNING

Value = float | int | str | None


@dataclass(frozen=True)
class Line:
    """One line of the table. Times in seconds, memory in bytes."""

    name: str
    rate: float
    least: float
    most: float
    p50: float | None = None
    p99: float | None = None
    #: Ratios to the bare round before, and to the rate of raw signatures of the algorithm.
    vs_bare: float | None = None
    vs_raw: float | None = None
    #: Processor time for one answer.
    cpu: float | None = None
    db_cpu: float | None = None
    redis_cpu: float | None = None
    resident: int | None = None
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
            "p99_over_p50": _scaled(self.p99 / self.p50 if self.p99 and self.p50 else None, 1),
            "vs_bare": _scaled(self.vs_bare, 1),
            "vs_raw": _scaled(self.vs_raw, 1),
            "service_cpu_us": _scaled(self.cpu, 1e6),
            "db_cpu_us": _scaled(self.db_cpu, 1e6),
            "redis_cpu_us": _scaled(self.redis_cpu, 1e6),
            "rss_mb": _scaled(self.resident, 1e-6),
            "service_busy": _scaled(self.service_busy, 1),
            "generator_busy": _scaled(self.generator_busy, 1),
            "generator": self.generator or None,
            "errors": None if self.p50 is None else self.errors,
        }


def lines(results: Results) -> list[Line]:
    """The table's lines: the limits first, then the service."""
    found = []
    for algorithm in figures.ALGORITHMS:
        if rates := results.signatures.get(algorithm):
            name = figures.signatures(algorithm)
            found.append(Line(name, median(rates), min(rates), max(rates)))
    by_generator: dict[str, list[Round]] = {}
    for figure in results.figures.values():
        by_generator.setdefault(figure.generator, []).extend(figure.bare)
    for generator, rounds in sorted(by_generator.items(), reverse=True):
        name = "bare" if len(by_generator) == 1 else f"bare.{generator}"
        found.append(_line(name, generator, rounds))
    found += [_of_service(name, figure) for name, figure in results.figures.items()]
    return found


def cost(rounds: Sequence[Round], who: str) -> float | None:
    """Processor time of one of the watched for one answer, in seconds.

    Over all rounds: the clock ticks a hundred times a second only, and who else took the core
    hardly matters.
    """
    watched = [one for one in rounds if who in one.cpu]
    answers = sum(one.requests for one in watched)
    return sum(one.cpu[who] for one in watched) / answers if answers else None


def _of_service(name: str, figure: Figure) -> Line:
    pairs = zip(figure.rounds, figure.bare, strict=True)
    ratios = [one.rate / bare.rate for one, bare in pairs if bare.requests]
    workload = name.partition(".")[0]
    turns = zip(figure.rounds, figure.raw, strict=False) if workload in SIGNING else ()
    signing = [one.rate / raw for one, raw in turns]
    return replace(
        _line(name, figure.generator, figure.rounds),
        vs_bare=median(ratios) if ratios else None,
        vs_raw=median(signing) if signing else None,
        db_cpu=cost(figure.rounds, "db"),
        redis_cpu=cost(figure.rounds, "redis"),
        resident=figure.resident,
    )


def _line(name: str, generator: str, rounds: Sequence[Round]) -> Line:
    busy = [one.cpu[SERVICE] / one.elapsed for one in rounds if SERVICE in one.cpu]
    rates = [one.rate for one in rounds]
    return Line(
        name,
        rate=median(rates),
        least=min(rates),
        most=max(rates),
        p50=median(one.p50 for one in rounds),
        p99=median(one.p99 for one in rounds),
        cpu=cost(rounds, SERVICE),
        service_busy=median(busy) if busy else None,
        generator_busy=median(one.generator_cpu / one.elapsed for one in rounds),
        generator=generator,
        errors=sum(one.errors for one in rounds),
    )


def _scaled(value: float | None, by: float) -> float | None:
    return None if value is None else round(value * by, 4)
