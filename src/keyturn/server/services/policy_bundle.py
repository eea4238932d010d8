"""What a resource server keeps of a tenant's policy, so that it can decide calls by itself."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ..domain.endpoints import Endpoint
from ..domain.model import RevocationKind
from ..domain.revocations import Subject
from .callers import TenantCaller
from .ports import Store


@dataclass(frozen=True, slots=True)
class Bundle:
    """Of one tenant: what role names permit there, and the endpoints that can be called.

    `depends_on`: an entry of the feed with one of these subjects makes it outdated.
    """

    tenant_id: str
    depends_on: Sequence[str]
    roles: Mapping[str, frozenset[str]]
    endpoints: Sequence[Endpoint]


class PolicyBundles:
    """Gives out bundles. `digest` is how the feed tells a subject."""

    def __init__(self, store: Store, digest: Callable[[Subject], str]) -> None:
        self._store = store
        self._digest = digest

    async def of(self, caller: TenantCaller, service: str | None) -> Bundle:
        """The bundle of the caller's tenant, with the endpoints of one service or of all."""
        tenant_id = caller.tenant_id
        async with self._store.transaction() as tx:
            roles = await tx.roles.in_tenant(tenant_id)
            endpoints = await tx.endpoints.visible(tenant_id, service)
            above = await tx.tenants.above(tenant_id)
        permitted: dict[str, frozenset[str]] = {}
        for role in roles:
            # A tenant and one above it may make one name at the same moment: a token that names
            # it may mean either.
            shared = permitted.get(role.name, role.permissions)
            permitted[role.name] = shared & role.permissions
        depends_on = [self._digest((RevocationKind.POLICY, name)) for name in (tenant_id, *above)]
        return Bundle(tenant_id, depends_on, permitted, endpoints)
