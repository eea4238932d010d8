"""The one door: who calls with an access token, in which tenant, and whether it may do this.

`Callers.of` gives a live token. `Callers.in_tenant` is the only way to a `TenantCaller`, and
what is bound to a tenant takes a `TenantCaller`, never a bare tenant id (promise P7).
`Callers.own` is the way to what concerns the caller alone, in no tenant.
"""

from collections.abc import Callable
from dataclasses import dataclass

from ..domain import revocations as rules
from ..domain.authority import whole_roles
from ..domain.endpoints import shape
from ..domain.errors import Code, Refusal, bad_token, ended_token, lacks, not_a_member
from ..domain.exchange import gives
from ..domain.model import KeyRecord, RevocationKind, UserKind
from ..domain.networks import admits
from ..domain.policy import effective
from ..domain.records import transient
from ..domain.tokens import LiveToken, VerifiedToken
from ..domain.trail import Actor
from .ports import AccessTokens, Clock, KeyLookup, RevocationList, Store
from .ports.turns import group
from .reach import Me, held_by, named_in, root_of
from .recent_keys import RecentKeys

#: Tenants on one page of `/users/me`.
PAGE = 200
#: What Keyturn's own endpoints are called when they stand in a catalogue.
OWN_SERVICE = "Keyturn"


@dataclass(frozen=True, slots=True)
class Needs:
    """What opens a call in a tenant: a permission there.

    `administers`: it makes users, invites, or changes what others may do. Service users are
    refused, unless the tenant's policy lets them (`service_users_administer`).
    """

    permission: str
    administers: bool = False


@transient
class Arrival:
    """How a call came in: its token, where from, and for which method and path (template).

    `suspended` are those of the token's tenants that it may not be used in now.
    """

    token: LiveToken
    address: str | None
    endpoint: tuple[str, str]
    suspended: frozenset[str] = frozenset()


@transient
class OwnCaller:
    """A caller, about itself: the key it came with, as it is now."""

    token: LiveToken
    record: KeyRecord
    address: str | None

    @property
    def actor(self) -> Actor:
        """For the audit trail."""
        return _actor(self.token, self.address)


@transient
class TenantCaller:
    """A caller in one tenant where the token and the user's present roles both admit them."""

    token: LiveToken
    tenant_id: str
    tenant_name: str
    roles: tuple[str, ...]
    permissions: frozenset[str]
    kind: UserKind
    username: str
    address: str | None

    @property
    def user_id(self) -> str:
        """Whose token it is."""
        return self.token.user_id

    @property
    def actor(self) -> Actor:
        """For the audit trail."""
        return _actor(self.token, self.address)

    def need(self, permission: str) -> None:
        """Raises Refusal `insufficient_scope` without that permission."""
        if permission not in self.permissions:
            raise lacks(permission)


