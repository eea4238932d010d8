"""Who may call this endpoint? Its roles, and the members of the tenant with their keys."""

from collections.abc import Sequence
from dataclasses import dataclass

from ...domain.endpoints import Endpoint
from ...domain.model import ApiKey, Role, User
from ..callers import TenantCaller
from ..hits import hit_by
from ..ports import KeyFilter, Page, Slice, Store, Transaction
from .catalogue import Catalogue
from .explaining import Explaining, Why, opened

#: Keys of each user that are looked at: those that may call are told.
MAX_KEYS_EACH = 5
#: Users on one page, at most: each of their keys is looked up.
MAX_PAGE = 50
#: Members read at once, and how often for one page.
_READ, _TIMES = 100, 10


@dataclass(frozen=True, slots=True)
class EndpointCaller:
    """A member of the tenant who may call.

    `roles`, each with the tenant where it is held, are those that open the endpoint, alone or (when
    none does) together. `keys` are those of its keys at home in the tenant that may call now;
    `more_keys`: it has more keys than were looked at.
    """

    user: User
    roles: tuple[tuple[str, Role], ...]
    keys: tuple[ApiKey, ...] = ()
    more_keys: bool = False


@dataclass(frozen=True, slots=True)
class EndpointCallers:
    """An endpoint, the roles that open it, and one page of those who may call it."""

    endpoint: Endpoint
    roles: tuple[Role, ...]
    page: Page[EndpointCaller]


class Calling:
    """Says who may call, by the rules that explain a single call."""

    def __init__(self, store: Store, catalogue: Catalogue, explaining: Explaining) -> None:
        self._store = store
        self._catalogue = catalogue
        self._explaining = explaining

    async def callers(self, caller: TenantCaller, endpoint_id: str, part: Slice) -> EndpointCallers:
        """By user id; a page may be shorter than asked for. Keys: the user's id.

        Who holds roles above the tenant alone is listed there. Who may not list roles or keys is
        told of none. Raises Refusal `not_found`, and `insufficient_scope` for who may not list
        members.
        """
        caller.need("users:read")
        endpoint = await self._catalogue.get(caller, endpoint_id)
        tenant_id = caller.tenant_id
        async with self._store.transaction() as tx:
            hit = await hit_by(tx, tenant_id, endpoint.method, endpoint.path, endpoint.service)
            roles = await tx.roles.in_tenant(tenant_id)
            part = Slice(min(part.limit, MAX_PAGE), part.after)
            found = await _members(tx, tenant_id, hit, part)
            keys = {}
            if "keys:read" in caller.permissions:
                for item in found.items:
                    live = KeyFilter(user_id=item.user.id, revoked=False, expired=False)
                    keys[item.user.id] = await tx.api_keys.at_home(
                        tenant_id, Slice(MAX_KEYS_EACH), live
                    )
        named = "roles:read" in caller.permissions
        items = [
            await self._with_keys(item, keys.get(item.user.id, Page(())), tenant_id, hit, named)
            for item in found.items
        ]
        opening = tuple(role for role in roles if named and opened(hit, role.permissions))
        return EndpointCallers(endpoint, opening, Page(tuple(items), found.next))

    async def _with_keys(
        self,
        item: EndpointCaller,
        keys: Page[ApiKey],
        tenant_id: str,
        hit: Sequence[Endpoint],
        named: bool,
    ) -> EndpointCaller:
        may = [
            key for key in keys.items if await self._explaining.why(key, tenant_id, hit) is Why.OK
        ]
        roles = item.roles if named else ()
        return EndpointCaller(item.user, roles, tuple(may), keys.next is not None)


async def _members(
    tx: Transaction, tenant_id: str, hit: Sequence[Endpoint], part: Slice
) -> Page[EndpointCaller]:
    """Members who may call, of so many as are looked through for one page."""
    places = (tenant_id, *await tx.tenants.above(tenant_id))
    found: list[EndpointCaller] = []
    after = part.after
    for _ in range(_TIMES):
        page = await tx.memberships.members(tenant_id, Slice(_READ, after))
        held = await tx.team.held(places, [member.user.id for member in page.items])
        for member in page.items:
            roles = _opening(hit, held.get(member.user.id, ()))
            if roles and member.user.disabled_at is None:
                found.append(EndpointCaller(member.user, roles))
                if len(found) == part.limit:
                    is_last = page.next is None and member is page.items[-1]
                    return Page(tuple(found), None if is_last else (member.user.id,))
        if page.next is None:
            return Page(tuple(found))
        after = page.next
    return Page(tuple(found), after)


def _opening(
    hit: Sequence[Endpoint], held: Sequence[tuple[str, Role]]
) -> tuple[tuple[str, Role], ...]:
    """The roles that open the call; none: they do not."""
    alone = tuple(pair for pair in held if opened(hit, pair[1].permissions))
    if alone or not opened(hit, frozenset().union(*(role.permissions for _, role in held))):
        return alone
    wanted = frozenset().union(*(group for e in hit for group in e.opened_by))
    return tuple(pair for pair in held if pair[1].permissions & wanted)
