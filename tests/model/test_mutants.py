"""Seeded bugs, which the model must catch."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pytest

from tests.model.changes import Machine
from tests.model.checks import Violation
from tests.model.explorer import explore
from tests.model.model import Token
from tests.model.mutants import MUTANTS, Mutant
from tests.model.stories import STORIES, Story
from tests.model.world import World

#: How often a story is told until its bug shows: a tail, or who of two comes first, may hide it.
TELLINGS = 20

#: Within so many steps each mutant is caught. (Usually within 500.)
STEPS_TO_CATCH = 6_000

EVERY_MUTANT = pytest.mark.parametrize(
    "mutant", MUTANTS, ids=lambda mutant: mutant.name.replace(" ", "-")
)


class TestSeededBugs:
    @EVERY_MUTANT
    def test_shows_in_its_story(self, world: World, mutant: Mutant) -> None:
        story = STORIES[mutant.name]
        self.tell(world, story, nullcontext())
        try:
            for _ in range(TELLINGS):
                try:
                    self.tell(world, story, mutant.seed())
                except Violation:
                    return
        finally:
            world.renew()
        pytest.fail(f"{mutant.name}: {mutant.what}, and nobody notices in {TELLINGS} tellings")

    @pytest.mark.slow_fault
    @EVERY_MUTANT
    def test_is_caught_by_chance(
        self, world: World, mutant: Mutant, measured: Callable[[str], None]
    ) -> None:
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

    @staticmethod
    def tell(world: World, story: Story, bug: AbstractContextManager[Any]) -> None:
        """Raises Violation where the nodes do not what the model does."""

        class Told(Machine):
            """In the world of this test."""

        Told.world = world
        machine = Told()
        token = machine.first_token()
        assert isinstance(token, Token)
        with bug:
            story(machine, token)
            machine.teardown()
