"""What a token may say. The properties hold over random users and changes in between."""

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from keyturn.server.domain.authority import (
    MAX_LISTED_TENANTS,
    UNLISTED,
    Authority,
    Carried,
    chosen_tenant,
    granted,
    parse_scope,
    regranted,
)
from keyturn.server.domain.errors import Code, Refusal
from keyturn.server.domain.model import Role, TenantRole

from .worlds import (
    NAMES,
    PERMISSIONS,
    PROPERTY,
    TENANTS,
    Held,
    all_permissions,
    assert_sound,
    assert_within,
    helds,
    permission_sets,
    record,
    record_of,
    scopes,
    tenants,
)

A, B = TENANTS[:2]
READ, WRITE = PERMISSIONS[:2]
BOTH: Held = {A: {"reader": frozenset({READ}), "writer": frozenset({READ, WRITE})}}


def only(*permissions: str) -> frozenset[str]:
    return frozenset(permissions)


def refused(code: Code) -> "pytest.RaisesExc[Refusal]":
    return pytest.RaisesExc(Refusal, check=lambda refusal: refusal.code is code)


class TestParseScope:
    @pytest.mark.parametrize("text", [None, "", " ", "   "])
    def test_nothing_asked_for(self, text: str | None) -> None:
        assert parse_scope(text) is None

    def test_words_in_any_order_once_each(self) -> None:
        assert parse_scope(f" {WRITE}  {READ} {WRITE} ") == only(READ, WRITE)

    @pytest.mark.parametrize(
        "letter",
        ['"', "\\", "\t", "\n", "\r", "\0", "\x1f", "\x7f", "ä", "\xa0", "\u2028", "\ud800"],
    )
    @pytest.mark.parametrize("around", ["{}", "a{}b", "a {}"])
    def test_letters_outside_the_rfc_are_invalid_scope(self, letter: str, around: str) -> None:
        with refused(Code.INVALID_SCOPE):
            parse_scope(around.format(letter))

    @PROPERTY
    @given(st.text())
    def test_any_text_gives_words_or_invalid_scope(self, text: str) -> None:
        if all(0x20 <= ord(c) <= 0x7E and c not in '"\\' for c in text):
            words = parse_scope(text)
            assert " ".join(sorted(words or ())) == " ".join(sorted(set(text.split())))
        elif text.strip(" "):
            with refused(Code.INVALID_SCOPE):
                parse_scope(text)


class TestChosenTenant:
    def test_none_means_all(self) -> None:
        assert chosen_tenant(record({}), None) is None

    def test_the_request_chooses(self) -> None:
        assert chosen_tenant(record({}), A) == A

    def test_a_bound_key_needs_no_choice(self) -> None:
        assert chosen_tenant(record({}, bound_to=A), None) == A
        assert chosen_tenant(record({}, bound_to=A), A) == A

    @pytest.mark.parametrize("other", [B, "", A.upper()])
    def test_a_bound_key_gives_no_other_tenant(self, other: str) -> None:
        with refused(Code.ACCESS_DENIED):
            chosen_tenant(record({}, bound_to=A), other)


