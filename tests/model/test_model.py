"""Random interleavings over two nodes, against the model.

`KEYTURN_MODEL_SEED=7` explores others than the usual ones. `make test` takes 500 steps, and
`make test-faults` 1,000 others; to look for longer,
`KEYTURN_MODEL_STEPS=10000 make test-faults ARGS="-n0 -s tests/model -k many"`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import pytest

from tests.model.explorer import SEED, explore
from tests.model.world import World

STEPS = int(os.environ.get("KEYTURN_MODEL_STEPS", "1000"))
STEPS_OF_EVERY_RUN = 500
#: Past the seeds of every run.
FURTHER = SEED + 100


class TestNoViolation:
    def test_in_random_interleavings(self, world: World, measured: Callable[[str], None]) -> None:
        measured(self.none(world, STEPS_OF_EVERY_RUN, SEED))

    @pytest.mark.slow_fault
    def test_in_many_steps(self, world: World, measured: Callable[[str], None]) -> None:
        measured(self.none(world, STEPS, FURTHER))

    def none(self, world: World, steps: int, first: int) -> str:
        """What was seen."""
        started = time.monotonic()
        taken = [explorer.steps for explorer in explore(world, steps, first=first)]
        each = (time.monotonic() - started) / sum(taken)
        seeds = f"seeds {first} to {first + len(taken) - 1}"
        return f"no violation in {sum(taken)} steps, {each * 1000:.0f} ms each ({seeds})"
