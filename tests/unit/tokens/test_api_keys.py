"""API keys: their text form, and their hashes."""

import re
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyturn.server.domain.ids import ALPHABET, base62, from_base62
from keyturn.server.domain.model import KeyHash
from keyturn.server.services.ports import PresentedKey
from keyturn.server.tokens.api_keys import ApiKeys, _hashed

from .conftest import PROPERTY, derived, master_secret

SECURITY = Path(__file__).parents[3] / "SECURITY.md"


@pytest.fixture(scope="module")
def api_keys() -> ApiKeys:
    return ApiKeys(derived(purpose="pepper", length=32))


def with_masters(*masters: str) -> ApiKeys:
    return ApiKeys(derived(*masters, purpose="pepper", length=32))


def parsed(api_keys: ApiKeys, text: str) -> PresentedKey:
    key = api_keys.parse(text)
    assert key is not None
    return key


def accepts(api_keys: ApiKeys, text: str, stored: KeyHash) -> bool:
    key = api_keys.parse(text)
    return key is not None and api_keys.matches(key, stored)


class TestNew:
    def test_opens_what_it_made(self, api_keys: ApiKeys) -> None:
        new = api_keys.new()
        key = parsed(api_keys, new.text)
        assert key.key_id == new.key_id
        assert api_keys.matches(key, new.hash)

    def test_two_are_unlike_and_open_only_themselves(self, api_keys: ApiKeys) -> None:
        one, other = api_keys.new(), api_keys.new()
        assert one.key_id != other.key_id
        assert one.hash.digest != other.hash.digest
        assert not accepts(api_keys, one.text, other.hash)

    def test_has_256_random_bits(self, api_keys: ApiKeys) -> None:
        ones, zeros = 0, 0
        for _ in range(300):
            number = from_base62(parsed(api_keys, api_keys.new().text).secret)
            assert number is not None
            assert number < 2**256
            ones |= number
            zeros |= ~number
        assert ones & zeros & (2**256 - 1) == 2**256 - 1

    def test_the_secret_stands_in_no_repr(self, api_keys: ApiKeys) -> None:
        new = api_keys.new()
        key = parsed(api_keys, new.text)
        for shown in (repr(new), str(new), repr(key), f"{key}", repr(new.hash), repr(api_keys)):
            assert key.secret not in shown
            assert new.text not in shown

    def test_the_peppers_stand_in_no_repr(self) -> None:
        master = master_secret()
        keys = derived(master)
        assert master not in repr(keys)
        assert repr(keys.current)[2:10] not in repr(keys)


