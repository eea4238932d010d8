"""The endpoint catalogue: what resource servers offer, and what opens it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from ....paths import Opening
from ...domain.administration import may_give
from ...domain.endpoints import (
    Endpoint,
    administers_users,
    check_opening,
    mentioned,
    search,
    shape,
)
from ...domain.errors import Code, Refusal, conflict, not_found
from ...domain.ids import new_id
from ...domain.trail import Json
from ..callers import OWN_SERVICE, TenantCaller
from ..ports import Page, Slice, Store
from .changes import Change, Changes, Once, Versions, need_version
from .paging import paged
from .permissions import register_unknown

T = TypeVar("T")

#: Of one tenant.
MAX_ENDPOINTS = 5_000
#: Of one tenant and those above it together: a search looks through all of them.
MAX_VISIBLE = 10_000


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which endpoints are searched: all of these hold. None and "" leave it open."""

    text: str = ""
    service: str | None = None
    deprecated: bool | None = None
    experimental: bool = False


@dataclass(frozen=True, slots=True)
class Found:
    """One page of what was found, and where it stands: `count` is how many there are in all."""

    page: Page[Endpoint]
    count: int
    has_previous: bool


@dataclass(frozen=True, slots=True)
class NewEndpoint:
    """An endpoint to be registered by hand. `opened_by`: any group of permissions, held wholly."""

    service: str
    method: str
    path: str
    name: str
    opened_by: Sequence[Sequence[str]]
    deprecated: bool = False
    experimental: bool = False
    administrative: bool = False


@dataclass(frozen=True, slots=True)
class EndpointEdit:
    """What is changed of an endpoint; None: it stays as it is.

    Service, method and path never change: API keys' allow-lists mean this endpoint.
    """

    name: str | None = None
    opened_by: Sequence[Sequence[str]] | None = None
    deprecated: bool | None = None
    experimental: bool | None = None
    administrative: bool | None = None


class Catalogue:
    """Manages the endpoints of the caller's tenant; those of tenants above can be used in it."""

    def __init__(self, store: Store, changes: Changes) -> None:
        self._store = store
        self._changes = changes

    async def search(self, caller: TenantCaller, wanted: Wanted, part: Slice) -> Found:
        """Endpoints of the tenant and of those above it, by path, method and id (F4)."""
        async with self._store.transaction() as tx:
            found = search(
                (
                    entry
                    for entry in await tx.endpoints.entries(caller.tenant_id)
                    if (wanted.experimental or not entry.experimental)
                    and wanted.service in (None, entry.service)
                    and wanted.deprecated in (None, entry.deprecated)
                ),
                wanted.text,
            )
            page = paged(found, part, lambda entry: (entry.shape, entry.method, entry.id))
            shown = await tx.endpoints.many([entry.id for entry in page.items])
        return Found(Page(shown, page.next), len(found), has_previous=page.items[:1] != found[:1])

    async def get(self, caller: TenantCaller, endpoint_id: str) -> Endpoint:
        """One of the tenant or of those above it. Raises Refusal `not_found`."""
        async with self._store.transaction() as tx:
            endpoint = await tx.endpoints.get(endpoint_id)
            if endpoint is None or not await tx.tenants.reaches(
                endpoint.tenant_id, caller.tenant_id
            ):
                raise not_found("no such endpoint at or above the caller's tenant")
            return endpoint

    async def register(
        self, caller: TenantCaller, new: NewEndpoint, once: Once[Endpoint] | None = None
    ) -> Endpoint:
        """Registers an endpoint, and the permissions that open it when they are unknown.

        Raises Refusal `conflict` when the service has it already or the catalogue is full,
        `invalid_request` for a malformed path or permission.
        """
        shape(new.path)
        opened_by = check_opening(new.opened_by, "opened_by")
        async with self._changes.begin(caller.actor, caller.tenant_id, once) as change:
            endpoint = marked(
                Endpoint(
                    id=new_id(),
                    tenant_id=caller.tenant_id,
                    service=new.service,
                    method=new.method,
                    path=new.path,
                    name=new.name,
                    opened_by=opened_by,
                    deprecated=new.deprecated,
                    experimental=new.experimental,
                    administrative=new.administrative,
                    created_at=change.now,
                    updated_at=change.now,
                    version=1,
                )
            )
            await write(change, caller, new=[endpoint])
            change.note("endpoint.created", endpoint.id, after=_shown(endpoint))
            return change.made(endpoint)

    async def edit(
        self, caller: TenantCaller, endpoint_id: str, edit: EndpointEdit, seen: Versions
    ) -> Endpoint:
        """Changes an endpoint of the caller's tenant.

        Raises Refusal `not_found`, `stale`, `invalid_request`, and `insufficient_scope` when
        that would let API keys that list it carry what the caller could not give.
        """
        async with self._changes.begin(caller.actor, caller.tenant_id) as change:
            endpoint = await _own(change, caller, endpoint_id, seen)
            edited = _edited(endpoint, edit)
            if edited != endpoint:
                await write(change, caller, changed=[(endpoint, edited)])
                edited = replace(edited, updated_at=change.now, version=endpoint.version + 1)
                change.note(
                    "endpoint.changed", endpoint_id, before=_shown(endpoint), after=_shown(edited)
                )
            return edited

    async def delete(
        self, caller: TenantCaller, endpoint_id: str, seen: Versions, *, force: bool = False
    ) -> None:
        """Deletes an endpoint of the caller's tenant; with `force` also one that keys list.

        Their lists lose it, and never widen. Raises Refusal `not_found`, `stale`, and
        `conflict` while it stands on a live key's allow-list.
        """
        async with self._changes.begin(caller.actor, caller.tenant_id) as change:
            endpoint = await _own(change, caller, endpoint_id, seen)
            users = await change.tx.endpoints.listed_by([endpoint.id])
            if users and not force:
                raise conflict("The endpoint stands on API keys' lists. Force takes it off them.")
            await change.tx.endpoints.remove(endpoint.id)
            change.reauthorise(users)
            change.outdate_policy()
            change.note("endpoint.deleted", endpoint.id, before=_shown(endpoint))


