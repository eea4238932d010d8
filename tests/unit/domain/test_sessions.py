"""Successors, and which spent refresh token is a retry."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyturn.server.domain.authority import UNLISTED
from keyturn.server.domain.model import Session
from keyturn.server.domain.sessions import Lifetimes, RefreshState, is_retry, successor

from .worlds import PROPERTY

STEP = datetime(2030, 1, 1, 12, 0, 0, 123_456, tzinfo=UTC)
UNIX = int(STEP.timestamp())
LIFETIMES = Lifetimes(refresh_token=1800)
STATE = RefreshState("s", 4, "k", UNIX + 5, UNIX + 36_000, UNLISTED, 1)
SESSION = Session("s", "k", "u", 5, STEP, STEP + timedelta(hours=10))
GRACE = 10


class TestSuccessor:
    def test_steps_the_generation_and_the_expiry_only(self) -> None:
        assert successor(STATE, STEP, LIFETIMES) == replace(
            STATE, generation=5, expires_at=UNIX + 1800
        )

    def test_never_outlives_the_session(self) -> None:
        ending = replace(STATE, session_ends_at=UNIX + 60)
        assert successor(ending, STEP, LIFETIMES).expires_at == UNIX + 60

    def test_a_fraction_of_a_second_is_cut_off(self) -> None:
        earlier = STEP.replace(microsecond=0)
        assert successor(STATE, STEP, LIFETIMES) == successor(STATE, earlier, LIFETIMES)

    @PROPERTY
    @given(
        st.integers(0, 10_000), st.integers(0, 10**9), st.integers(1, 10**6), st.timedeltas(
            timedelta(0), timedelta(days=3000)
        )
    )  # fmt: skip
    def test_follows_from_state_and_row_alone(
        self, generation: int, ends: int, life: int, later: timedelta
    ) -> None:
        state = replace(STATE, generation=generation, session_ends_at=UNIX + ends)
        following = successor(state, STEP + later, Lifetimes(refresh_token=life))
        assert following == successor(state, STEP + later, Lifetimes(refresh_token=life))
        assert following.generation == generation + 1
        assert following.expires_at <= following.session_ends_at == state.session_ends_at
        assert following.ceiling == state.ceiling


class TestIsRetry:
    @pytest.mark.parametrize("ended", [False, True])
    @pytest.mark.parametrize("behind", [-1, 0, 1, 2])
    @pytest.mark.parametrize(
        ("after", "grace"),
        [(0, GRACE), (9.999999, GRACE), (10, GRACE), (60, GRACE), (0, 0), (1, 0)],
    )
    def test_only_the_immediate_predecessor_of_a_living_session_within_the_grace(
        self, ended: bool, behind: int, after: float, grace: int
    ) -> None:
        session = replace(SESSION, ended_at=STEP if ended else None)
        now = STEP + timedelta(seconds=after)
        expected = not ended and behind == 1 and after < grace
        assert is_retry(session, session.generation - behind, now, grace) is expected

    @PROPERTY
    @given(st.integers(0, 20), st.integers(0, 20), st.integers(0, 20), st.booleans())
    def test_holds_for_any_numbers(
        self, live: int, presented: int, after: int, ended: bool
    ) -> None:
        session = replace(SESSION, generation=live, ended_at=STEP if ended else None)
        expected = not ended and presented == live - 1 and after < GRACE
        assert is_retry(session, presented, STEP + timedelta(seconds=after), GRACE) is expected


class TestLifetimes:
    def test_a_revocation_outlives_every_access_token(self) -> None:
        assert Lifetimes(access_token=300).longest_access > timedelta(seconds=300)
