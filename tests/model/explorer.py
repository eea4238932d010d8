"""Takes the machine for a walk, and counts."""

from __future__ import annotations

import os
from collections.abc import Iterator

import hypothesis
from hypothesis import HealthCheck, Phase, Verbosity
from hypothesis.errors import Flaky
from hypothesis.stateful import run_state_machine_as_test

from tests.model.changes import Machine
from tests.model.checks import Violation
from tests.model.world import World

SEED = int(os.environ.get("KEYTURN_MODEL_SEED", "1"))
STEPS_AN_EXAMPLE = 50
#: Steps of a round, at most: some of Hypothesis' examples are short, and some steps find nothing to
#: do. In longer ones it would repeat itself.
ROUND = 750


class Explorer:
    """Runs the machine, and counts."""

    def __init__(self, world: World, seed: int) -> None:
        class Seeded(Machine):
            """In the world of this test."""

        Seeded.__name__ = "Machine"
        Seeded.world = world
        self._machine = hypothesis.seed(seed)(Seeded)

    @property
    def steps(self) -> int:
        """Steps that did something."""
        return self._machine.steps

    @property
    def violated(self) -> bool:
        """Whether there was a violation."""
        return self._machine.caught_in > 0

    @property
    def violations(self) -> tuple[str, ...]:
        """What they said."""
        return self._machine.violations

    @property
    def caught_in(self) -> int:
        """The step of the first violation."""
        return self._machine.caught_in

    def explore(self, steps: int, *, tell: bool = True) -> None:
        """Takes `steps` steps. With `tell`, a violation is made short, and printed as a story."""
        settings = hypothesis.settings(
            max_examples=-(-steps // STEPS_AN_EXAMPLE),
            stateful_step_count=STEPS_AN_EXAMPLE,
            phases=[Phase.generate, Phase.shrink] if tell else [Phase.generate],
            verbosity=Verbosity.normal if tell else Verbosity.quiet,
            deadline=None,
            database=None,
            derandomize=False,
            print_blob=tell,
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        )
        run_state_machine_as_test(self._machine, settings=settings)


def explore(
    world: World, steps: int, *, first: int = SEED, tell: bool = True
) -> Iterator[Explorer]:
    """Goes on from seed to seed, a round each, until so many steps have been taken.

    Raises Violation only where `tell`; else the explorer knows of it.
    """
    taken, seed = 0, first
    while taken < steps:
        explorer = Explorer(world, seed)
        try:
            explorer.explore(ROUND, tell=tell)
        except (Violation, Flaky):
            # Hypothesis repeats beginnings, and two nodes need not answer alike twice (who of two
            # at once was first, what was heard when): it gives up on this seed then. A violation
            # is one, however seldom.
            if explorer.violated and tell:
                print(f"seed {seed}:", *explorer.violations, sep="\n")
                raise
        taken += explorer.steps
        seed += 1
        yield explorer
