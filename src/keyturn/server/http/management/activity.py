"""`/activity`: what goes on in the chosen tenant, in numbers."""

from collections.abc import Mapping
from typing import Any

from pydantic import Field
from starlette.responses import Response

from ...domain.activity import ActivityKind, Step
from ...services.callers import Needs
from ...services.management.activity import ActivityReports, Report
from ..fields import Moment, Query
from ..operation import Call, Operation, shown


class ActivityQuery(Query):
    """Which steps."""

    since: Moment | None = Field(default=None, alias="from")
    until: Moment | None = Field(default=None, alias="to")
    step: Step = Step.HOUR


def activity_operations(reports: ActivityReports) -> list[Operation]:
    """The operation on what the audit trail counts up to."""

    async def activity(call: Call) -> Response:
        query = call.query(ActivityQuery)
        return shown(_view(await reports.report(call.tenant, query.since, query.until, query.step)))

    read = Needs("audit:read")
    return [Operation("getActivity", "GET", "/activity", read, activity, query=ActivityQuery)]


def _view(report: Report) -> dict[str, Any]:
    return {
        "from": report.since,
        "to": report.until,
        "step": report.step,
        "totals": _counts(report.totals),
        "items": [{"at": period.at, **_counts(period.counts)} for period in report.periods],
    }


def _counts(counts: Mapping[ActivityKind, int]) -> dict[str, int]:
    return {kind.value: count for kind, count in counts.items()}
