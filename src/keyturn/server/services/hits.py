"""Which endpoints of a tenant's catalogue a call hits."""

import asyncio
from collections.abc import Sequence

from ...paths import answering, best_match, segments
from ..domain.endpoints import Endpoint
from .ports import Transaction


async def hit_by(
    tx: Transaction, tenant_id: str, method: str, path: str, service: str | None
) -> Sequence[Endpoint]:
    """Of each service (or of the one named) the most specific endpoint; none: not in the catalogue.

    `path` is that of a request, or a template.
    """
    candidates = await tx.endpoints.candidates(tenant_id, answering(method), segments(path))
    wanted = [entry for entry in candidates if service in (None, entry.service)]
    # There may be thousands; other callers are served meanwhile.
    found = await asyncio.to_thread(best_match, wanted, method, path)
    by_id = {e.id: e for e in await tx.endpoints.many([entry.id for entry in found])}
    return [by_id[entry.id] for entry in found if entry.id in by_id]