class TestGranted:
    @PROPERTY
    @given(helds, st.none() | tenants, scopes)
    def test_never_says_more_than_it_carries(
        self, held: Held, tenant: str | None, scope: frozenset[str] | None
    ) -> None:
        try:
            authority = granted(record(held), tenant_id=tenant, scope=scope)
        except Refusal:
            assume(False)
            raise
        assert_sound(authority, held)
        assert authority.tenant_id == tenant
        if scope is not None:
            assert frozenset(authority.scope) == scope

    @PROPERTY
    @given(helds, st.none() | tenants, scopes)
    def test_gives_exactly_what_was_asked_for_or_the_documented_refusal(
        self, held: Held, tenant: str | None, scope: frozenset[str] | None
    ) -> None:
        candidates = {t for t in held if tenant in (None, t)}
        fitting = {t for t in candidates if scope is None or scope <= all_permissions(held, t)}
        if tenant is not None and tenant not in held:
            with refused(Code.ACCESS_DENIED):
                granted(record(held), tenant_id=tenant, scope=scope)
        elif scope is not None and not fitting:
            with refused(Code.INVALID_SCOPE):
                granted(record(held), tenant_id=tenant, scope=scope)
        else:
            authority = granted(record(held), tenant_id=tenant, scope=scope)
            assert authority.tenants is not None
            assert {t: c.permissions for t, c in authority.tenants.items()} == {
                t: all_permissions(held, t) if scope is None else scope for t in fitting
            }
            if scope is None:
                assert authority.role_names == {t: tuple(sorted(held[t])) for t in fitting}

    @PROPERTY
    @given(st.lists(st.tuples(st.sampled_from(NAMES), permission_sets), min_size=1), scopes)
    @example([(NAMES[0], only(READ)), (NAMES[0], only(WRITE))], only(READ))
    def test_a_name_that_two_roles_share_is_carried_whole(
        self, pairs: list[tuple[str, frozenset[str]]], scope: frozenset[str] | None
    ) -> None:
        # A role of the tenant above may have the name of one of its own.
        roles = [TenantRole(A, A, Role(f"r{n}", *pair)) for n, pair in enumerate(pairs)]
        try:
            authority = granted(record_of(roles), tenant_id=A, scope=scope)
        except Refusal:
            assume(False)
            raise
        assert authority.tenants is not None
        carried = authority.tenants[A]
        for name, permissions in pairs:
            if name in carried.roles:
                assert permissions <= carried.permissions

    def test_all_of_one_tenant(self) -> None:
        authority = granted(record(BOTH), tenant_id=A, scope=None)
        assert authority.scope == (READ, WRITE)
        assert authority.role_names == {A: ("reader", "writer")}

    def test_a_scope_leaves_out_roles_that_are_more(self) -> None:
        authority = granted(record(BOTH), tenant_id=A, scope=only(READ))
        assert authority.role_names == {A: ("reader",)}
        assert authority.scope == (READ,)

    def test_a_label_is_kept_while_all_is_carried_and_dropped_otherwise(self) -> None:
        held: Held = {A: {"label": frozenset(), "writer": only(READ, WRITE)}}
        whole = granted(record(held), tenant_id=A, scope=only(READ, WRITE))
        part = granted(record(held), tenant_id=A, scope=only(READ))
        assert whole.role_names == {A: ("label", "writer")}
        assert part.role_names == {A: ()}

    def test_scope_keeps_only_the_tenants_that_have_all_of_it(self) -> None:
        held: Held = {A: {"writer": only(READ, WRITE)}, B: {"reader": only(READ)}}
        assert granted(record(held), tenant_id=None, scope=None).scope == (READ,)
        assert granted(record(held), tenant_id=None, scope=only(WRITE)).role_names == {A: ()}

    def test_a_bound_key_is_for_its_tenant(self) -> None:
        authority = granted(record(BOTH, bound_to=A), tenant_id=None, scope=None)
        assert authority.tenant_id == A

    def test_a_bound_key_without_a_role_there_is_access_denied(self) -> None:
        with refused(Code.ACCESS_DENIED):
            granted(record({}, bound_to=A), tenant_id=None, scope=None)

    def test_a_tenant_without_a_role_is_told_like_an_unknown_one(self) -> None:
        texts = set()
        for tenant in (B, "no-such-tenant"):
            with refused(Code.ACCESS_DENIED) as caught:
                granted(record(BOTH), tenant_id=tenant, scope=None)
            texts.add(caught.value.public)
        assert len(texts) == 1

    def test_nobody_gets_an_empty_map(self) -> None:
        authority = granted(record({}), tenant_id=None, scope=None)
        assert authority.role_names == {}
        assert authority.scope == ()


class TestManyTenants:
    @staticmethod
    def held(count: int) -> Held:
        return {f"tenant-{n}": {"reader": only(READ)} for n in range(count)}

    def test_20_are_listed(self) -> None:
        authority = granted(record(self.held(MAX_LISTED_TENANTS)), tenant_id=None, scope=None)
        assert authority.role_names is not None
        assert len(authority.role_names) == MAX_LISTED_TENANTS == 20

    def test_more_are_unlisted(self) -> None:
        user = record(self.held(MAX_LISTED_TENANTS), more_tenants=True)
        authority = granted(user, tenant_id=None, scope=None)
        assert authority is UNLISTED
        assert authority.role_names is None
        assert authority.scope == ()

    def test_one_of_more_can_be_chosen(self) -> None:
        user = record(self.held(1), more_tenants=True)
        assert granted(user, tenant_id="tenant-0", scope=only(READ)).scope == (READ,)

    def test_narrowing_needs_a_choice(self) -> None:
        with refused(Code.INVALID_SCOPE):
            granted(record(self.held(20), more_tenants=True), tenant_id=None, scope=only(READ))

    def test_an_unlisted_session_stays_unlisted(self) -> None:
        assert regranted(record({}), UNLISTED, scope=None) == UNLISTED
        assert regranted(record(self.held(2)), UNLISTED, scope=None) == UNLISTED

    def test_an_unlisted_session_has_no_scope_to_narrow(self) -> None:
        with refused(Code.INVALID_SCOPE):
            regranted(record(self.held(2)), UNLISTED, scope=only(READ))


