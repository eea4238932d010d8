"""Which passwords people may choose."""

import secrets
import string
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyturn.server.domain.errors import Code, Refusal
from keyturn.server.domain.passwords import MAX_LENGTH, MIN_LENGTH, check_password, normalized

from .worlds import PROPERTY

NAMES = ("ada.lovelace@example.org", "ada.lovelace@example.org")


def refused(password: str, *names: str) -> str:
    """The public text that it is refused with."""
    with pytest.raises(Refusal) as caught:
        check_password(password, names=names)
    assert caught.value.code is Code.INVALID_REQUEST
    assert caught.value.field == "password"
    assert caught.value.detail == ""
    return caught.value.public


def fine(password: str, *names: str) -> None:
    check_password(password, names=names)


class TestAccepted:
    @pytest.mark.parametrize(
        "password",
        [
            "purple monkey dishwasher",
            "Tr0ub4dor&3-and-more",
            "пароль, который длинный",
            "正確な馬のバッテリーの留め金です",
            "four 🐎🔋📎 and some words",
            "x7!Qp$2mZ#9w",
        ],
    )
    def test_long_and_not_guessed_at_once(self, password: str) -> None:
        fine(password, *NAMES)

    @PROPERTY
    @given(st.integers(16, MAX_LENGTH))
    def test_random_ones(self, length: int) -> None:
        letters = string.ascii_letters + string.digits + string.punctuation
        fine("".join(secrets.choice(letters) for _ in range(length)), *NAMES)

    def test_two_halves_alike_if_each_is_long_enough(self) -> None:
        fine("k3#vQ9!mZ2x@" * 2)

    @pytest.mark.parametrize("name", ["", "@", "bob", "bob@", "@example", "bob@x"])
    def test_with_a_short_name_in_it(self, name: str) -> None:
        fine("bob likes @ and long words", name)


class TestLength:
    def test_refused_below_12(self) -> None:
        assert "at least 12" in refused("x7!Qp$2mZ#9")
        assert "at least 12" in refused("")

    def test_refused_above_256(self) -> None:
        words = "purple monkey dishwasher " * 11
        fine((words + "and so on")[:MAX_LENGTH])
        assert "at most 256" in refused((words + "and so on")[: MAX_LENGTH + 1])

    def test_is_that_of_the_normalized_form(self) -> None:
        assert "at least 12" in refused(unicodedata.normalize("NFD", "äëïöüÿ"))

    def test_one_letter_that_stands_for_eighteen_is_one(self) -> None:
        assert len(normalized("\ufdfa")) > MIN_LENGTH
        assert "at least 12" in refused("\ufdfa")


class TestCharacters:
    @pytest.mark.parametrize("letter", ["\0", "\t", "\n", "\r", "\x1b", "\x7f", "\x85", "\ud800"])
    def test_refused_control_characters_and_surrogates(self, letter: str) -> None:
        assert "control characters" in refused(f"purple monkey{letter}dishwasher")


class TestNames:
    @pytest.mark.parametrize(
        "password",
        [
            "ada.lovelace@example.org",
            "ada.lovelace1815",
            "I am ADA.Lovelace!",
            "I am ａｄａ.lovelace!",  # full-width
        ],
    )
    def test_refused_with_the_owners_name_in_it(self, password: str) -> None:
        assert "name or mail address" in refused(password, *NAMES)
        assert "name or mail address" in refused(password, "something.else", NAMES[0])

    def test_refused_whole_address_with_a_short_local_part(self) -> None:
        assert "name or mail address" in refused("me: bob@example.org", "bob@example.org")

    def test_the_text_names_nobody(self) -> None:
        assert "ada" not in refused("ada.lovelace1815", *NAMES)


class TestGuessable:
    @pytest.mark.parametrize(
        "password",
        [
            "password12345",
            "PassWord12345",
            "password 12345!",
            "qwerty-1234567",
            "correct horse battery staple",
            "P@ssw0rd1234",
            "ＡＤＭＩＮＩＳＴＲＡＴＯＲ",
        ],
    )
    def test_refused_what_is_tried_first(self, password: str) -> None:
        assert "tried first" in refused(password)

    @pytest.mark.parametrize(
        "password",
        ["passwordpassword", "aaaaaaaaaaaa", "abababababab", "Abc1abc1abc1a", "            "],
    )
    def test_refused_repetitions(self, password: str) -> None:
        assert "repetition" in refused(password)

    @pytest.mark.parametrize(
        "password",
        [
            "123456789012",
            "qwertyuiopas",
            "abcdefghijkl",
            "zyxwvutsrqponm",
            "098765432109",
            "ZXCVBNMqwert",
        ],
    )
    def test_refused_runs(self, password: str) -> None:
        assert "run of characters" in refused(password)

    @PROPERTY
    @given(st.text(st.characters(categories=["L", "N", "P"]), min_size=1, max_size=11), st.data())
    def test_refused_every_short_piece_over_and_over(self, piece: str, data: st.DataObject) -> None:
        length = data.draw(st.integers(max(MIN_LENGTH, 2 * len(piece)), 60))
        refused((piece * length)[:length])


def told(password: str, names: list[str]) -> str | None:
    """The public text that it is refused with; None when it is accepted."""
    try:
        check_password(password, names=tuple(names))
    except Refusal as refusal:
        return refusal.public
    return None


class TestEveryText:
    @PROPERTY
    @given(st.text(max_size=300), st.lists(st.text(max_size=300), max_size=3))
    def test_accepted_or_refused_with_a_fixed_text(self, password: str, names: list[str]) -> None:
        problem = told(password, names)
        assert problem in {
            None,
            "A password has at least 12 characters.",
            "A password has at most 256 characters.",
            "A password has no control characters.",
            "A password does not contain the name or mail address of its owner.",
            "A password is more than a repetition or a run of characters.",
            "This password is one of those that are tried first.",
        }
        if problem is None:
            assert MIN_LENGTH <= len(password) <= MAX_LENGTH
            assert normalized(normalized(password)) == normalized(password)
            normalized(password).encode()  # there is an UTF-8 form to hash
