"""What goes on in a tenant, in numbers."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from ...domain.activity import MAX_STEPS, ActivityKind, Step
from ...domain.errors import Refusal, invalid_request
from ..callers import TenantCaller
from ..ports import Store

#: Steps that are told of when nobody says since when.
_USUAL: Mapping[Step, int] = {Step.HOUR: 24, Step.DAY: 30}


@dataclass(frozen=True, slots=True)
class Period:
    """How often what happened in one step. `at` is its beginning."""

    at: datetime
    counts: Mapping[ActivityKind, int]


@dataclass(frozen=True, slots=True)
class Report:
    """Whole steps, one after the other: from `since` on and before `until`."""

    since: datetime
    until: datetime
    step: Step
    periods: tuple[Period, ...]

    @property
    def totals(self) -> Mapping[ActivityKind, int]:
        """Of all steps."""
        return {kind: sum(each.counts[kind] for each in self.periods) for kind in ActivityKind}


class ActivityReports:
    """Counts what the audit trail of the caller's tenant tells."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def report(
        self, caller: TenantCaller, since: datetime | None, until: datetime | None, step: Step
    ) -> Report:
        """The steps in which `since` and `until` are among them; without: up to now.

        Raises Refusal `invalid_request` when there are none, or more than `MAX_STEPS`.
        """
        async with self._store.transaction() as tx:
            first, end = _whole(since, until or await tx.now(), step)
            counts = await tx.activity.counts(caller.tenant_id, first, end, step)
        begins = [first + n * step.length for n in range((end - first) // step.length)]
        periods = (
            Period(at, {kind: counts.get((at, kind), 0) for kind in ActivityKind}) for at in begins
        )
        return Report(first, end, step, tuple(periods))


def _whole(since: datetime | None, until: datetime, step: Step) -> tuple[datetime, datetime]:
    try:
        end = step.begin(until - timedelta(microseconds=1)) + step.length
        first = end - _USUAL[step] * step.length if since is None else step.begin(since)
    except OverflowError:
        raise _refused("from and to must be times between the years 1 and 9999.") from None
    if first >= end or (since is not None and since >= until):
        raise _refused("to must be later than from.")
    if end - first > MAX_STEPS * step.length:
        raise _refused(f"From from to to there may be {MAX_STEPS} steps.")
    return first, end


def _refused(public: str) -> Refusal:
    return invalid_request(public, field="from")
