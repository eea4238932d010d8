"""Which entries concern a token, what they do, and that merging them loses nothing."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyturn.server.domain.authority import MAX_LISTED_TENANTS
from keyturn.server.domain.model import Revocation, RevocationKind
from keyturn.server.domain.revocations import (
    EVERY_EPOCH,
    FOREVER_YEAR,
    kills,
    still_counts,
    stronger,
    subjects,
    suspended,
)
from keyturn.server.domain.tokens import AccessToken, Acting

from .worlds import PROPERTY

NOW = datetime(2030, 1, 1, tzinfo=UTC)
TOKEN = AccessToken(
    "j", "u", "k", "s", 5, 0, 300, ("a:b",), "t1", {"t1": ("reader",)}, signed_by="kid"
)
DELEGATED = replace(TOKEN, actor=Acting("au", "ak", "as", 3, before=Acting("bu", "bk", "", 9)))
LISTING = replace(TOKEN, tenant_id=None, roles={"t1": ("reader",), "t2": ()})
KILLING = [
    RevocationKind.TOKEN,
    RevocationKind.SESSION,
    RevocationKind.KEY,
    RevocationKind.SIGNING_KEY,
]

moments = st.integers(-100, 100).map(lambda seconds: NOW + timedelta(seconds=seconds))
user_entries = st.builds(
    Revocation,
    st.just(RevocationKind.USER),
    st.just("u"),
    moments,
    st.none() | st.integers(0, 10) | st.just(EVERY_EPOCH),
)
other_entries = st.sampled_from([*KILLING, RevocationKind.TENANT]).flatmap(
    lambda kind: st.builds(
        Revocation,
        st.just(kind),
        st.just("t1") if kind is RevocationKind.TENANT else st.just("id"),
        moments,
        st.none(),
    )
)
tokens = st.integers(0, 12).map(lambda epoch: replace(TOKEN, epoch=epoch))


def entry(kind: RevocationKind, subject: str = "x", epoch: int | None = None) -> Revocation:
    return Revocation(kind, subject, NOW, epoch)


class TestSubjects:
    def test_token_session_key_user_signing_key_everything_and_the_chosen_tenant(self) -> None:
        assert subjects(TOKEN) == (
            (RevocationKind.TOKEN, "j"),
            (RevocationKind.SESSION, "s"),
            (RevocationKind.KEY, "k"),
            (RevocationKind.USER, "u"),
            (RevocationKind.SIGNING_KEY, "kid"),
            (RevocationKind.EVERYTHING, "*"),
            (RevocationKind.TENANT, "t1"),
        )

    def test_the_tokens_it_came_from(self) -> None:
        found = subjects(replace(TOKEN, parents=("p1", "p2")))
        assert {(RevocationKind.TOKEN, "p1"), (RevocationKind.TOKEN, "p2")} < set(found)

    def test_who_acts_and_who_did_before(self) -> None:
        assert set(subjects(DELEGATED)) - set(subjects(TOKEN)) == {
            (RevocationKind.SESSION, "as"),
            (RevocationKind.KEY, "ak"),
            (RevocationKind.USER, "au"),
            (RevocationKind.KEY, "bk"),
            (RevocationKind.USER, "bu"),
        }

    def test_each_listed_tenant(self) -> None:
        assert subjects(LISTING)[6:] == (
            (RevocationKind.TENANT, "t1"),
            (RevocationKind.TENANT, "t2"),
        )

    def test_no_tenant_of_an_unlisted_one(self) -> None:
        assert len(subjects(replace(TOKEN, tenant_id=None, roles=None))) == 6

    @PROPERTY
    @given(st.integers(0, MAX_LISTED_TENANTS))
    def test_at_most_26_and_each_once(self, count: int) -> None:
        found = subjects(replace(LISTING, roles={f"t{n}": () for n in range(count)}))
        assert len(found) == len(set(found)) == 6 + count <= 26


class TestKills:
    def test_nothing_found_kills_nothing(self) -> None:
        assert not kills((), TOKEN)

    @pytest.mark.parametrize(("epoch", "dead"), [(5, False), (6, True), (None, True)])
    def test_everything_below_an_epoch(self, epoch: int | None, dead: bool) -> None:
        assert kills([entry(RevocationKind.EVERYTHING, "*", epoch)], TOKEN) is dead

    @pytest.mark.parametrize(
        ("kind", "subject", "epoch", "dead"),
        [
            (RevocationKind.USER, "au", 3, False),
            (RevocationKind.USER, "au", 4, True),
            (RevocationKind.USER, "bu", 9, False),
            (RevocationKind.USER, "bu", 10, True),
            (RevocationKind.KEY, "bk", None, True),
            (RevocationKind.SESSION, "as", None, True),
            (RevocationKind.EVERYTHING, "*", 4, True),
        ],
    )
    def test_what_ends_who_acts_ends_the_token(
        self, kind: RevocationKind, subject: str, epoch: int | None, dead: bool
    ) -> None:
        assert kills([entry(kind, subject, epoch)], DELEGATED) is dead

    @pytest.mark.parametrize("kind", KILLING)
    def test_token_session_and_key_end_it(self, kind: RevocationKind) -> None:
        assert kills([entry(kind)], TOKEN)

    @pytest.mark.parametrize(
        ("epoch", "dead"), [(0, False), (5, False), (6, True), (None, True), (EVERY_EPOCH, True)]
    )
    def test_a_user_ends_older_epochs(self, epoch: int | None, dead: bool) -> None:
        assert kills([entry(RevocationKind.USER, "u", epoch)], TOKEN) is dead

    def test_a_suspended_tenant_ends_only_a_token_chosen_for_it(self) -> None:
        found = [entry(RevocationKind.TENANT, "t1")]
        assert kills(found, TOKEN)
        assert not kills(found, replace(TOKEN, tenant_id="t2"))
        assert not kills(found, LISTING)

    @PROPERTY
    @given(st.lists(user_entries | other_entries), user_entries | other_entries, tokens)
    def test_one_more_entry_never_revives(
        self, found: list[Revocation], more: Revocation, token: AccessToken
    ) -> None:
        assert kills([*found, more], token) == (kills(found, token) or kills([more], token))


class TestSuspended:
    def test_names_the_tenants_only(self) -> None:
        found = [entry(kind, kind.value) for kind in RevocationKind]
        assert suspended(found) == {"tenant"}

    @PROPERTY
    @given(st.lists(user_entries | other_entries))
    def test_order_and_repetition_do_not_matter(self, found: list[Revocation]) -> None:
        assert suspended(found) == suspended([*reversed(found), *found])


class TestStronger:
    @PROPERTY
    @given(user_entries, user_entries)
    def test_order_does_not_matter(self, one: Revocation, other: Revocation) -> None:
        assert stronger(one, other) == stronger(other, one)

    @PROPERTY
    @given(user_entries, user_entries, user_entries)
    def test_grouping_does_not_matter(
        self, one: Revocation, other: Revocation, third: Revocation
    ) -> None:
        assert stronger(stronger(one, other), third) == stronger(one, stronger(other, third))

    @PROPERTY
    @given(user_entries | other_entries)
    def test_with_itself_it_is_itself(self, one: Revocation) -> None:
        assert stronger(one, one) == one

    @PROPERTY
    @given(user_entries, user_entries, tokens)
    def test_kills_what_either_kills(
        self, one: Revocation, other: Revocation, token: AccessToken
    ) -> None:
        assert kills([stronger(one, other)], token) == kills([one, other], token)

    @PROPERTY
    @given(user_entries, user_entries, moments)
    def test_lasts_as_long_as_either(
        self, one: Revocation, other: Revocation, now: datetime
    ) -> None:
        assert still_counts(stronger(one, other), now) == (
            still_counts(one, now) or still_counts(other, now)
        )


class TestStillCounts:
    @pytest.mark.parametrize(("seconds", "counts"), [(-1, False), (0, False), (1, True)])
    def test_until_its_end(self, seconds: int, counts: bool) -> None:
        ending = Revocation(RevocationKind.KEY, "k", NOW + timedelta(seconds=seconds))
        assert still_counts(ending, NOW) is counts

    def test_a_suspension_outlasts_everybody(self) -> None:
        assert datetime(FOREVER_YEAR, 1, 1, tzinfo=UTC) > NOW + timedelta(days=365 * 5000)
