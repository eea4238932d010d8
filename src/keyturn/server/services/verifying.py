"""Whether one call to a resource server may be made: for proxies that ask before they pass it on.

It answers about the bearer's own token, as a resource server decides by itself that has the
library: so the two must agree.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from ...paths import opens
from ..domain.endpoints import Endpoint
from ..domain.errors import Code, Refusal, bad_token, ended_token, invalid_request, not_a_member
from ..domain.exchange import gives
from ..domain.model import KeyRecord
from ..domain.tokens import LiveToken
from .callers import Arrival, Callers
from .hits import hit_by
from .ports import Clock, KeyLookup, Store
from .reach import named_in
from .recent_keys import RecentKeys

#: Longest path of a call, in characters; paths of the catalogue are shorter.
MAX_PATH = 8_192


@dataclass(frozen=True, slots=True)
class Asked:
    """About which call. `any_of`: one of these permissions is needed; empty: none.

    `audience` is who asks, None: this service. `service` is what it is called in the catalogue,
    `method` and `path` (percent-encoded, no query) are the call's.
    """

    tenant_id: str | None
    audience: str | None
    any_of: Sequence[str] = ()
    service: str | None = None
    method: str | None = None
    path: str | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """The caller whose call may be made. `roles` and `permissions` are those of the tenant.

    `endpoint` is what the call hits, if the catalogue was asked.
    """

    token: LiveToken
    username: str
    tenant_id: str | None
    roles: tuple[str, ...]
    permissions: frozenset[str]
    endpoint: Endpoint | None


class Verifying:
    """Decides calls. `audience` is the service's own."""

    def __init__(
        self, callers: Callers, keys: RecentKeys, store: Store, clock: Clock, audience: str
    ) -> None:
        self._callers = callers
        self._keys = keys
        self._store = store
        self._clock = clock
        self._audience = audience

    async def decide(self, arrival: Arrival, asked: Asked) -> Verdict:
        """The caller of a call that may be made.

        Raises Refusal `invalid_token` for a token of another audience or of a key that has
        changed, `access_denied` without a tenant that the token and its user know, and
        `insufficient_scope` for what neither permits.
        """
        if asked.tenant_id is not None:
            await self._callers.need_active(arrival, asked.tenant_id)
        return await self._keys.look(lambda keys: self._decide(keys, arrival.token, asked))

    async def _decide(self, keys: KeyLookup, token: LiveToken, asked: Asked) -> Verdict:
        if (asked.audience or self._audience) not in (token.audiences or (self._audience,)):
            raise bad_token("for another audience")
        tenant_id = asked.tenant_id
        named = None if tenant_id is None else await named_in(self._store, token, tenant_id)
        tenants = [] if tenant_id is None else [tenant_id]
        record = await keys.find(token.key_id, tenants=tenants)
        if record is None or not record.live(self._clock()) or record.epoch > token.epoch:
            raise ended_token("the key or its user has changed")
        if tenant_id is None:
            return self._nowhere(token, record, asked)
        if not record.roles:
            raise not_a_member("no role in the tenant")
        carried = gives(token, tenant_id, named, record.roles, record.opened)
        if asked.any_of and carried.permissions.isdisjoint(asked.any_of):
            raise _lacks("none of the permissions asked for")
        lists = [ids for ids in (record.endpoint_ids, token.endpoints) if ids is not None]
        if asked.any_of and asked.path is None and lists:
            raise _lacks("a list of endpoints, and the catalogue is not asked")
        endpoint = None
        if asked.path is not None:
            endpoint = await self._endpoint(lists, tenant_id, carried.permissions, asked)
        return Verdict(
            token, record.username, tenant_id, carried.roles, carried.permissions, endpoint
        )

    def _nowhere(self, token: LiveToken, record: KeyRecord, asked: Asked) -> Verdict:
        if asked.any_of or asked.path is not None:
            raise not_a_member("no tenant is named")
        return Verdict(token, record.username, None, (), frozenset(), None)

    async def _endpoint(
        self,
        lists: Sequence[Sequence[str]],
        tenant_id: str,
        permissions: frozenset[str],
        asked: Asked,
    ) -> Endpoint:
        """The endpoint that permissions and lists open (F2, F5)."""
        if asked.path is None or asked.method is None:
            raise invalid_request("Method and path belong together.")
        if len(asked.path) > MAX_PATH:
            raise _lacks("too long for a path")
        async with self._store.transaction() as tx:
            found = await hit_by(tx, tenant_id, asked.method.upper(), asked.path, asked.service)
        # A tenant may ask for more than one above it does, never for less.
        if not found or not all(opens(endpoint.opened_by, permissions) for endpoint in found):
            raise _lacks("not opened, or not in the catalogue")
        for endpoint in found:
            if all(endpoint.id in ids for ids in lists):
                return endpoint
        raise _lacks("not on the allow-list")


def _lacks(detail: str) -> Refusal:
    return Refusal(Code.INSUFFICIENT_SCOPE, "This call may not be made.", detail=detail)
