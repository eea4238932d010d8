"""The rounds. Each round of the service follows one of the bare route, because machines are noisy.

What the figures say about the service is their ratio to the bare round just before them, sent by
the same generator: a neighbour who takes half the core takes it from both.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench import figures, processes, stores, whole
from tests.bench.figures import ALGORITHMS, LIBRARIES, Section
from tests.bench.load import Sender, generator_for
from tests.bench.machine import Cores, resident
from tests.bench.processes import Helper, Running, helping, serving
from tests.bench.stores import MANY_KEYS, Prepared
from tests.bench.whole import Tell
from tests.bench.wire import HOST, Round
from tests.bench.workloads import WORKLOADS, Load, bare_load

#: How often each thing is done with the libraries in a round of a second; and what is kept.
_TRIES, _KEPT, _MOST_KEPT = 40, 20_000, 100_000
#: Connections, caches and prepared statements settle in this time, in seconds.
_WARM_UP = 0.3
#: No round is shorter than this, whatever the budget, in seconds.
_SHORTEST = 0.2
#: No signatures are made for longer, in seconds: they do not vary within a round.
_LONGEST_SIGNING = 1.0


@dataclass(frozen=True)
class Plan:
    """What is measured: `seconds` a round; `figures` by name, see `figures.all_figures`.

    With a `budget` (seconds) for all of it, rounds become shorter on a machine that is slow.
    """

    seconds: float
    rounds: int
    figures: tuple[str, ...]
    budget: float | None = None

    @property
    def sections(self) -> list[Section]:
        """The services that have to be started, one after the other."""
        return figures.sections(self.figures)

    @property
    def signatures(self) -> list[str]:
        """The algorithms whose raw signatures are measured."""
        return [name for name in ALGORITHMS if figures.signatures(name) in self.figures]

    @property
    def steps(self) -> int:
        """How often something is measured."""
        pairs = sum(len(section.workloads) for section in self.sections)
        used = [section.algorithm for section in self.sections]
        signatures = sum(max(1, used.count(algorithm)) for algorithm in self.signatures)
        each = 2 * pairs + signatures + len(whole.arrangements(self.figures))
        return self.rounds * each + (LIBRARIES in self.figures)


@dataclass
class Figure:
    """One line of the table. `bare` holds, for each round, the round of the bare route before.

    `raw`: the rates of signatures in the same turns, if they were measured; `resident`: the
    service's memory after the latest round, in bytes.
    """

    generator: str
    rounds: list[Round] = field(default_factory=list)
    bare: list[Round] = field(default_factory=list)
    raw: list[float] = field(default_factory=list)
    resident: int | None = None


@dataclass
class Results:
    """All that was measured."""

    figures: dict[str, Figure] = field(default_factory=dict)
    #: By algorithm.
    signatures: dict[str, list[float]] = field(default_factory=dict)
    #: By arrangement, on all cores; see `whole`.
    whole: dict[str, list[Round]] = field(default_factory=dict)
    #: By the names in `libraries.FIGURES`; one run, which is repeated inside.
    libraries: dict[str, float] = field(default_factory=dict)

    def rounds(self) -> Iterable[tuple[str, Round]]:
        """Every round of load with its name."""
        for name, measured in self.figures.items():
            yield from ((name, one) for one in measured.rounds)
            yield from (("bare", one) for one in measured.bare)
        for name, rounds in self.whole.items():
            yield from ((name, one) for one in rounds)


class Pace:
    """How long each round may take, so that all of them end within the plan's budget."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._begun = time.monotonic()
        self._left = plan.steps
        self._sections = len(plan.sections)
        self._start_cost = 0.0

    def started(self, took: float) -> None:
        """One more service is up; the next one will take as long."""
        self._sections -= 1
        self._start_cost = took

    def seconds(self) -> float:
        """Of the next round. Counts it as done."""
        wanted, left = self._plan.seconds, max(1, self._left)
        self._left -= 1
        if self._plan.budget is None:
            return wanted
        rest = self._plan.budget - (time.monotonic() - self._begun)
        rest -= self._sections * self._start_cost
        return min(wanted, max(_SHORTEST, rest / left * 0.9))


