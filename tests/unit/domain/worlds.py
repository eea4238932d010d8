"""Random users: the roles they hold in several tenants, before and after changes."""

from collections.abc import Mapping, Sequence

from hypothesis import settings
from hypothesis import strategies as st

from keyturn.server.domain.authority import Authority
from keyturn.server.domain.model import KeyHash, KeyRecord, Role, TenantRole, UserKind

PROPERTY = settings(max_examples=100, deadline=None)

TENANTS = ("tenant-a", "tenant-b", "tenant-c", "tenant-d")
NAMES = ("reader", "writer", "keeper", "label")
PERMISSIONS = ("assets:read", "assets:write", "data:read", "data:write", "system:manage")

#: Tenant → name of a role held there → its permissions.
Held = Mapping[str, Mapping[str, frozenset[str]]]


def _held(parts: Sequence[tuple[str, str, frozenset[str]]]) -> Held:
    held: dict[str, dict[str, frozenset[str]]] = {}
    for tenant, name, permissions in parts:
        held.setdefault(tenant, {})[name] = permissions
    return held


# All subsets, listed: drawing one number is several times faster than drawing a set.
_SUBSETS = [
    frozenset(p for n, p in enumerate(PERMISSIONS) if bits >> n & 1)
    for bits in range(2 ** len(PERMISSIONS))
]
permission_sets = st.sampled_from(_SUBSETS)
scopes = st.sampled_from([None, *(s for s in _SUBSETS if 1 <= len(s) <= 3)])
tenants = st.sampled_from(TENANTS)
helds: st.SearchStrategy[Held] = st.lists(
    st.tuples(tenants, st.sampled_from(NAMES), permission_sets), max_size=10
).map(_held)


def record(
    held: Held, *, bound_to: str | None = None, more_tenants: bool = False, id_prefix: str = ""
) -> KeyRecord:
    """A live key of a user who holds `held`."""
    return record_of(
        [
            TenantRole(tenant, tenant, Role(f"{id_prefix}{tenant}/{name}", name, permissions))
            for tenant, roles in held.items()
            for name, permissions in roles.items()
        ],
        bound_to=bound_to,
        more_tenants=more_tenants,
    )


def record_of(
    roles: Sequence[TenantRole], *, bound_to: str | None = None, more_tenants: bool = False
) -> KeyRecord:
    return KeyRecord(
        key_id="k",
        hash=KeyHash(bytes(32), 0),
        expires_at=None,
        revoked_at=None,
        key_tenant_id=bound_to,
        user_id="u",
        username="robot",
        user_kind=UserKind.SERVICE,
        user_disabled_at=None,
        epoch=1,
        roles=tuple(roles),
        more_tenants=more_tenants,
    )


def all_permissions(held: Held, tenant: str) -> frozenset[str]:
    """What the user may do in that tenant."""
    return frozenset().union(*held.get(tenant, {}).values())


def assert_sound(authority: Authority, held: Held) -> None:
    """The two rules of `authority`'s docstring, and: nothing that the user has not."""
    assert authority.tenants is not None
    for tenant, carried in authority.tenants.items():
        assert frozenset(authority.scope) <= carried.permissions
        assert carried.permissions <= all_permissions(held, tenant)
        assert list(carried.roles) == sorted(set(carried.roles))
        for name in carried.roles:
            assert held[tenant][name] <= carried.permissions


def assert_within(narrow: Authority, wide: Authority) -> None:
    """`narrow` carries nothing, anywhere, that `wide` does not."""
    assert narrow.tenant_id == wide.tenant_id
    assert narrow.tenants is not None
    assert wide.tenants is not None
    for tenant, carried in narrow.tenants.items():
        assert carried.permissions <= wide.tenants[tenant].permissions
        assert set(carried.roles) <= set(wide.tenants[tenant].roles)
