"""Resource servers: who takes tokens, by which identifier and which algorithm (RFC 8707)."""

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from ...domain.errors import conflict, invalid_request, not_found
from ...domain.ids import new_id
from ...domain.resource_servers import ResourceServer
from ...domain.trail import Json
from ..callers import TenantCaller
from ..ports import Page, Slice, Store
from ..signing_keys import SigningKeyUpkeep
from .changes import Change, Changes, Once, Versions, need_version

#: Of one tenant.
MAX_RESOURCE_SERVERS = 1_000
#: Of an identifier, in characters.
MAX_IDENTIFIER = 256

# RFC 3986, 4.3: a scheme, what it is followed by, and no fragment.
_ABSOLUTE_URI = re.compile(
    r"[a-z][a-z0-9+.-]*:(?:[a-z0-9._~:/?\[\]@!$&'()*+,;=-]|%[0-9a-f]{2})+",
    re.IGNORECASE | re.ASCII,
)


@dataclass(frozen=True, slots=True)
class NewResourceServer:
    """A resource server to be registered; `algorithm` None: the setting's."""

    identifier: str
    name: str
    algorithm: str | None = None


@dataclass(frozen=True, slots=True)
class ResourceServerEdit:
    """What is changed of a resource server; None: it stays as it is."""

    name: str | None = None
    algorithm: str | None = None


class ResourceServerManagement:
    """Manages the resource servers that the caller's tenant registered, and no others."""

    def __init__(
        self,
        store: Store,
        changes: Changes,
        signing_keys: SigningKeyUpkeep,
        read_keys: Callable[[], Awaitable[None]],
        *,
        audience: str,
        algorithm: str,
    ) -> None:
        """`audience` is the installation's own, signed for by `algorithm`.

        `read_keys` has this node read the signing keys: it can sign by a new algorithm at once,
        others within seconds.
        """
        self._store = store
        self._changes = changes
        self._signing_keys = signing_keys
        self._read_keys = read_keys
        self._audience = audience
        self._algorithm = algorithm

    async def own(self, caller: TenantCaller, part: Slice) -> Page[ResourceServer]:
        """Those of the caller's tenant, the first one first."""
        async with self._store.transaction() as tx:
            return await tx.resource_servers.in_tenant(caller.tenant_id, part)

    async def get(self, caller: TenantCaller, server_id: str) -> ResourceServer:
        """One of the caller's tenant. Raises Refusal `not_found`."""
        async with self._store.transaction() as tx:
            return _owned(caller, await tx.resource_servers.get(server_id))

    async def create(
        self,
        caller: TenantCaller,
        new: NewResourceServer,
        once: Once[ResourceServer] | None = None,
    ) -> ResourceServer:
        """Registers one in the caller's tenant; tokens for it can be had there and below.

        Raises Refusal `invalid_request` for an identifier that is no absolute URI, `conflict`
        when it is taken, in whatever tenant, or when there are too many.
        """
        check_identifier(new.identifier)
        if new.identifier == self._audience:
            raise conflict("This is the identifier of Keyturn itself.", field="identifier")
        async with self._changes.begin(caller.actor, caller.tenant_id, once) as change:
            servers = change.tx.resource_servers
            page = await servers.in_tenant(caller.tenant_id, Slice(MAX_RESOURCE_SERVERS))
            if len(page.items) >= MAX_RESOURCE_SERVERS:
                raise conflict(f"A tenant has at most {MAX_RESOURCE_SERVERS} resource servers.")
            server = ResourceServer(
                new_id(),
                caller.tenant_id,
                new.identifier,
                new.name,
                new.algorithm or self._algorithm,
                change.now,
            )
            await servers.add(server)
            await self._signing_keys.ensure(change.tx, server.algorithm)
            change.note("resource_server.created", server.id, after=_shown(server))
            change.made(server)
        await self._read_keys()
        return server

    async def edit(
        self, caller: TenantCaller, server_id: str, edit: ResourceServerEdit, seen: Versions
    ) -> ResourceServer:
        """Changes one of the caller's tenant; a new algorithm signs new tokens.

        Raises Refusal `not_found`, `stale`.
        """
        async with self._changes.begin(caller.actor, caller.tenant_id) as change:
            server = await _changeable(change, caller, server_id, seen)
            edited = replace(
                server,
                name=server.name if edit.name is None else edit.name,
                algorithm=server.algorithm if edit.algorithm is None else edit.algorithm,
            )
            if edited == server:
                return server
            saved = await change.tx.resource_servers.save(edited)
            if saved.algorithm != server.algorithm:
                await self._signing_keys.ensure(change.tx, saved.algorithm)
            change.note(
                "resource_server.changed", server_id, before=_shown(server), after=_shown(saved)
            )
        await self._read_keys()
        return saved

    async def delete(self, caller: TenantCaller, server_id: str, seen: Versions) -> None:
        """Removes one of the caller's tenant: nobody gets a token for it any more.

        Those given out stay good until they expire. Raises Refusal `not_found`, `stale`.
        """
        async with self._changes.begin(caller.actor, caller.tenant_id) as change:
            server = await _changeable(change, caller, server_id, seen)
            await change.tx.resource_servers.remove(server_id)
            change.note("resource_server.removed", server_id, before=_shown(server))


def check_identifier(text: str) -> None:
    """Raises Refusal `invalid_request` unless `text` is an absolute URI (RFC 8707, 2)."""
    if len(text) > MAX_IDENTIFIER or not _ABSOLUTE_URI.fullmatch(text):
        raise invalid_request(
            "An identifier is an absolute URI without a fragment, such as https://api.example"
            f" (at most {MAX_IDENTIFIER} characters).",
            field="identifier",
        )


def _owned(caller: TenantCaller, server: ResourceServer | None) -> ResourceServer:
    if server is None or server.tenant_id != caller.tenant_id:
        raise not_found("no such resource server of the caller's tenant")
    return server


async def _changeable(
    change: Change, caller: TenantCaller, server_id: str, seen: Versions
) -> ResourceServer:
    """One of the caller's tenant, which nobody else changes meanwhile: the tenant is locked."""
    server = _owned(caller, await change.tx.resource_servers.get(server_id))
    need_version(seen, server.version)
    return server


def _shown(server: ResourceServer) -> dict[str, Json]:
    return {
        "identifier": server.identifier,
        "name": server.name,
        "algorithm": server.algorithm,
    }
