"""What a token may say: the roles and permissions it carries, and in which tenants.

Two rules keep a resource server safe whichever of the two it reads:

* a permission stands in `scope` only if the token carries it in *every* tenant it names;
* a role is named only if the token carries *all* of the role's permissions in that tenant.

A key with an allow-list of endpoints carries no permission that none of them needs (`opened`).
So neither narrowing by scope or endpoints nor choosing among several tenants can widen what is
carried.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from .errors import Code, Refusal, bad_credentials, not_a_member
from .model import KeyRecord, TenantRole

#: Above this many tenants a token lists none and points at `/users/me` (OIDC Core, 5.6.2).
MAX_LISTED_TENANTS = 20
#: Nor does it list more than this, in bytes: headers above 16 KiB fail in many servers.
MAX_LISTED_BYTES = 8_000
# So few names stay below it whatever they are; most callers have no more.
_FEW_NAMES = 60


@dataclass(frozen=True, slots=True)
class Carried:
    """What a token carries in one tenant."""

    roles: tuple[str, ...]
    permissions: frozenset[str]


@dataclass(frozen=True, slots=True)
class Short:
    """An authority in few words: most tenants of a caller carry the same permissions.

    `tenants` maps tenant ids (sorted) to roles and a number in `sets`, each of which has the
    numbers of permissions in `names`.
    """

    tenants: Mapping[str, tuple[tuple[str, ...], int]] | None
    sets: list[list[int]]
    names: list[str]


@dataclass(frozen=True)
class Authority:
    """What a token carries: in one chosen tenant, in all it lists, or (None) unlisted.

    It is also the ceiling of its session: a refreshed token never carries more. What follows from
    it is worked out once: a key that is used often has the same one each time.
    """

    tenant_id: str | None
    tenants: Mapping[str, Carried] | None

    @cached_property
    def scope(self) -> tuple[str, ...]:
        """The permissions carried in every tenant named, sorted. Empty when unlisted."""
        if not self.tenants:
            return ()
        return tuple(
            sorted(frozenset.intersection(*(c.permissions for c in self.tenants.values())))
        )

    @cached_property
    def short(self) -> Short:
        """The same in few words; equal authorities have equal ones."""
        names = sorted({p for c in (self.tenants or {}).values() for p in c.permissions})
        if self.tenants is None:
            return Short(None, [], names)
        number = {name: n for n, name in enumerate(names)}
        sets: list[list[int]] = []
        tenants: dict[str, tuple[tuple[str, ...], int]] = {}
        for tenant_id, carried in sorted(self.tenants.items(), key=lambda item: item[0]):
            permissions = sorted(number[p] for p in carried.permissions)
            if permissions not in sets:
                sets.append(permissions)
            tenants[tenant_id] = (carried.roles, sets.index(permissions))
        return Short(tenants, sets, names)

    @cached_property
    def role_names(self) -> dict[str, tuple[str, ...]] | None:
        """Tenant id → names of the roles carried there; None when unlisted."""
        if self.tenants is None:
            return None
        return {tenant_id: carried.roles for tenant_id, carried in self.tenants.items()}


#: The authority of a caller with more tenants than a token lists and none chosen.
UNLISTED = Authority(None, None)


def _invalid_scope(detail: str = "") -> Refusal:
    return Refusal(
        Code.INVALID_SCOPE,
        "The requested scope is malformed, or more than the credentials give.",
        detail=detail,
    )


def parse_scope(text: str | None) -> frozenset[str] | None:
    """The permissions in a `scope` parameter (RFC 6749, 3.3); None when nothing is asked for.

    Raises Refusal `invalid_scope` for characters outside the RFC's.
    """
    if text is None or not text.strip(" "):
        return None
    if not all(
        c == "\x20" or c == "\x21" or "\x23" <= c <= "\x5b" or "\x5d" <= c <= "\x7e" for c in text
    ):
        raise _invalid_scope("characters outside RFC 6749, 3.3")
    return frozenset(text.split(" ")) - {""}


def chosen_tenant(record: KeyRecord, requested: str | None) -> str | None:
    """The one tenant a token is for: the request's, the key's own, or None for all.

    Raises Refusal `access_denied` when a key bound to one tenant is asked for another.
    """
    bound = record.key_tenant_id
    if bound is not None and requested is not None and requested != bound:
        raise not_a_member("the key is bound to another tenant")
    return requested or bound


def granted(record: KeyRecord, *, tenant_id: str | None, scope: frozenset[str] | None) -> Authority:
    """What a new exchange may carry: all that the key gives, or just what was asked for.

    Raises Refusal `access_denied` when the key has no role in the chosen tenant, and
    `invalid_scope` when the requested scope is more than it has there (without a chosen
    tenant: more than it has in any single one), or when what it has there fits no token.
    """
    tenant_id = chosen_tenant(record, tenant_id)
    held = _by_tenant(record.roles)
    if tenant_id is not None:
        if tenant_id not in held:
            raise not_a_member("no role in the chosen tenant")
        held = {tenant_id: held[tenant_id]}
    elif record.more_tenants:
        if scope is not None:
            raise _invalid_scope("narrowing by scope needs a chosen tenant above the limit")
        return UNLISTED
    if scope is not None:
        held = {t: roles for t, roles in held.items() if scope <= _permissions(roles)}
        if not held or not _within(scope, record.opened) == scope:
            raise _invalid_scope("more than the key gives")
    bound = _within(scope, record.opened)
    tenants = {t: _carried(roles, bound) for t, roles in held.items()}
    if not _fits(tenants):
        if tenant_id is not None or scope is not None:
            raise Refusal(
                Code.INVALID_SCOPE, "There are too many permissions for one token: name fewer."
            )
        return UNLISTED
    return Authority(tenant_id, tenants)


def regranted(
    record: KeyRecord,
    ceiling: Authority,
    *,
    tenant_id: str | None = None,
    scope: frozenset[str] | None,
) -> Authority:
    """What a refreshed token may carry: what the user has now, never more than `ceiling`.

    `tenant_id` narrows this token, not the session, to one of its tenants.

    Raises Refusal `invalid_scope` when `scope` is more than was first granted, and
    `invalid_grant` when nothing is left of the chosen tenant.
    """
    if ceiling.tenants is None:
        if tenant_id is not None:
            return granted(record, tenant_id=tenant_id, scope=scope)
        if scope is not None:
            raise _invalid_scope("an unlisted session has no scope to narrow")
        return ceiling
    if tenant_id is not None:
        if tenant_id not in ceiling.tenants:
            raise not_a_member("the session does not reach the tenant")
        listed = {tenant_id: ceiling.tenants[tenant_id]}
    else:
        listed, tenant_id = dict(ceiling.tenants), ceiling.tenant_id
    held = _by_tenant(record.roles)
    firsts = {
        name: first for name, first in listed.items() if scope is None or scope <= first.permissions
    }
    if scope is not None and not firsts:
        raise _invalid_scope("more than was first granted")
    carried: dict[str, Carried] = {}
    for name, first in firsts.items():
        roles = held.get(name)
        if roles is None:
            continue
        wanted = first.permissions if scope is None else scope
        now = _carried(roles, _within(wanted, record.opened))
        kept = tuple(role for role in now.roles if role in first.roles)
        carried[name] = Carried(kept, now.permissions)
    if tenant_id is not None and not carried:
        raise bad_credentials("no role is left in the session's tenant")
    return Authority(tenant_id, carried)


def carries_all(
    record: KeyRecord, roles: Mapping[str, tuple[str, ...]], scope: Iterable[str]
) -> bool:
    """Whether a token with these claims carries all that its key gives in the tenants it names.

    Tenants that are not in `record` (suspended ones) do not count.
    """
    held = {t: _carried(own, record.opened) for t, own in _by_tenant(record.roles).items()}
    named = [carried for t, carried in held.items() if t in roles]
    if any(set(held[t].roles) != set(roles[t]) for t in held if t in roles):
        return False
    # Where every role is carried whole, so is every permission.
    return (
        record.opened is None
        or not named
        or set(scope) == frozenset.intersection(*(carried.permissions for carried in named))
    )


def whole_roles(record: KeyRecord) -> tuple[TenantRole, ...]:
    """The roles that the key carries whole: all of them, unless endpoints narrow it."""
    opened = record.opened
    if opened is None:
        return record.roles
    return tuple(
        item for item in record.roles if item.role.permissions and item.role.permissions <= opened
    )


def _within(scope: frozenset[str] | None, opened: frozenset[str] | None) -> frozenset[str] | None:
    """What bounds a token: the scope asked for and the key's endpoints; None: nothing does."""
    if scope is None or opened is None:
        return opened if scope is None else scope
    return scope & opened