def measure(plan: Plan, cores: Cores, directory: Path, tell: Tell) -> Results:
    """Starts what is needed, measures, and stops it. Raises BenchError, ServerError."""
    run = _Run(plan, cores, directory, tell)
    if LIBRARIES in plan.figures:
        run.results.libraries = _libraries(plan, cores, directory)
        tell(f"{LIBRARIES} measured", 1)
    with contextlib.ExitStack() as stack:
        if plan.sections:
            generator = stack.enter_context(helping("generator"))
            bare = stack.enter_context(serving("bare", cores, directory, {}))
            for section in plan.sections:
                run.section(section, generator, bare)
        run.signatures()
    run.results.whole = whole.measure(
        plan.figures, plan.rounds, run.pace.seconds, cores, directory, tell
    )
    return run.results


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


class _Run:
    """The rounds of services and of signatures, on the service's core."""

    def __init__(self, plan: Plan, cores: Cores, directory: Path, tell: Tell) -> None:
        self.results = Results()
        self.pace = Pace(plan)
        self._plan, self._cores, self._directory, self._tell = plan, cores, directory, tell

    def section(self, section: Section, generator: Helper, bare: Running) -> None:
        """Starts a service and measures it, and the signatures of its algorithm meanwhile."""
        self._tell(f"{section.store}, {section.algorithm}: starting", 0)
        begun = time.monotonic()
        many = MANY_KEYS if "exchange-many" in section.workloads else 0
        setting = ALGORITHMS[section.algorithm]
        with (
            stores.prepared(
                section.store, self._directory, algorithm=setting, keys=many
            ) as prepared,
            serving("service", self._cores, self._directory, prepared.environment) as service,
        ):
            sender = Sender(generator, prepared.pids)
            pair = _Pair(self, section, bare, service, prepared, sender)
            pair.warm_up(self._plan.seconds)
            self.pace.started(time.monotonic() - begun)
            for _ in range(self._plan.rounds):
                raw = []
                if section.algorithm in self._plan.signatures:
                    raw.append(self._sign(section.algorithm))
                for workload in section.workloads:
                    pair.measure(workload).raw += raw

    def signatures(self) -> None:
        """Those that no service was measured with."""
        for algorithm in self._plan.signatures:
            if algorithm not in self.results.signatures:
                for _ in range(self._plan.rounds):
                    self._sign(algorithm)

    def _sign(self, algorithm: str) -> float:
        core = "-" if self._cores.service is None else str(self._cores.service)
        seconds = min(self.pace.seconds(), _LONGEST_SIGNING)
        said = processes.run("signatures", algorithm, str(seconds), core, seconds=seconds + 20)
        rate = float(said)
        self.results.signatures.setdefault(algorithm, []).append(rate)
        self._tell(f"{figures.signatures(algorithm)} {rate:,.0f}/s", 1)
        return rate

    def tell(self, name: str, one: Round) -> None:
        """One more round is done."""
        errors = f", {one.errors} errors" if one.errors else ""
        self._tell(f"{name} {one.rate:,.0f}/s{errors}", 1)


@dataclass(frozen=True)
class _Pair:
    """The bare route and the service."""

    run: _Run
    section: Section
    bare: Running
    service: Running
    prepared: Prepared
    sender: Sender

    def warm_up(self, seconds: float) -> None:
        """Lets both settle, and opens the lines of the results."""
        self.sender.send(bare_load(), self.bare, _WARM_UP)
        for workload in self.section.workloads:
            load = self._load(workload)
            self.sender.send(load, self.service, _WARM_UP)
            name, generator = self.section.figure(workload), generator_for(load, seconds)
            self.run.results.figures[name] = Figure(generator)

    def measure(self, workload: str) -> Figure:
        """One round of each."""
        name = self.section.figure(workload)
        kept = self.run.results.figures[name]
        seconds = self.run.pace.seconds
        bare = self.sender.send(bare_load(), self.bare, seconds(), kept.generator)
        self.run.tell(f"bare ({kept.generator})", bare)
        one = self.sender.send(self._load(workload), self.service, seconds(), kept.generator)
        self.run.tell(name, one)
        kept.bare.append(bare)
        kept.rounds.append(one)
        kept.resident = resident(self.service.pid)
        return kept

    def _load(self, workload: str) -> Load:
        return WORKLOADS[workload](self.prepared, self.service.port)
