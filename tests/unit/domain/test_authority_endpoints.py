"""A key with an allow-list: what its tokens say is never more than without the list (F2)."""

from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from keyturn.server.domain.authority import (
    Authority,
    carries_all,
    granted,
    regranted,
    whole_roles,
)
from keyturn.server.domain.errors import Code, Refusal
from keyturn.server.domain.model import KeyRecord

from .worlds import (
    PERMISSIONS,
    PROPERTY,
    TENANTS,
    Held,
    assert_sound,
    assert_within,
    helds,
    permission_sets,
    record,
    scopes,
    tenants,
)

A, B = TENANTS[:2]
READ, WRITE, DATA = PERMISSIONS[:3]
HELD: Held = {
    A: {"reader": frozenset({READ}), "writer": frozenset({READ, WRITE}), "label": frozenset()},
    B: {"keeper": frozenset({DATA})},
}


def listed(held: Held, *opened: str) -> KeyRecord:
    """A key with an allow-list of endpoints that these permissions open."""
    return replace(record(held), endpoint_ids=("e",), opened=frozenset(opened))


def try_granted(
    key: KeyRecord, tenant_id: str | None, scope: frozenset[str] | None
) -> Authority | None:
    try:
        return granted(key, tenant_id=tenant_id, scope=scope)
    except Refusal:
        return None


class TestGranted:
    def test_f2_what_no_listed_endpoint_needs_is_not_carried(self) -> None:
        authority = granted(listed(HELD, READ), tenant_id=A, scope=None)
        assert authority.scope == (READ,)

    def test_f2_a_list_opens_nothing(self) -> None:
        authority = granted(listed(HELD, READ, DATA), tenant_id=A, scope=None)
        assert authority.scope == (READ,)

    def test_a_role_is_named_only_if_it_is_carried_whole(self) -> None:
        authority = granted(listed(HELD, READ), tenant_id=None, scope=None)
        assert authority.role_names == {A: ("reader",), B: ()}

    def test_a_list_that_needs_no_permission_leaves_none(self) -> None:
        authority = granted(listed(HELD), tenant_id=A, scope=None)
        assert (authority.scope, authority.role_names) == ((), {A: ()})

    def test_scope_beyond_the_list_is_refused(self) -> None:
        with pytest.raises(Refusal) as refused:
            granted(listed(HELD, READ), tenant_id=A, scope=frozenset({READ, WRITE}))
        assert refused.value.code is Code.INVALID_SCOPE

    @PROPERTY
    @given(helds, permission_sets, st.none() | tenants, scopes)
    def test_never_wider_than_without_the_list(
        self,
        held: Held,
        opened: frozenset[str],
        tenant_id: str | None,
        scope: frozenset[str] | None,
    ) -> None:
        narrow = try_granted(listed(held, *opened), tenant_id, scope)
        assume(narrow is not None)
        assert narrow is not None
        wide = granted(record(held), tenant_id=tenant_id, scope=scope)
        assert_sound(narrow, held)
        assert_within(narrow, wide)
        for carried in (narrow.tenants or {}).values():
            assert carried.permissions <= opened

    @PROPERTY
    @given(helds, permission_sets, permission_sets)
    def test_a_longer_list_never_narrows(
        self, held: Held, opened: frozenset[str], more: frozenset[str]
    ) -> None:
        shorter = granted(listed(held, *opened), tenant_id=None, scope=None)
        longer = granted(listed(held, *opened, *more), tenant_id=None, scope=None)
        for tenant, carried in (shorter.tenants or {}).items():
            assert carried.permissions <= (longer.tenants or {})[tenant].permissions


class TestRegranted:
    @PROPERTY
    @given(helds, permission_sets, permission_sets, scopes)
    def test_the_list_of_now_bounds_what_was_first_granted(
        self,
        held: Held,
        then: frozenset[str],
        now: frozenset[str],
        scope: frozenset[str] | None,
    ) -> None:
        first = granted(listed(held, *then), tenant_id=None, scope=None)
        try:
            refreshed = regranted(listed(held, *now), first, scope=scope)
        except Refusal:
            return
        assert_within(refreshed, first)
        for carried in (refreshed.tenants or {}).values():
            assert carried.permissions <= now


class TestWholeRoles:
    def test_all_of_them_without_a_list(self) -> None:
        assert whole_roles(record(HELD)) == record(HELD).roles

    def test_those_whose_permissions_are_all_carried(self) -> None:
        assert [item.role.name for item in whole_roles(listed(HELD, READ))] == ["reader"]


class TestCarriesAll:
    """Whether a token was narrowed below what its key gives."""

    @PROPERTY
    @given(helds, st.none() | permission_sets, st.none() | tenants)
    def test_a_token_that_was_not_narrowed(
        self, held: Held, opened: frozenset[str] | None, tenant_id: str | None
    ) -> None:
        key = record(held) if opened is None else listed(held, *opened)
        authority = try_granted(key, tenant_id, None)
        assume(authority is not None and authority.role_names is not None)
        assert authority is not None
        assert carries_all(key, authority.role_names or {}, authority.scope)

    @PROPERTY
    @given(helds, st.none() | permission_sets, tenants, scopes)
    def test_a_token_narrowed_by_scope_in_one_tenant(
        self,
        held: Held,
        opened: frozenset[str] | None,
        tenant_id: str,
        scope: frozenset[str] | None,
    ) -> None:
        key = record(held) if opened is None else listed(held, *opened)
        narrow = try_granted(key, tenant_id, scope)
        if narrow is None:
            return  # the key gives nothing there, or less than was asked for
        wide = granted(key, tenant_id=tenant_id, scope=None)
        whole = carries_all(key, narrow.role_names or {}, narrow.scope)
        assert whole == (narrow == wide)

    def test_tenants_that_are_suspended_do_not_count(self) -> None:
        authority = granted(record(HELD), tenant_id=None, scope=None)
        left = record({A: HELD[A]})
        assert carries_all(left, authority.role_names or {}, authority.scope)

    def test_a_role_that_is_missing(self) -> None:
        assert not carries_all(record(HELD), {A: ("reader",), B: ("keeper",)}, ())