class Callers:
    """Authenticates calls to the service itself, and decides whether they may be made."""

    def __init__(
        self,
        access: AccessTokens,
        revocations: RevocationList,
        keys: RecentKeys,
        store: Store,
        clock: Clock,
        home_of: Callable[[str], str],
    ) -> None:
        """`home_of`: whose work is done for the bearer of a key's token (`Tenancy`)."""
        self._access = access
        self._revocations = revocations
        self._keys = keys
        self._store = store
        self._clock = clock
        self._home_of = home_of

    async def of(self, bearer: str, *, for_anyone: bool = False) -> LiveToken:
        """The token in an Authorization header, verified and not revoked.

        It must be for this service; `for_anyone`: for whichever resource server. Raises Refusal
        `invalid_token`, or Unavailable when revocation cannot be asked.
        """
        return (await self.arrive(bearer, None, ("", ""), for_anyone=for_anyone)).token

    async def arrive(
        self, bearer: str, address: str | None, endpoint: tuple[str, str], *, for_anyone: bool
    ) -> Arrival:
        """A call with the token in its Authorization header, as `of`."""
        token = self._access.verify(bearer, for_anyone=for_anyone)
        return await self.admit(token, address, endpoint)

    async def admit(
        self, token: VerifiedToken, address: str | None, endpoint: tuple[str, str]
    ) -> Arrival:
        """A call with a token that was verified: it must not be revoked, as in `of`."""
        # Not by what the token is for: who has many keys, or many tenants, has one turn.
        group.set(self._home_of(token.key_id))
        found = await self._revocations.find(rules.subjects(token))
        if not found:
            return Arrival(LiveToken(token), address, endpoint)
        if rules.kills(found, token):
            raise ended_token("revoked")
        return Arrival(LiveToken(token), address, endpoint, rules.suspended(found))

    async def need_active(self, arrival: Arrival, tenant_id: str) -> None:
        """Raises Refusal `access_denied` for a suspended tenant.

        The key's record leaves those out, too; but it may have been read a moment ago.
        """
        token, gone = arrival.token, arrival.suspended
        if tenant_id != token.tenant_id and tenant_id not in (token.roles or ()):
            gone = rules.suspended(
                await self._revocations.find([(RevocationKind.TENANT, tenant_id)])
            )
        if tenant_id in gone:
            raise not_a_member("the tenant is suspended")

    async def in_tenant(
        self, arrival: Arrival, tenant_id: str, needs: Needs | None
    ) -> TenantCaller:
        """The caller in the tenant chosen by `x-tenant-id`, who may make this call there; with
        `needs` None, whoever holds a role there.

        The header only selects: both the token and the roles of this moment must know the
        tenant. Raises Refusal `access_denied`, the same whether the tenant exists or not, and
        `insufficient_scope` for a call that the caller may not make there.
        """
        named = await named_in(self._store, arrival.token, tenant_id)
        await self.need_active(arrival, tenant_id)
        return await self._keys.look(
            lambda keys: self._in_tenant(keys, arrival, tenant_id, named, needs)
        )

    async def _in_tenant(
        self,
        keys: KeyLookup,
        arrival: Arrival,
        tenant_id: str,
        named: frozenset[str] | None,
        needs: Needs | None,
    ) -> TenantCaller:
        token = arrival.token
        record = await self._live(keys, token, arrival.address, tenants=[tenant_id])
        held = list(record.roles)
        if not held:
            raise not_a_member("no role in the tenant")
        carried = gives(token, tenant_id, named, held, record.opened)
        caller = TenantCaller(
            token,
            tenant_id,
            held[0].tenant_name,
            carried.roles,
            carried.permissions,
            record.user_kind,
            record.username,
            arrival.address,
        )
        if needs is None:
            return caller
        caller.need(needs.permission)
        if needs.administers:
            _need_nobody_acts(token)
        await self._need_listed(record, arrival, tenant_id)
        if needs.administers and record.user_kind is UserKind.SERVICE:
            await self._need_administering_service_users(tenant_id)
        return caller

    async def root(self) -> str | None:
        """The id of the platform's tenant; None before there is one."""
        return await root_of(self._store)

    async def own(self, arrival: Arrival) -> OwnCaller:
        """The caller, about itself. Raises Refusal `invalid_token`, `insufficient_scope`."""
        token = arrival.token
        if arrival.endpoint[0] != "GET":
            _need_nobody_acts(token)
        tenants = None if token.roles is None else sorted(token.roles)

        async def admitted(keys: KeyLookup) -> OwnCaller:
            record = await self._live(keys, token, arrival.address, tenants=tenants)
            await self._need_listed(record, arrival, record.home_tenant_id)
            return OwnCaller(token, record, arrival.address)

        return await self._keys.look(admitted)

    async def me(self, arrival: Arrival, *, after: str = "", limit: int = PAGE) -> Me:
        """Who the caller is and the roles that its token and its user both have now."""
        token = arrival.token
        tenants = None if token.roles is None else sorted(token.roles)
        record = await self._keys.look(
            lambda keys: self._live(
                keys, token, arrival.address, tenants=tenants, after=after, limit=limit
            )
        )
        roles = tuple(
            item
            for item in whole_roles(record)
            if item.tenant_id not in arrival.suspended
            and (token.roles is None or item.role.name in token.roles.get(item.tenant_id, ()))
        )
        last = record.roles[-1].tenant_id if record.more_tenants and record.roles else None
        return Me(record.user_id, record.username, record.user_kind, record.key_id, roles, last)

    async def held(self, arrival: Arrival) -> frozenset[tuple[str, str]]:
        """The roles that the caller holds, each with its tenant: `me` has those from above, too."""
        return await held_by(self._store, arrival.token.user_id)

    async def _live(
        self,
        keys: KeyLookup,
        token: LiveToken,
        address: str | None,
        *,
        tenants: list[str] | None,
        after: str = "",
        limit: int = PAGE,
    ) -> KeyRecord:
        record = await keys.find(token.key_id, tenants=tenants, after=after, limit=limit)
        # The list has been asked; the row, which is read anyway, must agree.
        if record is None or not record.live(self._clock()) or record.epoch > token.epoch:
            raise ended_token("the key or its user has changed")
        if not admits(record.networks, address):
            raise bad_token("the key may not be used from this address")
        return record

    async def _need_listed(self, record: KeyRecord, arrival: Arrival, tenant_id: str) -> None:
        """Raises Refusal when key or token have a list that this call is not on (F5)."""
        lists = [i for i in (record.endpoint_ids, arrival.token.endpoints) if i is not None]
        if not lists:
            return
        method, path = arrival.endpoint
        wanted = shape(path)
        async with self._store.transaction() as tx:
            candidates = await tx.endpoints.candidates(tenant_id, [method], wanted.count("/"))
        if not any(
            e.shape == wanted and e.service == OWN_SERVICE and all(e.id in ids for ids in lists)
            for e in candidates
        ):
            raise Refusal(
                Code.INSUFFICIENT_SCOPE,
                "The list of endpoints that the API key or token is for does not have this one.",
                detail="not on the allow-list",
            )

    async def _need_administering_service_users(self, tenant_id: str) -> None:
        async with self._store.transaction() as tx:
            policy = effective(await tx.tenants.policies(tenant_id))
        if not policy.service_users_administer:
            raise Refusal(
                Code.INSUFFICIENT_SCOPE,
                "Service users do not administer users in this tenant.",
                detail="policy service_users_administer",
            )


def _need_nobody_acts(token: LiveToken) -> None:
    """What was lent for minutes changes nothing that stays (RFC 8693, 4.1)."""
    if token.actor is not None:
        raise Refusal(
            Code.INSUFFICIENT_SCOPE,
            "Whoever acts for somebody administers nobody, and changes nothing of their own.",
            detail="a delegated token",
        )


def _actor(token: LiveToken, address: str | None) -> Actor:
    return Actor(token.user_id, token.key_id, token.session_id, address, token)