async def write(
    change: Change,
    caller: TenantCaller,
    *,
    new: Sequence[Endpoint] = (),
    changed: Sequence[tuple[Endpoint, Endpoint]] = (),
) -> None:
    """Writes endpoints of the caller's tenant, `changed` ones as they were and shall be.

    Registers the permissions that are unknown, and ends what API keys carried whose lists have
    an endpoint that is opened otherwise now. Raises Refusal as `Catalogue.register` and
    `Catalogue.edit` do.
    """
    if new or changed:
        change.outdate_policy()
    endpoints = change.tx.endpoints
    if new:
        own, visible = await endpoints.count(caller.tenant_id)
        if own + len(new) > MAX_ENDPOINTS:
            raise conflict(f"A tenant's catalogue has at most {MAX_ENDPOINTS} endpoints.")
        if visible + len(new) > MAX_VISIBLE:
            raise conflict(f"A tenant and those above it have at most {MAX_VISIBLE} endpoints.")
        await endpoints.add(new)
    await endpoints.save([replace(after, updated_at=change.now) for _, after in changed])
    written = [*new, *(after for _, after in changed)]
    names = frozenset[str]().union(*(mentioned(endpoint.opened_by) for endpoint in written))
    await register_unknown(change, caller.tenant_id, names)
    reopened = [pair for pair in changed if _given(pair[0]) != _given(pair[1])]
    await _need_not_widen(change, caller, reopened)
    change.reauthorise(await endpoints.listed_by([endpoint.id for endpoint, _ in reopened]))


def marked(endpoint: Endpoint) -> Endpoint:
    """The same, `administrative` if it is one of Keyturn's own that administer users (F6).

    A catalogue says what it likes of other services; of this one, the truth is known.
    """
    if endpoint.service == OWN_SERVICE and administers_users(endpoint.method, endpoint.path):
        return replace(endpoint, administrative=True)
    return endpoint


def opening_shown(opened_by: Opening) -> list[list[str]]:
    """What opens an endpoint, as it is shown: the permissions of each group sorted."""
    return [sorted(group) for group in opened_by]


async def _need_not_widen(
    change: Change, caller: TenantCaller, reopened: Sequence[tuple[Endpoint, Endpoint]]
) -> None:
    """A key carries what may be needed on its list: who says what that is, could widen it."""
    beyond = [
        after.id
        for before, after in reopened
        if not may_give(caller.permissions, mentioned(_given(after)) - mentioned(_given(before)))
    ]
    if beyond and await change.tx.endpoints.listed_by(beyond):
        raise Refusal(
            Code.INSUFFICIENT_SCOPE,
            "An endpoint on API keys' lists would be opened by permissions that you do not have "
            "in this tenant.",
            detail="nobody gives what they lack",
        )


def _given(endpoint: Endpoint) -> frozenset[frozenset[str]]:
    """What keys that list it may carry because of it."""
    return frozenset() if endpoint.administrative else frozenset(endpoint.opened_by)


async def _own(change: Change, caller: TenantCaller, endpoint_id: str, seen: Versions) -> Endpoint:
    endpoint = await change.tx.endpoints.get(endpoint_id)
    if endpoint is None or endpoint.tenant_id != caller.tenant_id:
        raise not_found("no such endpoint of the caller's tenant")
    need_version(seen, endpoint.version)
    return endpoint


def _edited(endpoint: Endpoint, edit: EndpointEdit) -> Endpoint:
    opened_by = endpoint.opened_by
    if edit.opened_by is not None:
        opened_by = check_opening(edit.opened_by, "opened_by")
    return marked(
        replace(
            endpoint,
            name=_or(edit.name, endpoint.name),
            opened_by=opened_by,
            deprecated=_or(edit.deprecated, endpoint.deprecated),
            experimental=_or(edit.experimental, endpoint.experimental),
            administrative=_or(edit.administrative, endpoint.administrative),
        )
    )


def _or(new: T | None, old: T) -> T:
    return old if new is None else new


def _shown(endpoint: Endpoint) -> dict[str, Json]:
    return {
        "service": endpoint.service,
        "method": endpoint.method,
        "path": endpoint.path,
        "name": endpoint.name,
        "opened_by": opening_shown(endpoint.opened_by),
        "deprecated": endpoint.deprecated,
        "experimental": endpoint.experimental,
        "administrative": endpoint.administrative,
    }
