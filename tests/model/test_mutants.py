"""Seeded bugs, which the model must catch."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.model.explorer import explore
from tests.model.mutants import ALWAYS, MUTANTS, Mutant
from tests.model.world import World

#: Within so many steps each mutant is caught. (Usually within 500.)
STEPS_TO_CATCH = 6_000


class TestSeededBugs:
    @pytest.mark.parametrize(
        "mutant",
        [
            pytest.param(m, marks=() if m.name in ALWAYS else pytest.mark.slow_fault)
            for m in MUTANTS
        ],
        ids=lambda mutant: mutant.name.replace(" ", "-"),
    )
    def test_is_caught(self, world: World, mutant: Mutant, measured: Callable[[str], None]) -> None:
        before = 0
        try:
            with mutant.seed():
                for explorer in explore(world, STEPS_TO_CATCH, tell=False):
                    if explorer.violated:
                        measured(f"{mutant.what}: caught in step {before + explorer.caught_in}")
                        return
                    before += explorer.steps
        finally:
            world.renew()
        pytest.fail(f"{mutant.name}: {mutant.what}, and nobody notices in {before} steps")
