"""Refresh tokens: what is sealed comes back, and nothing else opens."""

import base64
from dataclasses import replace
from functools import cache
from string import ascii_letters, digits

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from keyturn.server.domain.authority import MAX_LISTED_TENANTS, UNLISTED, Authority, Carried
from keyturn.server.domain.ids import base62, new_id, uuid7_int
from keyturn.server.domain.sessions import RefreshState
from keyturn.server.tokens.refresh import MAX_TEXT, PREFIX, RefreshSealer

from .conftest import PROPERTY, derived, master_secret

MAX_BODY = 65_536  # bytes: the default of the setting `max_body`

names = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
carried = st.builds(
    Carried,
    st.lists(names, max_size=3).map(tuple),
    st.frozensets(st.sampled_from(["a:read", "a:write", "b:read", "ü:ß", "c:*"]), max_size=5),
)
ceilings = st.just(UNLISTED) | st.builds(
    Authority, st.none() | names, st.dictionaries(names, carried, max_size=4)
)
seconds = st.integers(0, 2**40)
generations = epochs = st.integers(0, 2**31)
audiences = st.lists(names, max_size=3).map(tuple)
states = st.builds(
    RefreshState, names, generations, names, seconds, seconds, ceilings, epochs, audiences
)


@cache
def sealer() -> RefreshSealer:
    return RefreshSealer(derived(purpose="refresh"))


def state(ceiling: Authority = UNLISTED) -> RefreshState:
    now = 1_900_000_000
    return RefreshState(new_id(), 3, base62(uuid7_int(), 22), now, now + 36_000, ceiling, 7)


def raw_of(text: str) -> bytes:
    body = text.removeprefix(PREFIX)
    return base64.urlsafe_b64decode(body + "=" * (-len(body) % 4))


def text_of(raw: bytes) -> str:
    return PREFIX + base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def respelled(text: str) -> set[str]:
    """Other texts that a careless decoder reads as the same bytes."""
    body = text.removeprefix(PREFIX)
    spellings = {body.replace("-", "+").replace("_", "/"), body + "=" * (-len(body) % 4)}
    unused = {PREFIX + body[:-1] + letter for letter in ascii_letters + digits + "-_"}
    return {PREFIX + other for other in spellings - {body}} | {
        other for other in unused - {text} if raw_of(other) == raw_of(text)
    }


class TestRoundTrip:
    @PROPERTY
    @given(states)
    def test_any_state_comes_back(self, some: RefreshState) -> None:
        text = sealer().seal(some)
        assert text.startswith(PREFIX)
        assert sealer().open(text) == some

    @PROPERTY
    @given(states)
    def test_equal_states_are_equal_to_the_letter(self, some: RefreshState) -> None:
        text = sealer().seal(some)
        opened = sealer().open(text)
        assert opened is not None
        assert sealer().seal(some) == text
        # What was opened is sealed the same on every node from then on.
        again = sealer().open(sealer().seal(opened))
        assert again is not None
        assert sealer().seal(again) == sealer().seal(opened)

    @PROPERTY
    @given(st.lists(st.tuples(names, carried), unique_by=lambda item: item[0], max_size=4))
    @example([("a", Carried((), frozenset())), ("b", Carried((), frozenset({"a:read"})))])
    def test_the_order_of_tenants_does_not_matter(self, items: list[tuple[str, Carried]]) -> None:
        one = state(Authority(None, dict(items)))
        other = replace(one, ceiling=Authority(None, dict(reversed(items))))
        assert one == other
        assert sealer().seal(one) == sealer().seal(other)

    @PROPERTY
    @given(states, states)
    def test_different_states_are_different(self, one: RefreshState, other: RefreshState) -> None:
        assert (sealer().seal(one) == sealer().seal(other)) == (one == other)

    def test_20_tenants(self) -> None:
        tenants = {new_id(): Carried(("reader",), frozenset({f"t{n}:read"})) for n in range(20)}
        full = state(Authority(None, tenants))
        assert sealer().open(sealer().seal(full)) == full

    def test_another_process_seals_the_same(self) -> None:
        master = master_secret()
        some = state(Authority("t", {"t": Carried(("a",), frozenset("abcdef"))}))
        texts = {RefreshSealer(derived(master)).seal(some) for _ in range(3)}
        assert len(texts) == 1

    def test_nothing_of_it_can_be_read(self) -> None:
        some = state()
        assert some.session_id.encode() not in raw_of(sealer().seal(some))