def first_grant(held: Held, tenant: str | None, scope: frozenset[str] | None) -> Authority:
    try:
        return granted(record(held), tenant_id=tenant, scope=scope)
    except Refusal:
        assume(False)
        raise


changes = st.lists(st.tuples(helds, scopes), min_size=1, max_size=4)


class TestManyPermissions:
    """A token must fit into a header, and a session into its refresh token."""

    @staticmethod
    def held(tenants: int, permissions: int, *, different: bool) -> Held:
        return {
            f"{n:036}": {
                "role": frozenset(
                    f"resource-{n if different else 0:02}-{m:04}:administer"
                    for m in range(permissions)
                )
            }
            for n in range(tenants)
        }

    def test_what_does_not_fit_is_not_listed(self) -> None:
        user = record(self.held(20, 100, different=True))
        assert granted(user, tenant_id=None, scope=None) == UNLISTED

    def test_one_tenant_asks_for_a_scope(self) -> None:
        held = self.held(1, 600, different=False)
        [tenant] = held
        with refused(Code.INVALID_SCOPE):
            granted(record(held), tenant_id=tenant, scope=None)
        some = frozenset(sorted(held[tenant]["role"])[:10])
        assert granted(record(held), tenant_id=tenant, scope=some).scope == tuple(sorted(some))

    @pytest.mark.parametrize(
        ("tenants", "most"), [(1, 400), (2, 200), (20, 200)], ids=["one", "two", "twenty"]
    )
    @pytest.mark.parametrize("different", [True, False])
    def test_whatever_is_listed_fits_both_tokens(
        self, tenants: int, most: int, different: bool
    ) -> None:
        from keyturn.server.domain.sessions import RefreshState
        from keyturn.server.domain.tokens import AccessToken
        from keyturn.server.tokens import access, refresh
        from keyturn.server.tokens.refresh import RefreshSealer
        from keyturn.server.tokens.secrets import DerivedKeys

        sealer = RefreshSealer(DerivedKeys(["a secret of a test"], "refresh tokens", 64))
        listed = 0
        for permissions in range(1, most, 7):
            held = self.held(tenants, permissions, different=different)
            tenant = next(iter(held)) if tenants == 1 else None
            try:
                authority = granted(record(held), tenant_id=tenant, scope=None)
            except Refusal:
                continue
            if authority == UNLISTED:
                continue
            listed += 1
            token = AccessToken(
                "j" * 36, "u" * 36, "k" * 22, "s" * 36, 1, 0, 0,
                authority.scope, authority.tenant_id, authority.role_names,
            )  # fmt: skip
            payload = len(str(token)) * 4 / 3  # more than its JSON in base64
            assert payload + 400 < access.MAX_TEXT
            state = RefreshState("s" * 36, 0, "k" * 22, 0, 0, authority, 1)
            assert len(sealer.seal(state)) < refresh.MAX_TEXT
            assert sealer.open(sealer.seal(state)) == state
        assert listed


