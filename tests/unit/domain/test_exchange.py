"""What a token can be exchanged for: a part of it, whatever is asked."""

from hypothesis import given
from hypothesis import strategies as st

from keyturn.server.domain.errors import Refusal
from keyturn.server.domain.exchange import exchanged, gives
from keyturn.server.domain.tokens import AccessToken

from .worlds import PROPERTY, Held, helds, record, scopes, tenants


def token(held: Held, tenant: str | None, scope: frozenset[str] | None) -> AccessToken | None:
    """What an exchange of the key gives; None when it is refused."""
    from keyturn.server.domain.authority import granted

    try:
        authority = granted(record(held), tenant_id=tenant, scope=scope)
    except Refusal:
        return None
    return AccessToken(
        "j", "u", "k", "s", 1, 0, 300, authority.scope, authority.tenant_id, authority.role_names
    )


@PROPERTY
@given(helds, helds, st.none() | tenants, scopes, st.none() | tenants, scopes, scopes)
def test_never_more_than_the_token_nor_than_the_key_has_now(
    held: Held,
    now: Held,
    tenant: str | None,
    scope: frozenset[str] | None,
    chosen: str | None,
    narrower: frozenset[str] | None,
    opened: frozenset[str] | None,
) -> None:
    subject = token(held, tenant, scope)
    if subject is None or subject.roles is None:
        return
    if chosen is not None and chosen not in subject.roles:
        return
    remaining = [chosen] if chosen is not None else list(subject.roles)
    named = {t: frozenset(subject.roles[t]) for t in remaining}
    key = record(now)
    try:
        made = exchanged(subject, key, tenant_id=chosen, named=named, scope=narrower, opened=opened)
    except Refusal:
        return
    assert made.tenants is not None
    assert set(made.tenants) <= set(subject.roles)
    if subject.tenant_id is not None:
        assert made.tenant_id == subject.tenant_id
    for tenant_id, carried in made.tenants.items():
        whole = [item for item in key.roles if item.tenant_id == tenant_id]
        most = gives(subject, tenant_id, named[tenant_id], whole, None)
        assert carried.permissions <= most.permissions
        assert set(carried.roles) <= set(subject.roles[tenant_id])
        for bound in (narrower, opened):
            assert bound is None or carried.permissions <= bound
        for item in whole:
            # A role is named only if all of it is carried.
            if item.role.name in carried.roles:
                assert item.role.permissions <= carried.permissions