class TestMasterSecrets:
    def test_another_one_opens_nothing(self) -> None:
        one, other = RefreshSealer(derived()), RefreshSealer(derived())
        assert other.open(one.seal(state())) is None

    def test_the_version_of_another_one_does_not_help(self) -> None:
        mine, theirs = derived(), derived()
        raw = raw_of(RefreshSealer(theirs).seal(state()))
        relabelled = mine.version.to_bytes(4, "big") + raw[4:]
        assert RefreshSealer(mine).open(text_of(relabelled)) is None

    def test_a_previous_one_still_opens_and_the_newest_seals(self) -> None:
        old, new = master_secret(), master_secret()
        both, some = RefreshSealer(derived(new, old)), state()
        assert both.open(RefreshSealer(derived(old)).seal(some)) == some
        assert RefreshSealer(derived(new)).open(both.seal(some)) == some
        assert RefreshSealer(derived(old)).open(both.seal(some)) is None


class TestRefused:
    def test_every_flipped_byte(self) -> None:
        raw = raw_of(sealer().seal(state()))
        for place in range(len(raw)):
            flipped = bytearray(raw)
            flipped[place] ^= 1 << place % 8
            assert sealer().open(text_of(bytes(flipped))) is None

    def test_every_truncation(self) -> None:
        text = sealer().seal(state())
        for length in range(len(text)):
            assert sealer().open(text[:length]) is None

    @pytest.mark.parametrize("extra", ["A", "AAAA", "====", " ", "\n", "\0", ".", "é", "\ud800"])
    def test_anything_added(self, extra: str) -> None:
        text = sealer().seal(state())
        assert sealer().open(text + extra) is None
        assert sealer().open(extra + text) is None
        assert sealer().open(PREFIX + extra + text.removeprefix(PREFIX)) is None

    def test_every_other_spelling_of_the_same_bytes(self) -> None:
        texts = [sealer().seal(replace(state(), key_id="k" * n)) for n in range(9)]
        assert [
            spelling for text in texts for spelling in respelled(text) if sealer().open(spelling)
        ] == []

    @pytest.mark.parametrize("prefix", ["", "kt_", "KTR_", "ktr", "ktr__"])
    def test_another_prefix(self, prefix: str) -> None:
        text = sealer().seal(state())
        assert sealer().open(prefix + text.removeprefix(PREFIX)) is None

    @pytest.mark.parametrize("length", range(24))
    def test_too_short_to_be_sealed(self, length: int) -> None:
        version = sealer()._version
        assert sealer().open(text_of((version + bytes(20))[:length])) is None

    def test_oversize(self) -> None:
        assert sealer().open(PREFIX + "A" * MAX_TEXT) is None
        assert sealer().open(sealer().seal(state()) + "A" * MAX_TEXT) is None

    @PROPERTY
    @given(st.text() | st.text().map(PREFIX.__add__) | st.binary().map(text_of))
    def test_random_text(self, text: str) -> None:
        assert sealer().open(text) is None


class TestSize:
    @staticmethod
    def largest(catalogue: int) -> RefreshState:
        """20 tenants × 3 roles × 30 permissions, all of one catalogue of that many."""
        names = [f"resource-{n:04}:administer" for n in range(catalogue)]
        tenants = {}
        for n in range(MAX_LISTED_TENANTS):
            carried = (names[(n * 7 + i) % catalogue] for i in range(90))
            roles = tuple(f"custom-role-{n}-{r}" for r in range(3))
            tenants[new_id()] = Carried(roles, frozenset(carried))
        return state(Authority(None, tenants))

    @pytest.mark.parametrize(
        "catalogue",
        [
            90,  # the same ones in every tenant
            240,
        ],
    )
    def test_the_largest_stays_below_every_limit(self, catalogue: int) -> None:
        largest = self.largest(catalogue)
        text = sealer().seal(largest)
        assert len(text) < MAX_TEXT < MAX_BODY
        assert sealer().open(text) == largest

    def test_equal_sets_are_written_once(self) -> None:
        assert len(sealer().seal(self.largest(90))) < 8_000