class TestRegranted:
    @PROPERTY
    @given(helds, st.none() | tenants, scopes, changes)
    def test_never_more_than_first_granted_nor_than_the_user_has_now(
        self,
        held: Held,
        tenant: str | None,
        scope: frozenset[str] | None,
        steps: list[tuple[Held, frozenset[str] | None]],
    ) -> None:
        ceiling = first_grant(held, tenant, scope)
        for now, narrower in steps:
            try:
                authority = regranted(record(now, id_prefix="new "), ceiling, scope=narrower)
            except Refusal:
                continue  # the codes have properties of their own
            assert_within(authority, ceiling)
            assert_sound(authority, now)
            if narrower is not None:
                assert frozenset(authority.scope) <= narrower

    @PROPERTY
    @given(helds, st.none() | tenants, scopes, changes)
    def test_each_refresh_as_the_next_ones_ceiling_only_falls(
        self,
        held: Held,
        tenant: str | None,
        scope: frozenset[str] | None,
        steps: list[tuple[Held, frozenset[str] | None]],
    ) -> None:
        first = ceiling = first_grant(held, tenant, scope)
        for now, narrower in steps:
            try:
                authority = regranted(record(now), ceiling, scope=narrower)
            except Refusal:
                continue
            assert_within(authority, ceiling)
            assert_within(authority, first)
            ceiling = authority

    @PROPERTY
    @given(helds, st.none() | tenants, scopes)
    def test_without_a_change_it_is_the_same_again(
        self, held: Held, tenant: str | None, scope: frozenset[str] | None
    ) -> None:
        ceiling = first_grant(held, tenant, scope)
        assert regranted(record(held), ceiling, scope=None) == ceiling

    @PROPERTY
    @given(helds, st.none() | tenants, scopes, scopes)
    def test_narrowing_twice_is_narrowing_by_both(
        self,
        held: Held,
        tenant: str | None,
        scope: frozenset[str] | None,
        further: frozenset[str] | None,
    ) -> None:
        ceiling = first_grant(held, tenant, scope)
        assert ceiling.tenants is not None
        fitting = {
            t for t, c in ceiling.tenants.items() if further is None or further <= c.permissions
        }
        if further is not None and not fitting:
            with refused(Code.INVALID_SCOPE):
                regranted(record(held), ceiling, scope=further)
            return
        narrowed = regranted(record(held), ceiling, scope=further)
        assert_within(narrowed, ceiling)
        assert_sound(narrowed, held)
        assert narrowed.tenants is not None
        assert narrowed.tenants.keys() == fitting

    @settings(parent=PROPERTY, suppress_health_check=[HealthCheck.filter_too_much])
    @given(helds, tenants, scopes, helds)
    def test_a_lost_tenant_is_invalid_grant(
        self, held: Held, tenant: str, scope: frozenset[str] | None, now: Held
    ) -> None:
        ceiling = first_grant(held, tenant, scope)
        left = {t: roles for t, roles in now.items() if t != tenant}
        with refused(Code.INVALID_GRANT):
            regranted(record(left), ceiling, scope=None)

    def test_a_lost_tenant_is_invalid_grant_when_narrowing_too(self) -> None:
        ceiling = granted(record(BOTH), tenant_id=A, scope=None)
        with refused(Code.INVALID_GRANT):
            regranted(record({}), ceiling, scope=only(READ))

    def test_more_than_first_granted_is_invalid_scope_though_the_user_has_it(self) -> None:
        ceiling = granted(record(BOTH), tenant_id=A, scope=only(READ))
        with refused(Code.INVALID_SCOPE):
            regranted(record(BOTH), ceiling, scope=only(READ, WRITE))

    def test_a_new_tenant_and_a_new_role_are_not_added(self) -> None:
        ceiling = granted(record({A: {"reader": only(READ)}}), tenant_id=None, scope=None)
        now: Held = {**BOTH, B: {"reader": only(READ)}}
        assert regranted(record(now), ceiling, scope=None) == ceiling

    def test_a_role_that_grew_is_no_longer_named(self) -> None:
        ceiling = granted(record({A: {"reader": only(READ)}}), tenant_id=A, scope=None)
        grown = regranted(record({A: {"reader": only(READ, WRITE)}}), ceiling, scope=None)
        assert grown.tenants == {A: Carried((), only(READ))}

    def test_a_renamed_role_keeps_its_permissions_without_the_new_name(self) -> None:
        ceiling = granted(record({A: {"reader": only(READ)}}), tenant_id=A, scope=None)
        renamed = regranted(record({A: {"viewer": only(READ)}}), ceiling, scope=None)
        assert renamed.tenants == {A: Carried((), only(READ))}

    def test_a_name_given_to_another_role_brings_nothing_new(self) -> None:
        ceiling = granted(record({A: {"reader": only(READ)}}), tenant_id=A, scope=None)
        swapped = regranted(record({A: {"reader": only(WRITE)}}), ceiling, scope=None)
        assert swapped.tenants == {A: Carried((), frozenset())}

    def test_what_was_lost_in_between_comes_back_within_the_session(self) -> None:
        ceiling = granted(record(BOTH), tenant_id=A, scope=None)
        less = regranted(record({A: {"reader": only(READ)}}), ceiling, scope=None)
        assert less.scope == (READ,)
        assert regranted(record(BOTH), ceiling, scope=None) == ceiling

    def test_one_lost_tenant_of_several_is_left_out(self) -> None:
        held: Held = {A: {"reader": only(READ)}, B: {"reader": only(READ)}}
        ceiling = granted(record(held), tenant_id=None, scope=None)
        left = regranted(record({B: held[B]}), ceiling, scope=None)
        assert left.role_names == {B: ("reader",)}
