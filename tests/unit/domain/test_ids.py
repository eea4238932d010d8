"""UUIDv7 and base62."""

import time
import uuid
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyturn.server.domain.ids import (
    ALPHABET,
    ID_LETTERS,
    SECRET_LETTERS,
    base62,
    from_base62,
    new_id,
    parse_id,
    uuid7_int,
)

from .worlds import PROPERTY

numbers = st.integers(0, 2**128 - 1)


class TestUuid7:
    def test_version_7_and_the_rfcs_variant(self) -> None:
        for _ in range(200):
            made = uuid.UUID(int=uuid7_int())
            assert made.version == 7
            assert made.variant == uuid.RFC_4122

    def test_begins_with_the_milliseconds_of_now(self) -> None:
        before = time.time_ns() // 1_000_000
        stamp = uuid7_int() >> 80
        assert before <= stamp <= time.time_ns() // 1_000_000

    @PROPERTY
    @given(st.lists(st.integers(0, 2**48 - 1), min_size=2, max_size=5, unique=True))
    def test_later_ones_sort_behind_as_numbers_as_text_and_in_base62(
        self, millis: list[int]
    ) -> None:
        with pytest.MonkeyPatch.context() as patch:
            made = []
            for milli in sorted(millis):
                patch.setattr(time, "time_ns", lambda now=milli: now * 1_000_000)
                made.append((uuid7_int(), new_id(), base62(uuid7_int(), ID_LETTERS)))
        for column in zip(*made, strict=True):
            assert list(column) == sorted(column)

    def test_many_at_once_are_distinct(self) -> None:
        assert len({uuid7_int() for _ in range(5000)}) == 5000

    def test_all_bits_but_version_and_variant_and_time_are_random(self) -> None:
        ones, zeros = 0, 0
        for _ in range(300):
            number = uuid7_int()
            ones |= number
            zeros |= ~number
        random = (0x0FFF << 64) | (2**62 - 1)
        assert ones & zeros & random == random


class TestNewId:
    def test_is_canonical_text(self) -> None:
        made = new_id()
        assert str(uuid.UUID(made)) == made == parse_id(made)
        assert uuid.UUID(made).version == 7


class TestParseId:
    @PROPERTY
    @given(st.uuids())
    def test_canonical_and_upper_case_are_read(self, made: uuid.UUID) -> None:
        assert parse_id(str(made)) == str(made)
        assert parse_id(str(made).upper()) == str(made)

    @pytest.mark.parametrize(
        "form",
        [
            lambda u: u.hex,
            lambda u: f"{{{u}}}",
            lambda u: f"urn:uuid:{u}",
            lambda u: f" {u}",
            lambda u: f"{u}\n",
            lambda u: f"{u}"[:-1],
            lambda u: f"{u}"[:-1] + "g",
            lambda u: f"{u}"[:-1] + "\n",
            lambda u: f"{u}"[:-1] + "\0",
            lambda u: f"{u}"[:-1] + "\u0661",  # a digit, but not ASCII
            lambda u: f"{u}"[:-1] + "\ud800",
            lambda u: u.hex + "----",
            lambda u: "{" + u.hex + "}--",
            lambda u: f"{u}".replace("-", "_"),
            lambda u: f"{u}"[:34] + "_0",
            lambda u: "0x" + f"{u}"[2:],
            lambda u: "+" + f"{u}"[1:],
            lambda u: "-" * 4 + u.hex,
            lambda u: "-" * 36,
            lambda u: "",
        ],
    )
    def test_any_other_form_is_refused(self, form: Callable[[uuid.UUID], str]) -> None:
        assert parse_id(form(uuid.uuid4())) is None

    @PROPERTY
    @given(st.text(min_size=36, max_size=36) | st.text("0123456789abcdefABCDEF-_{}", max_size=40))
    def test_any_text_is_an_id_or_none(self, text: str) -> None:
        assert parse_id(text) in (None, text.lower())


class TestBase62:
    def test_the_alphabet_is_in_ascii_order(self) -> None:
        assert list(ALPHABET) == sorted(set(ALPHABET))
        assert len(ALPHABET) == 62

    @pytest.mark.parametrize(
        ("bits", "letters"), [(128, ID_LETTERS), (256, SECRET_LETTERS), (32, 6)]
    )
    def test_the_widths_are_the_smallest_that_fit(self, bits: int, letters: int) -> None:
        assert len(base62(2**bits - 1, letters)) == letters
        with pytest.raises(OverflowError):
            base62(2**bits - 1, letters - 1)

    @PROPERTY
    @given(numbers, st.integers(ID_LETTERS, SECRET_LETTERS))
    def test_round_trip(self, number: int, letters: int) -> None:
        text = base62(number, letters)
        assert len(text) == letters
        assert set(text) <= set(ALPHABET)
        assert from_base62(text) == number

    @PROPERTY
    @given(numbers, numbers, st.sampled_from([ID_LETTERS, ID_LETTERS + 1]))
    def test_sorts_as_its_numbers(self, one: int, other: int, letters: int) -> None:
        assert (base62(one, letters) < base62(other, letters)) == (one < other)

    @PROPERTY
    @given(st.integers(0, 62**4), st.integers(1, 4))
    def test_what_does_not_fit_is_refused(self, number: int, letters: int) -> None:
        if number < 62**letters:
            assert from_base62(base62(number, letters)) == number
        else:
            with pytest.raises(OverflowError):
                base62(number, letters)

    @PROPERTY
    @given(st.integers(-(2**64), -1), st.integers(1, 44))
    def test_below_zero_is_refused(self, number: int, letters: int) -> None:
        with pytest.raises(OverflowError):
            base62(number, letters)


class TestFromBase62:
    @pytest.mark.parametrize(
        "text", ["-", "_", "+", " ", "0 ", " 0", "0\n", "0_0", "ä", "\u0661", "\ud800", "\0"]
    )
    def test_other_letters_are_refused(self, text: str) -> None:
        assert from_base62(text) is None

    @PROPERTY
    @given(st.text(max_size=50))
    def test_any_text_is_a_number_or_none(self, text: str) -> None:
        assert (from_base62(text) is None) == bool(set(text) - set(ALPHABET))