def _fits(tenants: Mapping[str, Carried]) -> bool:
    """Whether a token can list all that, and a refresh token seal it."""
    if sum(len(c.permissions) + len(c.roles) for c in tenants.values()) <= _FEW_NAMES:
        return True
    sets = {carried.permissions for carried in tenants.values()}
    names = frozenset().union(*sets)
    roles = [name for carried in tenants.values() for name in carried.roles]
    size = sum(len(name.encode()) + 3 for name in (*names, *roles))
    # A tenant's id, and a number for each name in each different set (tokens/refresh.py).
    return size + 50 * len(tenants) + 5 * sum(map(len, sets)) <= MAX_LISTED_BYTES


def _by_tenant(roles: Iterable[TenantRole]) -> dict[str, list[TenantRole]]:
    held: dict[str, list[TenantRole]] = {}
    for item in roles:
        held.setdefault(item.tenant_id, []).append(item)
    return held


def _permissions(roles: Iterable[TenantRole]) -> frozenset[str]:
    return frozenset().union(*(item.role.permissions for item in roles))


def _carried(roles: list[TenantRole], bound: frozenset[str] | None) -> Carried:
    """All of `roles`, or what of them lies within `bound`."""
    permissions = _permissions(roles)
    if bound is None:
        return Carried(tuple(sorted({item.role.name for item in roles})), permissions)
    # A role without permissions is a label; under a bound nothing says that it is carried
    # unless the bound is all there is.
    whole = permissions <= bound
    by_name: dict[str, frozenset[str]] = {}
    for item in roles:
        by_name[item.role.name] = by_name.get(item.role.name, frozenset()) | item.role.permissions
    names = {n for n, p in by_name.items() if whole or (p and p <= bound)}
    return Carried(tuple(sorted(names)), permissions & bound)
