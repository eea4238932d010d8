"""The audit trail of a tenant, to be read."""

from collections.abc import AsyncIterator

from ...domain.trail import AuditEvent
from ..callers import TenantCaller
from ..ports import AuditFilter, Page, Slice, Store

#: Events read at once for an export.
_BATCH = 200


class AuditTrail:
    """Reads what happened in the caller's tenant."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def events(
        self, caller: TenantCaller, wanted: AuditFilter, part: Slice
    ) -> Page[AuditEvent]:
        """One page, the newest first."""
        async with self._store.transaction() as tx:
            return await tx.audit.events(caller.tenant_id, wanted, part)

    async def export(
        self, caller: TenantCaller, wanted: AuditFilter
    ) -> AsyncIterator[tuple[AuditEvent, ...]]:
        """All events, batch by batch, the newest first.

        No transaction stays open in between: however long the reader takes, nobody waits.
        """
        after: tuple[str, ...] | None = None
        while True:
            page = await self.events(caller, wanted, Slice(_BATCH, after))
            yield page.items
            if page.next is None:
                return
            after = page.next
