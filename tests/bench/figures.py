"""The figures' names, which are their keys in the JSON as well, and how they are chosen."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tests.bench.stores import POSTGRESQL, STORES
from tests.bench.wire import BenchError
from tests.bench.workloads import WORKLOADS

#: As the names have it, and as the setting has it.
ALGORITHMS = {"es256": "ES256", "rs256": "RS256", "ed25519": "Ed25519"}
USUAL = "es256"
#: What tells of a signature is measured with each; the rest with the usual one.
_WITH_EACH = ("exchange",)

MACHINE = f"machine.{USUAL}.{POSTGRESQL}"
SCALING = f"scaling.{USUAL}.{POSTGRESQL}"
LIBRARIES = "libraries"


@dataclass(frozen=True)
class Section:
    """A service that is started once: on a store, signing with an algorithm, for some work."""

    store: str
    algorithm: str
    workloads: tuple[str, ...]

    def figure(self, workload: str) -> str:
        """The name of one of its figures."""
        return f"{workload}.{self.algorithm}.{self.store}"

    def chosen(self, figures: Iterable[str]) -> Section:
        """The same with the figures in question alone."""
        names = set(figures)
        kept = tuple(work for work in self.workloads if self.figure(work) in names)
        return Section(self.store, self.algorithm, kept)


def signatures(algorithm: str) -> str:
    """The figure of raw signatures."""
    return f"signatures.{algorithm}"


def sections(figures: Iterable[str]) -> list[Section]:
    """What has to be started for the figures in question, in the table's order."""
    every = [
        Section(store, algorithm, tuple(WORKLOADS) if algorithm == USUAL else _WITH_EACH)
        for store in STORES
        for algorithm in ALGORITHMS
    ]
    return [chosen for one in every if (chosen := one.chosen(figures)).workloads]


def all_figures() -> tuple[str, ...]:
    """Every figure there is, in the table's order."""
    return (
        *(signatures(algorithm) for algorithm in ALGORITHMS),
        *(
            f"{work}.{algorithm}.{store}"
            for store in STORES
            for algorithm in ALGORITHMS
            for work in (WORKLOADS if algorithm == USUAL else _WITH_EACH)
        ),
        *(MACHINE, SCALING, LIBRARIES),
    )


#: What a quick run measures, unless told otherwise.
QUICK = (
    signatures(USUAL),
    *(f"{work}.{USUAL}.{POSTGRESQL}" for work in WORKLOADS),
    *(f"exchange.{USUAL}.{store}" for store in STORES if store != POSTGRESQL),
)


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
