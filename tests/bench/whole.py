"""The whole machine: nothing is pinned; service, databases and load share all cores.

With one worker and with two, and a bare route by two: what a second worker brings, and what a
machine gives out when it has to do everything itself.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from tests.bench import stores
from tests.bench.figures import MACHINE, SCALING
from tests.bench.load import SERVICE, Sender, generator_for
from tests.bench.machine import Cores
from tests.bench.processes import helping, serving
from tests.bench.stores import POSTGRESQL
from tests.bench.wire import Round
from tests.bench.workloads import WORKLOADS, bare_load

#: More than elsewhere: whichever worker is free accepts a connection and keeps it, and with few
#: of them one worker might get next to none.
CONNECTIONS = 32
BARE, ONE, TWO = "bare, 2 workers", "exchange, 1 worker", "exchange, 2 workers"
_WARM_UP = 1.0

#: Told what was measured or goes on, and how many of the plan's steps that was.
Tell = Callable[[str, int], None]


def arrangements(figures: Collection[str]) -> dict[str, tuple[str, int]]:
    """What is started for these figures, by its name: which server, and how many workers."""
    found = {}
    if MACHINE in figures:
        found[BARE] = ("bare", 2)
    if SCALING in figures:
        found[ONE] = ("service", 1)
    if found:
        found[TWO] = ("service", 2)
    return found


def measure(
    figures: Collection[str],
    rounds: int,
    seconds: Callable[[], float],
    cores: Cores,
    directory: Path,
    tell: Tell,
) -> dict[str, list[Round]]:
    """The rounds of each arrangement, in turns. Raises BenchError, ServerError."""
    wanted = arrangements(figures)
    if not wanted:
        return {}
    tell("all cores: starting", 0)
    with contextlib.ExitStack() as stack:
        shared = stack.enter_context(cores.all_for_all())
        generator = stack.enter_context(helping("generator"))
        prepared = stack.enter_context(stores.prepared(POSTGRESQL, directory))
        servers = {}
        for name, (which, workers) in wanted.items():
            settings = {**prepared.environment, "KEYTURN_WORKERS": str(workers)}
            servers[name] = stack.enter_context(serving(which, shared, directory, settings))
        sender = Sender(generator, prepared.pids)
        exchange = WORKLOADS["exchange"](prepared, 0)
        loads = {name: bare_load() if name == BARE else exchange for name in servers}
        for name, server in servers.items():
            sender.send(loads[name], server, _WARM_UP, connections=CONNECTIONS)
        found: dict[str, list[Round]] = {name: [] for name in servers}
        for _ in range(rounds):
            for name, server in servers.items():
                length = seconds()
                by = generator_for(loads[name], length)
                one = sender.send(loads[name], server, length, by, CONNECTIONS)
                found[name].append(one)
                tell(f"{name}, on all cores: {one.rate:,.0f}/s", 1)
        return found


@dataclass(frozen=True)
class Shared:
    """One arrangement: medians over its rounds. `cores` is how many each program used."""

    name: str
    rate: float
    least: float
    most: float
    cores: Mapping[str, float]
    vs_bare: float | None
    errors: int

    def cost(self, who: str) -> float | None:
        """Processor time of a program for one answer, in seconds."""
        return self.cores[who] / self.rate if who in self.cores and self.rate else None

    def as_json(self) -> dict[str, object]:
        """The same, with the workers' processor time for one answer in µs."""
        worker, database = self.cost(SERVICE), self.cost("db")
        return {
            "per_second": round(self.rate, 1),
            "min_per_second": round(self.least, 1),
            "max_per_second": round(self.most, 1),
            "vs_bare": self.vs_bare and round(self.vs_bare, 4),
            "cores": {who: round(used, 3) for who, used in self.cores.items()},
            "worker_cpu_us": worker and round(worker * 1e6, 1),
            "db_cpu_us": database and round(database * 1e6, 1),
            "errors": self.errors,
        }


def shared_lines(whole: Mapping[str, Sequence[Round]]) -> list[Shared]:
    """A line for each arrangement; ratios are to the bare round of the same turn."""
    bare = whole.get(BARE, ())
    found = []
    for name, rounds in whole.items():
        pairs = zip(rounds, bare, strict=False)
        ratios = [one.rate / other.rate for one, other in pairs if other.requests]
        rates = [one.rate for one in rounds]
        who = {name for one in rounds for name in one.cpu if name == SERVICE or one.cpu[name] > 0}
        cores = {
            name: median(one.cpu.get(name, 0.0) / one.elapsed for one in rounds)
            for name in sorted(who)
        }
        cores["load"] = median(one.generator_cpu / one.elapsed for one in rounds)
        ratio = median(ratios) if ratios and name != BARE else None
        errors = sum(one.errors for one in rounds)
        found.append(Shared(name, median(rates), min(rates), max(rates), cores, ratio, errors))
    return found


def scaling(lines: Sequence[Shared]) -> dict[str, float]:
    """What 2 workers are to 1: by rate, and by answers for a second of the workers' own time.

    Empty without both.
    """
    by_name = {line.name: line for line in lines}
    if not {ONE, TWO} <= by_name.keys():
        return {}
    one, two = by_name[ONE], by_name[TWO]
    first, second = one.cost(SERVICE), two.cost(SERVICE)
    if not first or not second or not one.rate:
        return {}
    return {"rate": round(two.rate / one.rate, 4), "per_worker_cpu": round(first / second, 4)}
