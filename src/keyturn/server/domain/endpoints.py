"""Endpoints of resource servers: what opens them, and how a catalogue of them is searched.

How their paths compare, and which one a call hits, is in `keyturn.paths`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, TypeVar

from ... import paths
from ...paths import MAX_PATH, MAX_SEGMENTS, Matchable, NotAPath, Opening
from .errors import invalid_request
from .permissions import ADMINISTERING, check_permission

#: What an endpoint opens by when its document says that no permission is needed.
FOR_ALL: Opening = (frozenset(),)

#: RFC 9110, 9. TRACE and CONNECT are nothing that an API offers.
METHODS: tuple[str, ...] = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
# Of Keyturn's own paths, wherever they are mounted: what is below these is users, and what they
# may do.
_ADMINISTERED = frozenset(
    {
        *("service-users", "members", "invitations", "memberships", "password"),
        *("roles", "permissions", "tenants", "sessions", "revocations"),
    }
)

#: Of all groups of one opening together, each counted with its permissions.
MAX_OPENING = 200


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One method and path of a resource server, as a tenant's catalogue has it."""

    id: str
    tenant_id: str
    service: str
    method: str
    path: str
    name: str
    opened_by: Opening
    deprecated: bool
    experimental: bool
    administrative: bool
    created_at: datetime
    updated_at: datetime
    version: int

    @property
    def shape(self) -> str:
        """The path in the form that is compared."""
        return shape(self.path)

    @property
    def listable(self) -> bool:
        """Whether it may stand on a key's allow-list: not if it lets users be administered."""
        return not self.administrative and ADMINISTERING.isdisjoint(mentioned(self.opened_by))


@dataclass(frozen=True, slots=True)
class Entry:
    """What a search looks at, of an endpoint: a catalogue may have thousands."""

    id: str
    tenant_id: str
    service: str
    method: str
    path: str
    shape: str
    name: str
    deprecated: bool
    experimental: bool


class Searchable(Matchable, Protocol):
    """An endpoint, or an entry for one."""

    @property
    def name(self) -> str: ...
    @property
    def path(self) -> str: ...


T = TypeVar("T", bound=Searchable)


def mentioned(opened_by: Iterable[frozenset[str]]) -> frozenset[str]:
    """Every permission that has to do with the endpoint."""
    return frozenset().union(*opened_by)


def administers_users(method: str, path: str) -> bool:
    """Whether this one of Keyturn's own endpoints does, whatever is said to open it (F6)."""
    return method not in _SAFE_METHODS and not _ADMINISTERED.isdisjoint(shape(path).split("/"))


def check_opening(groups: Sequence[Sequence[str]], field: str) -> Opening:
    """`groups` as an opening, each group once.

    Raises Refusal `invalid_request` for `field` when a permission is malformed or there are more
    of them than MAX_OPENING.
    """
    if len(groups) + sum(map(len, groups)) > MAX_OPENING:
        raise invalid_request("There are too many permissions for one endpoint.", field=field)
    checked = (frozenset(check_permission(name, field) for name in group) for group in groups)
    return tuple(dict.fromkeys(checked))


def shape(path: str, *, field: str = "path") -> str:
    """The form in which paths are compared (`keyturn.paths`).

    Raises Refusal `invalid_request` for `field` when `path` is none.
    """
    try:
        return paths.shape(path)
    except NotAPath:
        raise invalid_request(
            "A path starts with a slash and has no query, fragment, white space, unpaired braces, "
            f"empty or dot segments; at most {MAX_SEGMENTS} segments and {MAX_PATH} characters.",
            field=field,
        ) from None


def search(endpoints: Iterable[T], query: str) -> tuple[T, ...]:
    """Those whose name or path contains `query`, in any case and in the order given.

    When `query` looks like a path or a part of one, the names of parameters do not matter.
    """
    text = query.strip().casefold()
    part = None
    if "/" in text and text.isprintable():
        part = "/".join(map(paths.reduced, text.split("/"))).lower()
    return tuple(
        endpoint
        for endpoint in endpoints
        if text in endpoint.name.casefold()
        or text in endpoint.path.casefold()
        # With a slash at the end, so that `hosts/:id/` finds `/hosts/{id}`.
        or (part is not None and part in endpoint.shape.lower() + "/")
    )
