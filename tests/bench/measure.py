"""The rounds. Each round of the service follows one of the bare route, because machines are noisy.

What the figures say about the service is their ratio to the bare round just before them, sent by
the same generator: a neighbour who takes half the core takes it from both.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench import processes, stores
from tests.bench.load import Load, Sender, generator_for
from tests.bench.machine import Cores
from tests.bench.processes import Running, helping, serving
from tests.bench.stores import STORES, Prepared
from tests.bench.wire import HOST, BenchError, Round
from tests.bench.workloads import WORKLOADS, bare_load

ALGORITHM = "es256"
SIGNATURES = f"signatures.{ALGORITHM}"
LIBRARIES = "libraries"
#: How often each thing is done with the libraries in a round of a second; and what is kept.
_TRIES, _KEPT, _MOST_KEPT = 40, 20_000, 100_000
#: Connections, caches and prepared statements settle in this time, in seconds.
_WARM_UP = 0.3
#: No round is shorter than this, whatever the budget, in seconds.
_SHORTEST = 0.2

#: Told what was measured or goes on, and how many of the plan's steps that was.
Tell = Callable[[str, int], None]


@dataclass(frozen=True)
class Plan:
    """What is measured: `seconds` a round; `figures` by name, see `all_figures`.

    With a `budget` (seconds) for all of it, rounds become shorter on a machine that is slow.
    """

    seconds: float
    rounds: int
    figures: tuple[str, ...]
    budget: float | None = None

    def chosen(self, store: str) -> list[str]:
        """The workloads that are measured on that store."""
        return [work for work in WORKLOADS if figure(work, store) in self.figures]

    @property
    def steps(self) -> int:
        """How often something is measured."""
        loads = len(set(self.figures) - {SIGNATURES, LIBRARIES})
        others = self.rounds * (SIGNATURES in self.figures) + (LIBRARIES in self.figures)
        return self.rounds * 2 * loads + others


@dataclass
class Figure:
    """One line of the table. `bare` holds, for each round, the round of the bare route before."""

    generator: str
    rounds: list[Round] = field(default_factory=list)
    bare: list[Round] = field(default_factory=list)


@dataclass
class Results:
    """All that was measured."""

    figures: dict[str, Figure] = field(default_factory=dict)
    signatures: list[float] = field(default_factory=list)
    #: By the names in `libraries.FIGURES`; one run, which is repeated inside.
    libraries: dict[str, float] = field(default_factory=dict)

    def rounds(self) -> Iterable[tuple[str, Round]]:
        """Every round of load with its name."""
        for name, measured in self.figures.items():
            yield from ((name, one) for one in measured.rounds)
            yield from (("bare", one) for one in measured.bare)


def figure(workload: str, store: str) -> str:
    """A figure's name, which is its key in the JSON as well."""
    return f"{workload}.{ALGORITHM}.{store}"


def all_figures() -> tuple[str, ...]:
    """Every figure there is, in the table's order."""
    services = (figure(work, store) for store in STORES for work in WORKLOADS)
    return (SIGNATURES, *services, LIBRARIES)


def choose(words: Iterable[str]) -> tuple[str, ...]:
    """The figures whose names have all parts of one of the words. Raises BenchError."""
    found: set[str] = set()
    for word in words:
        parts = set(word.lower().split("."))
        matching = {name for name in all_figures() if parts <= set(name.split("."))}
        if not matching:
            raise BenchError(f"no figure is called {word!r}; there are: {', '.join(all_figures())}")
        found |= matching
    return tuple(name for name in all_figures() if not found or name in found)


class Pace:
    """How long each round may take, so that all of them end within the plan's budget."""

    def __init__(self, plan: Plan, stores_to_start: int) -> None:
        self._plan = plan
        self._begun = time.monotonic()
        self._left = plan.steps
        self._stores = stores_to_start
        self._start_cost = 0.0

    def started(self, took: float) -> None:
        """One more store is up; the next one will take as long."""
        self._stores -= 1
        self._start_cost = took

    def seconds(self) -> float:
        """Of the next round. Counts it as done."""
        wanted, left = self._plan.seconds, max(1, self._left)
        self._left -= 1
        if self._plan.budget is None:
            return wanted
        rest = self._plan.budget - (time.monotonic() - self._begun)
        rest -= self._stores * self._start_cost
        return min(wanted, max(_SHORTEST, rest / left * 0.9))


