"""`/audit-events`: what happened in the chosen tenant."""

from collections.abc import AsyncIterator, Sequence
from typing import Annotated, Any

import orjson
from pydantic import StringConstraints
from starlette.responses import Response, StreamingResponse

from ...domain.errors import invalid_request
from ...domain.ids import parse_id
from ...domain.trail import AuditEvent
from ...services.callers import Needs
from ...services.management.audit import AuditTrail
from ...services.ports import AuditFilter
from ..errors import NO_STORE
from ..fields import Id, Moment, PageQuery, Query
from ..operation import Call, Operation, listed, part

Word = Annotated[str, StringConstraints(min_length=1, max_length=128)]


class ExportQuery(Query):
    """Which events: from `since` on and before `until`; by whom; what; to what."""

    since: Moment | None = None
    until: Moment | None = None
    actor: Id | None = None
    action: Word | None = None
    target: Word | None = None

    def wanted(self) -> AuditFilter:
        """For the service. Raises Refusal when it ends before it begins."""
        if self.since is not None and self.until is not None and self.until <= self.since:
            raise invalid_request("until must be later than since.", field="until")
        target = parse_id(self.target or "") or self.target
        return AuditFilter(self.since, self.until, self.actor, self.action, target)


class EventQuery(ExportQuery, PageQuery):
    """Which events, page by page."""


def audit_operations(trail: AuditTrail) -> list[Operation]:
    """The operations on the audit trail: to read it. Nothing changes it."""

    async def events(call: Call) -> Response:
        query = call.query(EventQuery)
        page = await trail.events(call.tenant, query.wanted(), part(query.limit, query.cursor))
        return listed(page, _view)

    async def export(call: Call) -> Response:
        wanted = call.query(ExportQuery).wanted()
        batches = trail.export(call.tenant, wanted)
        # The first batch before the answer begins: what fails can still be told by its status.
        first = await anext(batches)

        async def lines() -> AsyncIterator[bytes]:
            yield json_lines(first)
            async for batch in batches:
                yield json_lines(batch)

        return StreamingResponse(lines(), media_type="application/x-ndjson", headers=NO_STORE)

    read = Needs("audit:read")
    return [
        Operation("listAuditEvents", "GET", "/audit-events", read, events, query=EventQuery),
        Operation(
            "exportAuditEvents", "GET", "/audit-events/export", read, export, query=ExportQuery
        ),
    ]


def _view(event: AuditEvent) -> dict[str, Any]:
    return {
        "id": event.id,
        "at": event.at,
        "action": event.action,
        "outcome": event.outcome,
        "actor": {
            "user_id": event.actor.user_id,
            "api_key_id": event.actor.key_id,
            "session_id": event.actor.session_id,
            "address": event.actor.address,
        },
        "tenant_id": event.tenant_id,
        "target": event.target,
        "data": event.data,
    }


def json_lines(events: Sequence[AuditEvent]) -> bytes:
    """One JSON object a line, as an export has them."""
    return b"".join(orjson.dumps(_view(event)) + b"\n" for event in events)
