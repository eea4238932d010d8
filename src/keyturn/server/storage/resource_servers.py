"""Resource servers: who takes tokens, and how they are to be signed."""

from collections.abc import Collection
from typing import Any

from sqlalchemy import Row, delete, select, update

from ..domain.errors import conflict, not_found
from ..domain.ids import parse_id
from ..domain.resource_servers import ResourceServer
from ..services.ports import Page, Slice
from .columns import storable
from .paging import page, sliced
from .tables import resource_servers, tenant_tree
from .unit import Unit


class ResourceServerRepository:
    """Implements `ports.ResourceServers`."""

    def __init__(self, unit: Unit) -> None:
        self._unit = unit

    async def add(self, server: ResourceServer) -> None:
        """Raises Refusal `conflict` when the identifier is taken, in whatever tenant."""
        row = {
            "id": server.id,
            "tenant_id": server.tenant_id,
            "identifier": server.identifier,
            "name": server.name,
            "algorithm": server.algorithm,
            "created_at": server.created_at,
            "version": server.version,
        }
        statement = self._unit.insert(resource_servers).values(row).on_conflict_do_nothing()
        if (await self._unit.run(statement.returning(resource_servers.c.id))).first() is None:
            raise conflict("The identifier is taken.", field="identifier")

    async def get(self, server_id: str) -> ResourceServer | None:
        """None for what cannot be an id, too."""
        if parse_id(server_id) is None:
            return None
        statement = select(resource_servers).where(resource_servers.c.id == server_id)
        row = (await self._unit.run(statement)).first()
        return None if row is None else _server(row)

    async def in_tenant(self, tenant_id: str, part: Slice) -> Page[ResourceServer]:
        """By id."""
        statement = select(resource_servers).where(resource_servers.c.tenant_id == tenant_id)
        rows = (await self._unit.run(sliced(statement, part, resource_servers.c.id))).all()
        return page(rows, part, _server, "id")

    async def save(self, server: ResourceServer) -> ResourceServer:
        """Raises Refusal `not_found` when it is gone."""
        statement = (
            update(resource_servers)
            .where(resource_servers.c.id == server.id)
            .values(name=server.name, algorithm=server.algorithm, version=server.version + 1)
            .returning(resource_servers)
        )
        row = (await self._unit.run(statement)).first()
        if row is None:
            raise not_found("the resource server is gone")
        return _server(row)

    async def remove(self, server_id: str) -> None:
        """Tokens that were given out for it stay good until they expire."""
        await self._unit.run(delete(resource_servers).where(resource_servers.c.id == server_id))

    async def named(self, identifiers: Collection[str]) -> tuple[ResourceServer, ...]:
        """What no database could hold names none."""
        wanted = sorted(filter(storable, identifiers))
        statement = select(resource_servers).where(resource_servers.c.identifier.in_(wanted))
        return tuple(_server(row) for row in await self._unit.run(statement))

    async def reached(self, tenant_id: str, among: Collection[str]) -> frozenset[str]:
        """One read of an index for all of them."""
        statement = select(tenant_tree.c.descendant_id).where(
            tenant_tree.c.ancestor_id == tenant_id, tenant_tree.c.descendant_id.in_(sorted(among))
        )
        return frozenset((await self._unit.run(statement)).scalars())

    async def algorithms(self) -> frozenset[str]:
        """There are few resource servers, and fewer algorithms."""
        statement = select(resource_servers.c.algorithm).distinct()
        return frozenset((await self._unit.run(statement)).scalars())


def _server(row: Row[Any]) -> ResourceServer:
    return ResourceServer(
        id=row.id,
        tenant_id=row.tenant_id,
        identifier=row.identifier,
        name=row.name,
        algorithm=row.algorithm,
        created_at=row.created_at,
        version=row.version,
    )
