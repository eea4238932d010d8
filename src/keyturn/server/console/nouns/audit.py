"""The audit trail: what happened in the tenant, live."""

from typing import Any

from starlette.responses import Response

from ...domain.errors import Refusal, invalid_request
from ..api import Document
from ..forms import moment_of
from ..frame import View
from ..visit import Visit
from .audit_names import ACTIONS, names_of, user_called

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
        query = {**await _asked(visit), "cursor": visit.asked("cursor"), "limit": _SHOWN}
        page = await visit.get("listAuditEvents", query=query)
    except Refusal as refusal:
        visit.refused(refusal)
    asked = {name: visit.asked(name) for name in _FILTERS}
    return visit.render(
        "audit/trail.html",
        page=page,
        asked=asked,
        live=not visit.asked("cursor") and not visit.asked("until") and not visit.faults,
        names=await names_of(visit, page["items"]),
        actions=ACTIONS,
        filters={name: value for name, value in asked.items() if value},
    )


async def export(visit: Visit) -> Response:
    """All of it that the filters take, as JSON lines to keep."""
    response = await visit.stream("exportAuditEvents", query=await _asked(visit))
    now = visit.templates.now()
    name = f"audit-{visit.tenant.tenant_id}-{now:%Y%m%dT%H%M%SZ}.jsonl"
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


async def _asked(visit: Visit) -> dict[str, Any]:
    """The filters as the operation takes them: people by id. Raises Refusal at the field."""
    asked: dict[str, Any] = {name: visit.asked(name) for name in _FILTERS}
    for name in ("since", "until"):
        if asked[name]:
            asked[name] = moment_of(asked[name], name)
    if asked["actor"]:
        asked["actor"] = await user_called(visit, asked["actor"], "actor")
        if not asked["actor"]:
            nobody = "Nobody here has that in name or address. Others are found by their id."
            raise invalid_request(nobody, field="actor")
    if asked["target"] and ":" not in asked["target"]:  # a permission has one
        asked["target"] = await user_called(visit, asked["target"], "target") or asked["target"]
    return asked
