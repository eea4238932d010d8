"""The endpoint catalogue."""

import json
from collections.abc import Collection, Sequence
from dataclasses import fields
from typing import Any

from sqlalchemy import (
    Column,
    Row,
    Select,
    bindparam,
    delete,
    func,
    literal,
    or_,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError

from ..domain.endpoints import Endpoint, Entry, segments
from ..domain.errors import Refusal, conflict
from ..domain.ids import parse_id
from .columns import db_now, lists_any
from .tables import api_keys, endpoints, tenant_tree
from .unit import Unit, Values

_ENTRY = [endpoints.c[one.name] for one in fields(Entry)]
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
        if not added:
            return
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
        if len((await self._unit.run(statement, rows)).all()) < len(rows):
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
        statement = _visible(tenant_id, *_ENTRY).order_by(*_ORDER)
        return tuple(Entry(**row._mapping) for row in await self._unit.run(statement))

    async def of_service(self, tenant_id: str, service: str) -> tuple[Endpoint, ...]:
        """By path, method and id."""
        return await self._read(
            select(endpoints).where(
                endpoints.c.tenant_id == tenant_id, endpoints.c.service == service
            )
        )

    async def candidates(
        self, tenant_id: str, methods: Collection[str], segments: int
    ) -> tuple[Endpoint, ...]:
        """By path, method and id."""
        return await self._read(
            _visible(tenant_id).where(
                endpoints.c.method.in_(methods), endpoints.c.segments == segments
            )
        )

    async def count(self, tenant_id: str) -> int:
        """Of those that the tenant itself registered."""
        statement = select(func.count()).where(endpoints.c.tenant_id == tenant_id)
        count: int = (await self._unit.run(statement)).scalar_one()
        return count

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
        if not rows:
            return
        try:
            await self._unit.run(_SAVE, rows)
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

    async def _read(self, statement: Select[Any]) -> tuple[Endpoint, ...]:
        ordered = statement.order_by(*_ORDER)
        return tuple(_endpoint(row) for row in await self._unit.run(ordered))


def _visible(tenant_id: str, *columns: Column[Any]) -> Select[Any]:
    return (
        select(*(columns or endpoints.c))
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
