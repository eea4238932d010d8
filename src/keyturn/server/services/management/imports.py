"""Takes a resource server's endpoints over from its OpenAPI document."""

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime

from ...domain.endpoints import Endpoint, shape
from ...domain.errors import Unavailable
from ...domain.ids import new_id
from ...domain.trail import Json
from ..callers import TenantCaller
from ..openapi_document import Described, Imported, read_openapi
from .catalogue import marked, opening_shown, write
from .changes import Changes

#: In the answer to one import.
MAX_WARNINGS = 100
# Endpoints in the audit row of one import that are opened otherwise now.
_MAX_NOTED = 100
#: Seconds that a document may wait for its turn, and be read.
READ_WAIT = 10.0

# One: threads share the interpreter, and each one more makes everybody else wait longer.
_reader = ThreadPoolExecutor(1, "imports")

_Pair = tuple[Endpoint, Endpoint]
# By method and shape.
_ByPlace = Mapping[tuple[str, str], Described]


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
        catalogue would get too full, and `insufficient_scope` as `Catalogue.edit` does;
        Unavailable when too many documents are being read.
        """
        described, imported = await _in_turn(document)
        async with self._changes.begin(caller.actor, caller.tenant_id) as change:
            there = await change.tx.endpoints.of_service(caller.tenant_id, service)
            new, updated, missing = await asyncio.to_thread(
                _compared, described, there, caller.tenant_id, service, change.now
            )
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


async def _in_turn(document: object) -> tuple[_ByPlace, Imported]:
    """Reads megabytes of a stranger's in a thread, while other callers are served."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(READ_WAIT):
            return await loop.run_in_executor(_reader, _read, document)
    except TimeoutError:
        raise Unavailable("documents wait too long to be read") from None


def _read(document: object) -> tuple[_ByPlace, Imported]:
    imported = read_openapi(document)
    return {(each.method, shape(each.path)): each for each in imported.endpoints}, imported


def _compared(
    described: _ByPlace,
    there: Sequence[Endpoint],
    tenant_id: str,
    service: str,
    now: datetime,
) -> tuple[list[Endpoint], list[_Pair], list[_Pair]]:
    """What is new, what changes, and what the document lacks."""
    before = {(endpoint.method, endpoint.shape): endpoint for endpoint in there}
    new, updated = [], []
    for place, each in described.items():
        if place not in before:
            new.append(_new(each, tenant_id, service, now))
        elif (after := _updated(before[place], each)) != before[place]:
            updated.append((before[place], after))
    missing = [
        (gone, replace(gone, deprecated=True))
        for place, gone in before.items()
        if place not in described and not gone.deprecated
    ]
    return new, updated, missing


def _new(described: Described, tenant_id: str, service: str, now: datetime) -> Endpoint:
    endpoint = Endpoint(
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
        created_at=now,
        updated_at=now,
        version=1,
    )
    return marked(endpoint)


def _updated(endpoint: Endpoint, described: Described) -> Endpoint:
    updated = replace(
        endpoint,
        path=described.path,
        name=described.name,
        opened_by=described.opened_by,
        deprecated=described.deprecated,
        experimental=described.experimental,
        administrative=described.administrative,
    )
    return marked(updated)


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
