"""Takes a resource server's endpoints over from its OpenAPI document."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ...domain.endpoints import Endpoint, shape
from ...domain.ids import new_id
from ...domain.model import Json
from ..callers import TenantCaller
from ..openapi_document import Described, read_openapi
from .catalogue import opening_shown, write
from .changes import Change, Changes

#: In the answer to one import.
MAX_WARNINGS = 100
# Endpoints in the audit row of one import that are opened otherwise now.
_MAX_NOTED = 100

_Pair = tuple[Endpoint, Endpoint]


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What an import did, in numbers of endpoints, and what it could not take."""

    added: int
    updated: int
    unchanged: int
    deprecated: int
    warnings: tuple[str, ...]


class Imports:
    """Imports into the catalogue of the caller's tenant."""

    def __init__(self, changes: Changes) -> None:
        self._changes = changes

    async def take(self, caller: TenantCaller, service: str, document: object) -> ImportReport:
        """Takes over what a parsed document says of a service, all of it or nothing.

        Endpoints that are there stay what they are for allow-lists; those that the document
        lacks are marked deprecated. Unknown permissions are registered.

        Raises Refusal `invalid_request` for what is no such document, `conflict` when the
        catalogue would get too full, and `insufficient_scope` as `Catalogue.edit` does.
        """
        # Megabytes of a stranger's: other callers are served meanwhile.
        imported = await asyncio.to_thread(read_openapi, document)
        async with self._changes.begin(caller.actor, caller.tenant_id) as change:
            there = {
                (endpoint.method, endpoint.shape): endpoint
                for endpoint in await change.tx.endpoints.of_service(caller.tenant_id, service)
            }
            new: list[Endpoint] = []
            updated: list[_Pair] = []
            for described in imported.endpoints:
                before = there.pop((described.method, shape(described.path)), None)
                if before is None:
                    new.append(_new(described, change, caller.tenant_id, service))
                elif (after := _updated(before, described)) != before:
                    updated.append((before, after))
            missing = [
                (gone, replace(gone, deprecated=True))
                for gone in there.values()
                if not gone.deprecated
            ]
            await write(change, caller, new=new, changed=[*updated, *missing])
            report = ImportReport(
                added=len(new),
                updated=len(updated),
                unchanged=len(imported.endpoints) - len(new) - len(updated),
                deprecated=len(missing),
                warnings=_bounded(imported.warnings),
            )
            change.note(
                "endpoints.imported",
                service,
                title=imported.title,
                added=report.added,
                updated=report.updated,
                unchanged=report.unchanged,
                deprecated=report.deprecated,
                reopened=_reopened(updated),
            )
            return report


def _new(described: Described, change: Change, tenant_id: str, service: str) -> Endpoint:
    return Endpoint(
        id=new_id(),
        tenant_id=tenant_id,
        service=service,
        method=described.method,
        path=described.path,
        name=described.name,
        opened_by=described.opened_by,
        deprecated=described.deprecated,
        experimental=described.experimental,
        administrative=described.administrative,
        created_at=change.now,
        updated_at=change.now,
        version=1,
    )


def _updated(endpoint: Endpoint, described: Described) -> Endpoint:
    return replace(
        endpoint,
        path=described.path,
        name=described.name,
        opened_by=described.opened_by,
        deprecated=described.deprecated,
        experimental=described.experimental,
        administrative=described.administrative,
    )


def _bounded(warnings: Sequence[str]) -> tuple[str, ...]:
    left_out = len(warnings) - MAX_WARNINGS
    if left_out <= 0:
        return tuple(warnings)
    return (*warnings[:MAX_WARNINGS], f"There are {left_out} more warnings.")


def _reopened(updated: Sequence[_Pair]) -> list[Json]:
    """The first endpoints that are opened otherwise now: what was, and what is."""
    reopened = [pair for pair in updated if set(pair[0].opened_by) != set(pair[1].opened_by)]
    return [
        {
            "id": before.id,
            "before": opening_shown(before.opened_by),
            "after": opening_shown(after.opened_by),
        }
        for before, after in reopened[:_MAX_NOTED]
    ]
