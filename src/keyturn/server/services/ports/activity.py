"""The audit trail in numbers."""

from collections.abc import Mapping
from datetime import datetime
from typing import Protocol

from ...domain.activity import ActivityKind, Step


class Activity(Protocol):
    """Counts of events by tenant and hour, which outlive the events."""

    async def roll_up(self, at_most: int) -> int:
        """Counts the next events that are not counted yet; says how many there were.

        One transaction at a time does so (`Housekeeping.lock`). The newest are left to later:
        others may yet come before them.
        """
        ...

    async def counts(
        self, tenant_id: str, since: datetime, until: datetime, step: Step
    ) -> Mapping[tuple[datetime, ActivityKind], int]:
        """By the steps' beginnings, from `since` on and before `until`, which begin steps.

        All events count, counted up or not; such as were written an hour late or later, only when
        they were. Steps without any are missing.
        """
        ...
