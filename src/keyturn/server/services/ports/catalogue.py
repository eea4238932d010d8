"""What can be permitted: registered permissions, and the endpoints of resource servers."""

from collections.abc import Collection, Sequence
from typing import Protocol

from ...domain.endpoints import Endpoint, Entry
from ...domain.model import Permission
from ...domain.resource_servers import ResourceServer
from .pages import Page, Slice


class Permissions(Protocol):
    """The registry of resource servers' permissions. Keyturn's own are not in it."""

    async def add(self, permissions: Sequence[Permission]) -> None:
        """What is registered already stays as it is."""
        ...

    async def describe(self, permission: Permission) -> None:
        """Registers it, or changes its description."""
        ...

    async def remove(self, tenant_id: str, name: str) -> bool:
        """False when the tenant itself registered no such permission."""
        ...

    async def count(self, tenant_id: str) -> int:
        """How many the tenant itself registered."""
        ...

    async def visible(self, tenant_id: str, part: Slice) -> Page[Permission]:
        """What the tenant and those above it registered, by name and tenant. Keys: both."""
        ...

    async def known(self, tenant_id: str, names: Collection[str]) -> frozenset[str]:
        """Those of `names` that the tenant or one above it registered."""
        ...


class Endpoints(Protocol):
    """The endpoint catalogue: what a tenant registered can be used there and below."""

    async def add(self, endpoints: Sequence[Endpoint]) -> None:
        """Raises Refusal `conflict` when the service has that method and shape already."""
        ...

    async def get(self, endpoint_id: str) -> Endpoint | None: ...

    async def many(self, endpoint_ids: Collection[str]) -> tuple[Endpoint, ...]:
        """Those that there are."""
        ...

    async def entries(self, tenant_id: str) -> tuple[Entry, ...]:
        """What the tenant and those above it registered, in short, by shape, method and id."""
        ...

    async def of_service(self, tenant_id: str, service: str) -> tuple[Endpoint, ...]:
        """What the tenant itself registered for a service."""
        ...

    async def visible(self, tenant_id: str, service: str | None) -> tuple[Endpoint, ...]:
        """What the tenant and those above it registered, of one service or of all."""
        ...

    async def candidates(
        self, tenant_id: str, methods: Collection[str], segments: int
    ) -> tuple[Entry, ...]:
        """Visible ones of these methods whose shapes have that many segments, in short."""
        ...

    async def count(self, tenant_id: str) -> tuple[int, int]:
        """What the tenant itself registered, and together with those above it."""
        ...

    async def save(self, endpoints: Sequence[Endpoint]) -> None:
        """Writes all but id, tenant and creation; raises the versions.

        Raises Refusal `conflict` as `add` does.
        """
        ...

    async def remove(self, endpoint_id: str) -> None: ...

    async def listed_by(self, endpoint_ids: Collection[str]) -> tuple[str, ...]:
        """The ids of users with live keys that have one of these on their allow-lists."""
        ...


class ResourceServers(Protocol):
    """Who takes tokens: known by their identifiers, in their tenants and below."""

    async def add(self, server: ResourceServer) -> None:
        """Raises Refusal `conflict` when the identifier is taken, in whatever tenant."""
        ...

    async def get(self, server_id: str) -> ResourceServer | None: ...

    async def in_tenant(self, tenant_id: str, part: Slice) -> Page[ResourceServer]:
        """What the tenant itself registered, by id. Keys: the id."""
        ...

    async def save(self, server: ResourceServer) -> ResourceServer:
        """Writes name and algorithm; gives it with its next version."""
        ...

    async def remove(self, server_id: str) -> None: ...

    async def named(self, identifiers: Collection[str]) -> tuple[ResourceServer, ...]:
        """Those with these identifiers."""
        ...

    async def reached(self, tenant_id: str, among: Collection[str]) -> frozenset[str]:
        """Which of those tenants are `tenant_id` or stand below it."""
        ...

    async def algorithms(self) -> frozenset[str]:
        """All that any of them wants."""
        ...
