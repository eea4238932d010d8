"""Whom tokens are for: the resource servers that a request names (RFC 8707)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from ..domain.errors import Code, Refusal
from ..domain.model import KeyRecord
from .ports import Store

#: How many resource servers one token may be for.
MAX_AUDIENCES = 8


@dataclass(frozen=True, slots=True)
class Target:
    """Whom a token is for, and how it is signed for them.

    `audiences` empty: the installation's own; `algorithm` None: the setting's. `tenants` are
    those of the key where all of them are known (None: everywhere): a resource server learns
    nothing of others.
    """

    audiences: tuple[str, ...] = ()
    algorithm: str | None = None
    tenants: frozenset[str] | None = None

    def narrowed(self, record: KeyRecord) -> KeyRecord:
        """The key with its roles in those tenants alone."""
        if self.tenants is None:
            return record
        kept = tuple(item for item in record.roles if item.tenant_id in self.tenants)
        return replace(record, roles=kept)


#: The installation's own audience.
OWN = Target()


class Audiences:
    """Finds resource servers."""

    def __init__(self, store: Store, audience: str, algorithm: str) -> None:
        """`audience` is the installation's own, signed for by `algorithm`."""
        self._store = store
        self._audience = audience
        self._algorithm = algorithm

    def within(self, wanted: Iterable[str], granted: tuple[str, ...]) -> tuple[str, ...]:
        """Of what was granted, what is wanted now; all of it, if nothing is.

        Raises Refusal `invalid_target` for more than was granted.
        """
        wanted = tuple(dict.fromkeys(wanted))
        if not set(wanted) <= set(granted or (self._audience,)):
            raise unknown_target("more audiences than were granted")
        return wanted or granted

    async def choose(
        self, wanted: Sequence[str], record: KeyRecord, tenant_id: str | None
    ) -> Target:
        """The target of a token of this key, in one tenant or (None) in all that it lists.

        One read, unless the installation's own audience alone is wanted: then none. Raises
        Refusal `invalid_target`, the same for what nobody registered and for what is registered
        where the key has no role; Unavailable.
        """
        wanted = tuple(dict.fromkeys(wanted))
        others = [name for name in wanted if name != self._audience]
        if not others:
            return OWN
        if len(wanted) > MAX_AUDIENCES:
            raise unknown_target("too many audiences")
        tenants = {item.tenant_id for item in record.roles}
        async with self._store.transaction() as tx:
            servers = await tx.resource_servers.named(others)
            if len(servers) < len(others):
                raise unknown_target("not registered")
            reached = set(tenants)
            for server in servers:
                reached &= await tx.resource_servers.reached(server.tenant_id, reached)
            if record.more_tenants and tenant_id is None:
                root = await tx.tenants.root()
                # What is not listed cannot be narrowed to the tenants that they may know of.
                if root is None or any(server.tenant_id != root.id for server in servers):
                    raise unknown_target("an unlisted token for a tenant's resource server")
        if not reached:
            raise unknown_target("registered where the key has no role")
        algorithms = {server.algorithm for server in servers}
        if len(others) < len(wanted):
            algorithms.add(self._algorithm)
        if len(algorithms) > 1:
            raise unknown_target("they want different algorithms")
        return Target(wanted, algorithms.pop(), frozenset(reached))


def unknown_target(detail: str) -> Refusal:
    """RFC 8707, 2: the resource is unknown, malformed, or not for this client."""
    return Refusal(Code.INVALID_TARGET, "The resource is not known.", detail=detail)