class TestForm:
    def test_is_what_security_md_tells_scanners(self, api_keys: ApiKeys) -> None:
        text = SECURITY.read_text(encoding="utf-8")
        row = next(line for line in text.splitlines() if line.startswith("| API key |"))
        pattern = row.split("`")[3]
        for _ in range(50):
            key = api_keys.new().text
            assert re.fullmatch(pattern, key)
            assert len(key) == 76

    def test_ends_in_the_crc_32_of_the_rest(self, api_keys: ApiKeys) -> None:
        body, _, checksum = api_keys.new().text.rpartition("_")
        assert checksum == base62(zlib.crc32(body.encode()), 6)

    @pytest.mark.parametrize(
        "spoil",
        [
            lambda t: "",
            lambda t: t + "\n",
            lambda t: " " + t,
            lambda t: t + " ",
            lambda t: t[:-1],
            lambda t: t + "0",
            lambda t: t.upper(),
            lambda t: t.swapcase(),
            lambda t: "ktr" + t[2:],
            lambda t: t.replace("_", "-"),
            lambda t: t.replace("_", "__", 1),
            lambda t: t[:30] + "\0" + t[31:],
            lambda t: t[:30] + "\u0661" + t[31:],  # a digit, but not ASCII
            lambda t: t[:30] + "\ud800" + t[31:],
            lambda t: t + "\x00",
            lambda t: t * 1000,
        ],
    )
    def test_anything_else_is_no_key(self, api_keys: ApiKeys, spoil: Callable[[str], str]) -> None:
        assert api_keys.parse(spoil(api_keys.new().text)) is None

    @PROPERTY
    @given(st.text(), st.text("kt_" + ALPHABET, min_size=76, max_size=76))
    def test_random_text_is_no_key(self, api_keys: ApiKeys, text: str, alike: str) -> None:
        assert api_keys.parse(text) is None
        assert api_keys.parse(alike) is None

    def test_every_other_letter_at_every_place_is_refused_offline(self, api_keys: ApiKeys) -> None:
        text = api_keys.new().text
        for place, letter in enumerate(text):
            for other in ALPHABET + "_- é":
                if other != letter:
                    assert api_keys.parse(text[:place] + other + text[place + 1 :]) is None

    @PROPERTY
    @given(st.integers(0, 74))
    def test_two_letters_swapped_are_refused(self, api_keys: ApiKeys, place: int) -> None:
        text = api_keys.new().text
        swapped = text[:place] + text[place + 1] + text[place] + text[place + 2 :]
        assert swapped == text or api_keys.parse(swapped) is None

    def test_another_secret_with_a_right_checksum_does_not_match(self, api_keys: ApiKeys) -> None:
        new = api_keys.new()
        _, key_id, secret, _ = new.text.split("_")
        for changed in (
            (key_id, secret[:-1] + ("0" if secret[-1] != "0" else "1")),
            (key_id[:-1] + ("0" if key_id[-1] != "0" else "1"), secret),
        ):
            body = "kt_" + "_".join(changed)
            forged = f"{body}_{base62(zlib.crc32(body.encode()), 6)}"
            assert not api_keys.matches(parsed(api_keys, forged), new.hash)


class TestPeppers:
    def test_another_master_secret_does_not_match(self) -> None:
        new = with_masters(master_secret()).new()
        assert not accepts(with_masters(master_secret()), new.text, new.hash)

    def test_the_digest_under_another_version_does_not_match(self, api_keys: ApiKeys) -> None:
        new = api_keys.new()
        moved = KeyHash(new.hash.digest, new.hash.pepper_version ^ 1)
        assert not accepts(api_keys, new.text, moved)

    def test_a_retired_pepper_never_matches_whatever_is_stored(self, api_keys: ApiKeys) -> None:
        key = parsed(api_keys, api_keys.new().text)
        unknown = api_keys._peppers.version ^ 1
        for digests in api_keys._digests.values():
            digest = digests.of(_hashed(key.key_id, key.secret))
            assert not api_keys.matches(key, KeyHash(digest, unknown))

    @pytest.mark.parametrize("digest", [b"", bytes(32), bytes(31), bytes(64)])
    def test_a_spoilt_digest_does_not_match(self, api_keys: ApiKeys, digest: bytes) -> None:
        new = api_keys.new()
        assert not accepts(api_keys, new.text, KeyHash(digest, new.hash.pepper_version))

    def test_a_previous_pepper_still_matches_and_moves_to_the_newest(self) -> None:
        old, new = master_secret(), master_secret()
        before = with_masters(old).new()
        after = with_masters(new, old)
        key = parsed(after, before.text)
        assert after.matches(key, before.hash)
        moved = after.rehash(key, before.hash)
        assert moved is not None
        assert moved.pepper_version != before.hash.pepper_version
        assert accepts(with_masters(new), before.text, moved)
        assert not accepts(with_masters(old), before.text, moved)
        assert after.rehash(key, moved) is None

    @pytest.mark.parametrize("order", [(0, 1), (1, 0)])
    def test_versions_follow_from_the_secret_not_from_its_place(self, order: Sequence[int]) -> None:
        masters = [master_secret(), master_secret()]
        both = with_masters(*(masters[n] for n in order))
        for master in masters:
            made = with_masters(master).new()
            assert accepts(both, made.text, made.hash)

    def test_keys_of_two_purposes_differ(self) -> None:
        master = master_secret()
        assert derived(master, purpose="a").current != derived(master, purpose="b").current