def measure(plan: Plan, cores: Cores, directory: Path, tell: Tell) -> Results:
    """Starts what is needed, measures, and stops it. Raises BenchError, ServerError."""
    results = Results()
    chosen = [store for store in STORES if plan.chosen(store)]
    pace = Pace(plan, len(chosen))
    if SIGNATURES in plan.figures:
        for _ in range(plan.rounds):
            results.signatures.append(_signatures(pace.seconds(), cores))
            tell(f"{SIGNATURES} {results.signatures[-1]:,.0f}/s", 1)
    if LIBRARIES in plan.figures:
        results.libraries = _libraries(plan, cores, directory)
        tell(f"{LIBRARIES} measured", 1)
    if not chosen:
        return results
    with helping("generator") as generator, serving("bare", cores, directory, {}) as bare:
        for store in chosen:
            tell(f"{store}: starting", 0)
            begun = time.monotonic()
            with contextlib.ExitStack() as stack:
                prepared = stack.enter_context(stores.prepared(store, directory))
                settings = prepared.environment
                service = stack.enter_context(serving("service", cores, directory, settings))
                pair = _Pair(plan, store, bare, service, prepared, Sender(generator))
                pair.warm_up(results)
                pace.started(time.monotonic() - begun)
                for _ in range(plan.rounds):
                    for workload in plan.chosen(store):
                        pair.measure(workload, pace, results, tell)
    return results


def _signatures(seconds: float, cores: Cores) -> float:
    core = "-" if cores.service is None else str(cores.service)
    seconds = min(seconds, 1.0)
    return float(processes.run("signatures", str(seconds), core, seconds=seconds + 20))


def _libraries(plan: Plan, cores: Cores, directory: Path) -> dict[str, float]:
    """Everything of `libraries`, against a service on PostgreSQL."""
    kept = _KEPT if plan.budget is not None else _MOST_KEPT
    tries = max(10, int(_TRIES * min(plan.seconds, 10)))
    with (
        stores.prepared(stores.POSTGRESQL, directory) as prepared,
        serving("service", cores, directory, prepared.environment) as service,
    ):
        who = {
            "username": prepared.admin_username,
            "api_key": prepared.admin_api_key,
            "tenant": prepared.tenant,
        }
        url = f"http://{HOST}:{service.port}"
        said = processes.run(
            "libraries", url, str(tries), str(kept), seconds=300, told=json.dumps(who)
        )
    found: dict[str, float] = json.loads(said)
    return found


@dataclass(frozen=True)
class _Pair:
    """The bare route and the service, on one store."""

    plan: Plan
    store: str
    bare: Running
    service: Running
    prepared: Prepared
    sender: Sender

    def warm_up(self, results: Results) -> None:
        """Lets both settle, and opens the lines of the results."""
        self.sender.send(bare_load(), self.bare, _WARM_UP)
        for workload in self.plan.chosen(self.store):
            load = self._load(workload)
            self.sender.send(load, self.service, _WARM_UP)
            name, generator = figure(workload, self.store), generator_for(load, self.plan.seconds)
            results.figures[name] = Figure(generator)

    def measure(self, workload: str, pace: Pace, results: Results, tell: Tell) -> None:
        """One round of each."""
        name = figure(workload, self.store)
        kept = results.figures[name]
        bare = self.sender.send(bare_load(), self.bare, pace.seconds(), kept.generator)
        tell(f"bare ({kept.generator}) {bare.rate:,.0f}/s", 1)
        load = self._load(workload)
        one = self.sender.send(load, self.service, pace.seconds(), kept.generator)
        tell(f"{name} {one.rate:,.0f}/s" + (f", {one.errors} errors" if one.errors else ""), 1)
        kept.bare.append(bare)
        kept.rounds.append(one)

    def _load(self, workload: str) -> Load:
        return WORKLOADS[workload](self.prepared, self.service.port)
