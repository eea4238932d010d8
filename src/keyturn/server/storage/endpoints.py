"""The endpoint catalogue."""

import asyncio
import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import fields
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Row,
    Select,
    Table,
    bindparam,
    delete,
    func,
    literal,
    or_,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError

from ...paths import segments
from ..domain.endpoints import Endpoint, Entry
from ..domain.errors import Refusal, conflict
from ..domain.ids import parse_id
from .columns import db_now, lists_any
from .tables import api_keys, endpoints, tenant_tree
from .unit import Unit, Values

_ENTRY = [endpoints.c[one.name] for one in fields(Entry)]
# So few rows at a time that others have their turn on the event loop in between.
_BATCH = 250
_ORDER = (endpoints.c.shape, endpoints.c.method, endpoints.c.id)

_FIXED = ("id", "tenant_id", "created_at", "version")
_SAVE = (
    update(endpoints)
    .where(endpoints.c.id == bindparam("endpoint_id"))
    .values(
        {c: bindparam(f"new_{c.name}", type_=c.type) for c in endpoints.c if c.name not in _FIXED}
        | {endpoints.c.version: endpoints.c.version + 1}
    )
)


class EndpointRepository:
    """Implements `ports.Endpoints`."""

    def __init__(self, unit: Unit) -> None:
        self._unit = unit

    async def add(self, added: Sequence[Endpoint]) -> None:
        """All of them, or the transaction is to be rolled back."""
        rows = [
            {
                "id": endpoint.id,
                "tenant_id": endpoint.tenant_id,
                "created_at": endpoint.created_at,
                "version": endpoint.version,
                **_changeable(endpoint),
            }
            for endpoint in added
        ]
        statement = self._unit.insert(endpoints).on_conflict_do_nothing().returning(endpoints.c.id)
        for some in _batches(rows):
            if len((await self._unit.run(statement, some)).all()) < len(some):
                raise _taken()

    async def get(self, endpoint_id: str) -> Endpoint | None:
        """None for a malformed id, too."""
        found = await self.many([endpoint_id])
        return found[0] if found else None

    async def many(self, endpoint_ids: Collection[str]) -> tuple[Endpoint, ...]:
        """By path, method and id. Malformed ids name no endpoint."""
        return await self._read(select(endpoints).where(endpoints.c.id.in_(_ids(endpoint_ids))))

    async def entries(self, tenant_id: str) -> tuple[Entry, ...]:
        """Half of each row, and nothing computed: a catalogue may have thousands."""
        statement = _visible(tenant_id, *_ENTRY)
        return await self._entries(statement)

    async def of_service(self, tenant_id: str, service: str) -> tuple[Endpoint, ...]:
        """By path, method and id."""
        return await self._read(
            select(endpoints).where(
                endpoints.c.tenant_id == tenant_id, endpoints.c.service == service
            )
        )

    async def visible(self, tenant_id: str, service: str | None) -> tuple[Endpoint, ...]:
        """By path, method and id."""
        statement = _visible(tenant_id, endpoints)
        if service is not None:
            statement = statement.where(endpoints.c.service == service)
        return await self._read(statement)

    async def candidates(
        self, tenant_id: str, methods: Collection[str], segments: int
    ) -> tuple[Entry, ...]:
        """By path, method and id."""
        return await self._entries(
            _visible(tenant_id, *_ENTRY).where(
                endpoints.c.method.in_(methods), endpoints.c.segments == segments
            )
        )

    async def count(self, tenant_id: str) -> tuple[int, int]:
        """The tenant's own first."""
        own = func.count().filter(endpoints.c.tenant_id == tenant_id)
        found = await self._unit.run(_visible(tenant_id, own, func.count()))
        here, visible = list[int](found.one())
        return here, visible

    async def save(self, saved: Sequence[Endpoint]) -> None:
        """All of them, or the transaction is to be rolled back."""
        rows = [
            {
                "endpoint_id": endpoint.id,
                **{f"new_{name}": value for name, value in _changeable(endpoint).items()},
            }
            # In one order, so that two that save the same ones never lock crosswise.
            for endpoint in sorted(saved, key=lambda endpoint: endpoint.id)
        ]
        try:
            for some in _batches(rows):
                await self._unit.run(_SAVE, some)
        except IntegrityError as error:
            raise _taken() from error

    async def remove(self, endpoint_id: str) -> None:
        """Allow-lists that name it stay as they are: it opens nothing any more."""
        if parse_id(endpoint_id) is not None:
            await self._unit.run(delete(endpoints).where(endpoints.c.id == endpoint_id))

    async def listed_by(self, endpoint_ids: Collection[str]) -> tuple[str, ...]:
        """In order, each once."""
        asked = literal(json.dumps(_ids(endpoint_ids)))
        statement = select(api_keys.c.user_id).where(
            # What the index is of; SQLite does not see that the rest says so, too.
            api_keys.c.endpoint_ids.is_not(None),
            lists_any(api_keys.c.endpoint_ids, asked),
            api_keys.c.revoked_at.is_(None),
            or_(api_keys.c.expires_at.is_(None), api_keys.c.expires_at > db_now()),
        )
        return tuple(sorted(set((await self._unit.run(statement)).scalars())))

    async def _entries(self, statement: Select[Any]) -> tuple[Entry, ...]:
        rows = await self._unit.run(statement.order_by(*_ORDER))
        return tuple(Entry(*columns) for columns in map(list[Any], rows))

    async def _read(self, statement: Select[Any]) -> tuple[Endpoint, ...]:
        found: list[Endpoint] = []
        for some in (await self._unit.run(statement.order_by(*_ORDER))).partitions(_BATCH):
            found += map(_endpoint, some)
            if len(some) == _BATCH:
                await asyncio.sleep(0)
        return tuple(found)


def _batches(rows: Sequence[Values]) -> Iterator[Sequence[Values]]:
    return (rows[start : start + _BATCH] for start in range(0, len(rows), _BATCH))


def _visible(tenant_id: str, *columns: ColumnElement[Any] | Table) -> Select[Any]:
    return (
        select(*columns)
        .select_from(endpoints)
        .join(tenant_tree, tenant_tree.c.ancestor_id == endpoints.c.tenant_id)
        .where(tenant_tree.c.descendant_id == tenant_id)
    )


def _ids(texts: Collection[str]) -> list[str]:
    return [canonical for canonical in map(parse_id, texts) if canonical is not None]


def _taken() -> Refusal:
    return conflict("The service has an endpoint of that method and path.")


def _changeable(endpoint: Endpoint) -> Values:
    return {
        "service": endpoint.service,
        "method": endpoint.method,
        "path": endpoint.path,
        "shape": endpoint.shape,
        "segments": segments(endpoint.path),
        "name": endpoint.name,
        "opened_by": [sorted(group) for group in endpoint.opened_by],
        "deprecated": endpoint.deprecated,
        "experimental": endpoint.experimental,
        "administrative": endpoint.administrative,
        "updated_at": endpoint.updated_at,
    }


def _endpoint(row: Row[Any]) -> Endpoint:
    return Endpoint(
        id=row.id,
        tenant_id=row.tenant_id,
        service=row.service,
        method=row.method,
        path=row.path,
        name=row.name,
        opened_by=tuple(frozenset(group) for group in row.opened_by),
        deprecated=row.deprecated,
        experimental=row.experimental,
        administrative=row.administrative,
        created_at=row.created_at,
        updated_at=row.updated_at,
        version=row.version,
    )
