"""The audit trail: what happened in the tenant, live."""

from typing import Any

from starlette.responses import Response

from ...domain.errors import Refusal
from ..api import Document
from ..forms import moment_of
from ..frame import View
from ..visit import Visit

_FILTERS = ("action", "actor", "target", "since", "until")
#: Rows on a page.
_SHOWN = 50


def views() -> list[View]:
    """Its pages."""
    return [
        View("GET", "/t/{tenant_id}/audit", trail, "listAuditEvents"),
        View("GET", "/t/{tenant_id}/audit/export", export, "exportAuditEvents"),
    ]


async def trail(visit: Visit) -> Response:
    """The newest first, filtered; on the first page it looks again every two seconds."""
    page: Document = {"items": [], "next_cursor": None}
    try:
        query = {**_asked(visit), "cursor": visit.asked("cursor"), "limit": _SHOWN}
        page = await visit.get("listAuditEvents", query=query)
    except Refusal as refusal:
        visit.refused(refusal)
    asked = {name: visit.asked(name) for name in _FILTERS}
    return visit.render(
        "audit/trail.html",
        page=page,
        asked=asked,
        live=not visit.asked("cursor") and not visit.asked("until") and not visit.faults,
        names=await _names(visit, page["items"]),
        filters={name: value for name, value in asked.items() if value},
    )


async def export(visit: Visit) -> Response:
    """All of it that the filters take, as JSON lines to keep."""
    response = await visit.stream("exportAuditEvents", query=_asked(visit))
    now = visit.templates.now()
    name = f"audit-{visit.tenant.tenant_id}-{now:%Y%m%dT%H%M%SZ}.jsonl"
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


def _asked(visit: Visit) -> dict[str, Any]:
    """The filters as the operation takes them. Raises Refusal for a time that is none."""
    asked: dict[str, Any] = {name: visit.asked(name) for name in _FILTERS}
    for name in ("since", "until"):
        if asked[name]:
            asked[name] = moment_of(asked[name], name)
    return asked


async def _names(visit: Visit, items: list[Document]) -> dict[str, str]:
    """The usernames of those who acted, as far as they are members here and may be seen."""
    if not items or not visit.may("listMembers"):
        return {}
    members = await visit.get("listMembers", query={"limit": 200})
    return {member["user_id"]: member["name"] for member in members["items"]}
