"""The one door: who calls with an access token, in which tenant, with which permissions.

`Callers.of` gives a live token; `Callers.in_tenant` is the only way to a `TenantCaller`, and
what is bound to a tenant takes a `TenantCaller`, never a bare tenant id (promise P7).
"""

from collections.abc import Iterable
from dataclasses import dataclass

from ..domain import revocations as rules
from ..domain.errors import Code, Refusal, bad_token, not_a_member
from ..domain.model import KeyRecord, TenantRole
from ..domain.tokens import AccessToken, LiveToken
from .ports import AccessTokens, Clock, KeyLookup, RevocationList

#: Tenants on one page of `/users/me`.
PAGE = 200


@dataclass(frozen=True, slots=True)
class TenantCaller:
    """A caller in one tenant where the token and the user's present roles both admit them."""

    token: LiveToken
    tenant_id: str
    tenant_name: str
    roles: tuple[str, ...]
    permissions: frozenset[str]

    def need(self, permission: str) -> None:
        """Raises Refusal `insufficient_scope` without that permission."""
        if permission not in self.permissions:
            raise Refusal(
                Code.INSUFFICIENT_SCOPE,
                "This call needs a permission that you do not have in this tenant.",
                detail=f"missing {permission}",
            )


@dataclass(frozen=True, slots=True)
class Me:
    """Who the caller is, and what it effectively has, tenant by tenant."""

    user_id: str
    username: str
    kind: str
    key_id: str
    roles: tuple[TenantRole, ...]
    next_after: str | None


class Callers:
    """Authenticates calls to the service itself."""

    def __init__(
        self,
        access: AccessTokens,
        revocations: RevocationList,
        lookup: KeyLookup,
        clock: Clock,
    ) -> None:
        self._access = access
        self._revocations = revocations
        self._lookup = lookup
        self._clock = clock

    async def of(self, bearer: str) -> LiveToken:
        """The token in an Authorization header, verified and not revoked.

        Raises Refusal `invalid_token`, or Unavailable when revocation cannot be asked.
        """
        token = self._access.verify(bearer)
        found = await self._revocations.find(rules.subjects(token))
        if rules.kills(found, token):
            raise bad_token("revoked")
        return LiveToken(token)

    async def in_tenant(self, token: LiveToken, tenant_id: str) -> TenantCaller:
        """The caller in the tenant chosen by `x-tenant-id`.

        The header only selects: both the token and the roles of this moment must know the
        tenant. Raises Refusal `access_denied`, the same whether the tenant exists or not.
        """
        if token.roles is not None and tenant_id not in token.roles:
            raise not_a_member("the token does not name the tenant")
        record = await self._fresh(token, tenants=[tenant_id])
        held = list(record.roles)
        if not held:
            raise not_a_member("no role in the tenant")
        names, permissions = _carried_now(token, tenant_id, held)
        return TenantCaller(token, tenant_id, held[0].tenant_name, names, permissions)

    async def me(self, token: LiveToken, *, after: str = "", limit: int = PAGE) -> Me:
        """Who the caller is and the roles that its token and its user both have now."""
        tenants = None if token.roles is None else sorted(token.roles)
        record = await self._fresh(token, tenants=tenants, after=after, limit=limit)
        roles = tuple(
            item
            for item in record.roles
            if token.roles is None or item.role.name in token.roles.get(item.tenant_id, ())
        )
        last = record.roles[-1].tenant_id if record.more_tenants and record.roles else None
        return Me(record.user_id, record.username, record.user_kind, record.key_id, roles, last)

    async def _fresh(
        self, token: LiveToken, *, tenants: list[str] | None, after: str = "", limit: int = PAGE
    ) -> KeyRecord:
        record = await self._lookup.find(token.key_id, tenants=tenants, after=after, limit=limit)
        # The list has been asked; the row, which is read anyway, must agree.
        if record is None or not record.live(self._clock()) or record.epoch > token.epoch:
            raise bad_token("the key or its user has changed")
        return record


def _carried_now(
    token: AccessToken, tenant_id: str, held: Iterable[TenantRole]
) -> tuple[tuple[str, ...], frozenset[str]]:
    """Roles and permissions that both the token and the present roles give in a tenant.

    By the two rules of domain.authority: `scope` holds in every tenant that the token names,
    and a named role is carried whole.
    """
    named = None if token.roles is None else token.roles[tenant_id]
    now: frozenset[str] = frozenset().union(*(item.role.permissions for item in held))
    if named is None:
        return tuple(sorted(item.role.name for item in held)), now
    whole = [item for item in held if item.role.name in named]
    carried: frozenset[str] = frozenset().union(*(item.role.permissions for item in whole))
    if token.tenant_id is not None:
        carried &= frozenset(token.scope)
    return tuple(sorted(item.role.name for item in whole)), carried | (now & frozenset(token.scope))
