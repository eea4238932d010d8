"""What an access token gives at this moment, and what another made of it may carry.

Nothing here ever adds: what a token gives is what it says *and* what its key gives now, and what
is made of it (RFC 8693) is a part of that.
"""

from collections.abc import Iterable, Mapping

from .authority import UNLISTED, Authority, Carried
from .errors import Code, Refusal, not_a_member
from .model import KeyRecord, TenantRole
from .tokens import AccessToken

#: How many times tokens may be exchanged for one another, one after the other.
MAX_PARENTS = 8


def gives(
    token: AccessToken,
    tenant_id: str,
    named: frozenset[str] | None,
    held: Iterable[TenantRole],
    opened: frozenset[str] | None,
) -> Carried:
    """Roles and permissions that both the token and the present roles give in a tenant.

    `named` are the roles that the token carries whole there (None: it lists none), `held` those
    that its key gives there now, `opened` what the key's endpoints bound it to. By the two rules
    of `authority`: `scope` holds in every tenant that the token names, and a named role is
    carried whole.
    """
    held = tuple(held)
    now = _permissions(held)
    bound = now if opened is None else now & opened
    if named is None:
        whole = [item for item in held if item.role.permissions <= bound]
        return Carried(_names(whole), bound)
    whole = [item for item in held if item.role.name in named]
    carried = _permissions(whole)
    if token.tenant_id is not None:
        carried &= frozenset(token.scope)
    if token.roles is not None and tenant_id in token.roles:
        carried |= now & frozenset(token.scope)
    return Carried(_names(whole), carried & bound)


def exchanged(
    token: AccessToken,
    record: KeyRecord,
    *,
    tenant_id: str | None,
    named: Mapping[str, frozenset[str] | None],
    scope: frozenset[str] | None,
    opened: frozenset[str] | None,
) -> Authority:
    """What a token may carry that `token` is exchanged for.

    `tenant_id` is the tenant chosen now; `named` maps the tenants that remain to the roles that
    the token carries whole there; `opened` is what the endpoints asked for need (None: no list).

    Raises Refusal `access_denied` when nothing is held in the chosen tenant, `invalid_scope` when
    more is asked for than the token gives, or when what is asked for leaves nothing.
    """
    tenant_id = tenant_id or token.tenant_id
    if token.roles is None and tenant_id is None:
        if scope is not None or opened is not None:
            raise _too_much("narrowing an unlisted token needs a chosen tenant")
        return UNLISTED
    held: dict[str, list[TenantRole]] = {}
    for item in record.roles:
        held.setdefault(item.tenant_id, []).append(item)
    carried: dict[str, Carried] = {}
    for name in named:
        if name not in held:
            continue
        now = gives(token, name, named[name], held[name], record.opened)
        if scope is not None and not scope <= now.permissions:
            continue
        carried[name] = _part(now, held[name], scope, opened)
    if scope is not None and not carried and any(name in held for name in named):
        raise _too_much("more than the subject token gives")
    if tenant_id is not None and tenant_id not in carried:
        raise not_a_member("no role is left in the chosen tenant")
    if opened is not None and not any(item.permissions for item in carried.values()):
        raise _too_much("the endpoints leave nothing")
    return Authority(tenant_id, carried)


def _part(
    now: Carried,
    held: Iterable[TenantRole],
    scope: frozenset[str] | None,
    opened: frozenset[str] | None,
) -> Carried:
    """The part of `now` within scope and endpoints; a role stays named only if it stays whole."""
    kept = now.permissions
    for bound in (scope, opened):
        kept = kept if bound is None else kept & bound
    if kept == now.permissions:
        return now
    whole = [i for i in held if i.role.permissions and i.role.permissions <= kept]
    return Carried(tuple(name for name in _names(whole) if name in now.roles), kept)


def _too_much(detail: str) -> Refusal:
    return Refusal(
        Code.INVALID_SCOPE,
        "The requested scope is malformed, or more than the credentials give.",
        detail=detail,
    )


def _permissions(roles: Iterable[TenantRole]) -> frozenset[str]:
    return frozenset().union(*(item.role.permissions for item in roles))


def _names(roles: Iterable[TenantRole]) -> tuple[str, ...]:
    return tuple(sorted({item.role.name for item in roles}))
