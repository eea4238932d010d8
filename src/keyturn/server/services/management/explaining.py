"""Which permission does this call need, and which of my keys may make it?"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from ....paths import opens
from ...domain.endpoints import Endpoint, shape
from ...domain.errors import Code, Refusal
from ...domain.model import ApiKey, Role
from ..callers import TenantCaller
from ..hits import hit_by
from ..ports import Clock, KeyLookup, Slice, Store

#: Of the caller's keys, the newest.
MAX_KEYS = 200


class Why(StrEnum):
    """Why a key may make a call, or not; the first that holds."""

    KEY_NOT_LIVE = "key_not_live"
    OTHER_TENANT = "other_tenant"
    ROLE_LACKS_PERMISSION = "role_lacks_permission"
    NOT_ON_ALLOW_LIST = "not_on_allow_list"
    OK = "ok"


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether one of the caller's keys may make the call."""

    key: ApiKey
    why: Why


@dataclass(frozen=True, slots=True)
class Explanation:
    """What a call hits, which roles open it, and which of the caller's keys may make it.

    `roles` is empty for a caller without `roles:read`.
    """

    endpoints: tuple[Endpoint, ...]
    roles: tuple[Role, ...]
    keys: tuple[Verdict, ...]


class Explaining:
    """Explains calls to resource servers by the catalogue of the caller's tenant."""

    def __init__(self, store: Store, lookup: KeyLookup, clock: Clock) -> None:
        self._store = store
        self._lookup = lookup
        self._clock = clock

    async def explain(
        self, caller: TenantCaller, method: str, path: str, service: str | None = None
    ) -> Explanation:
        """`path` is that of a request, or a template.

        Where several services have it and none is named, what opens one of them counts.
        Raises Refusal `invalid_request` for what is no path, `not_found` when the catalogue
        has no such endpoint.
        """
        shape(path)
        async with self._store.transaction() as tx:
            hit = await hit_by(tx, caller.tenant_id, method, path, service)
            if not hit:
                raise Refusal(Code.NOT_FOUND, "The catalogue of this tenant has no such endpoint.")
            # Who may not list roles is not told of any.
            named = "roles:read" in caller.permissions
            roles = await tx.roles.in_tenant(caller.tenant_id) if named else ()
            part = Slice(MAX_KEYS)
            keys = await tx.api_keys.of_user(caller.user_id, part, newest_first=True)
        return Explanation(
            tuple(hit),
            tuple(role for role in roles if opened(hit, role.permissions)),
            tuple([Verdict(key, await self.why(key, caller.tenant_id, hit)) for key in keys.items]),
        )

    async def why(self, key: ApiKey, tenant_id: str, hit: Sequence[Endpoint]) -> Why:
        """Whether the key may make a call in a tenant that hits these endpoints, or why not."""
        if key.revoked_at is not None:
            return Why.KEY_NOT_LIVE
        # What an exchange would read: so the answer is what the key would get.
        record = await self._lookup.find(key.id, tenants=[tenant_id])
        if record is None or not record.live(self._clock()):
            return Why.KEY_NOT_LIVE
        if record.key_tenant_id not in (None, tenant_id):
            return Why.OTHER_TENANT
        held = frozenset[str]().union(*(item.role.permissions for item in record.roles))
        open_ = opened(hit, held)
        if not open_:
            return Why.ROLE_LACKS_PERMISSION
        listed = record.endpoint_ids
        carried = held if record.opened is None else held & record.opened
        if listed is not None and not any(e.id in listed for e in opened(open_, carried)):
            return Why.NOT_ON_ALLOW_LIST
        return Why.OK


def opened(hit: Sequence[Endpoint], permissions: frozenset[str]) -> list[Endpoint]:
    """The endpoints of services that are open: all entries of one service must be.

    A tenant may ask for more than one above it does, never for less.
    """
    shut = {e.service for e in hit if not opens(e.opened_by, permissions)}
    return [endpoint for endpoint in hit if endpoint.service not in shut]
