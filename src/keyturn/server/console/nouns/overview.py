"""A tenant at a glance: what goes on in it, and which keys want looking after."""

from datetime import timedelta

from starlette.responses import Response

from ..charts import chart
from ..frame import View
from ..visit import Visit

#: What the charts show: the parameter in the URL, the words, the API's `step` and how far back.
PERIODS = {
    "day": ("24 hours", "hour", timedelta(hours=24)),
    "week": ("7 days", "hour", timedelta(days=7)),
    "month": ("30 days", "day", timedelta(days=30)),
    "year": ("a year", "day", timedelta(days=365)),
}
#: Keys shown of each kind.
_SHOWN = 5
#: When a key expires soon, and when it is unused for long.
_SOON, _LONG = timedelta(days=30), timedelta(days=30)


def views() -> list[View]:
    """Its page."""
    return [View("GET", "/t/{tenant_id}", overview)]


async def overview(visit: Visit) -> Response:
    """Charts of the trail, and keys that expire soon or go unused: what one may see of it."""
    now = visit.templates.now()
    period = visit.asked("period") if visit.asked("period") in PERIODS else "day"
    _, step, back = PERIODS[period]
    asked = {"from": _text(now - back), "to": _text(now), "step": step}
    activity = await visit.get_if("getActivity", query=asked)
    items = activity.get("items", [])
    times = [item["at"] for item in items]
    soon = {"state": "active", "expires_before": _text(now + _SOON), "limit": _SHOWN}
    unused = {"state": "active", "unused_since": _text(now - _LONG), "limit": _SHOWN}
    return visit.render(
        "overview/overview.html",
        activity=activity,
        period=period,
        periods=PERIODS,
        tokens=chart(times, [_of(items, "exchanges"), _of(items, "refreshes")]),
        refusals=chart(times, [_of(items, "refusals"), _of(items, "revocations")]),
        expiring=await visit.get_if("listApiKeys", query=soon),
        unused=await visit.get_if("listApiKeys", query=unused),
        hourly=step == "hour",
    )


def _of(items: list[dict[str, int]], name: str) -> list[int]:
    return [item[name] for item in items]


def _text(at: object) -> str:
    return str(at).replace(" ", "T")
