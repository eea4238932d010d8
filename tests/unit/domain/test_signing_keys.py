"""Keys rotate so that no verifier that caches them notices, whatever happens in which order."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from keyturn.server.domain.errors import Code, Refusal
from keyturn.server.domain.model import StoredSigningKey
from keyturn.server.domain.signing_keys import (
    KeyAges,
    Ring,
    Slot,
    Step,
    displaced,
    due,
    emergency,
    first,
    ready_at,
    removed_at,
    rotation,
    signs_from,
)

START = datetime(2026, 1, 1, tzinfo=UTC)
#: Seconds: a node's longest delay, a verifier's cache, a token's life.
LAG, CACHED, LIFE = 60, 300, 360
AGES = KeyAges(rotate_after=3_000, publish_for=CACHED + LAG, keep_retired=LIFE + LAG)


def at(seconds: int) -> datetime:
    return START + timedelta(seconds=seconds)


def stored(kid: str, algorithm: str, slot: str, since: int) -> StoredSigningKey:
    return StoredSigningKey(kid, algorithm, slot, {}, b"", at(since), at(since))


def ring(*keys: StoredSigningKey, now: int, algorithm: str = "ES256", asked: str = "") -> Ring:
    return Ring(keys, at(now), algorithm, frozenset(asked.split()))


def taken(before: Ring, steps: tuple[Step, ...], names: list[str]) -> Ring:
    """The ring after those steps; new keys are called by `names`. Slots stay unique throughout."""
    keys = {key.kid: key for key in before.keys}
    for step in steps:
        kid = step.kid or names.pop(0)
        if step.slot is None:
            del keys[kid]
        elif step.kid is None:
            keys[kid] = StoredSigningKey(
                kid, step.algorithm, step.slot, {}, b"", before.now, before.now
            )
        else:
            keys[kid] = replace(keys[kid], slot=step.slot, slot_since=before.now)
        held = [(k.algorithm, k.slot) for k in keys.values() if k.slot != Slot.RETIRED]
        assert len(held) == len(set(held))
    return replace(before, keys=tuple(keys.values()))


class TestDue:
    def test_the_first_key_signs_at_once(self) -> None:
        assert due(ring(now=0), AGES) == (Step("ES256", Slot.CURRENT), Step("ES256", Slot.NEXT))

    def test_nothing_once_it_was_done(self) -> None:
        after = taken(ring(now=0), due(ring(now=0), AGES), ["a", "b"])
        assert due(after, AGES) == ()

    def test_an_old_key_makes_way_for_one_that_was_published(self) -> None:
        keys = stored("a", "ES256", "current", 0), stored("b", "ES256", "next", 0)
        assert due(ring(*keys, now=2_999), AGES) == ()
        assert due(ring(*keys, now=3_000), AGES) == (
            Step("ES256", Slot.RETIRED, "a"),
            Step("ES256", Slot.CURRENT, "b"),
            Step("ES256", Slot.NEXT),
        )

    def test_not_for_one_that_was_not(self) -> None:
        keys = stored("a", "ES256", "current", 0), stored("b", "ES256", "next", 2_900)
        assert due(ring(*keys, now=2_900 + AGES.publish_for - 1), AGES) == ()

    def test_never_by_age_when_told_so(self) -> None:
        keys = stored("a", "ES256", "current", 0), stored("b", "ES256", "next", 0)
        assert due(ring(*keys, now=10**8), replace(AGES, rotate_after=0)) == ()

    def test_a_retired_key_goes_when_no_token_of_it_lives(self) -> None:
        keys = (
            stored("a", "ES256", "retired", 0),
            stored("b", "ES256", "current", 0),
            stored("c", "ES256", "next", 0),
        )
        assert due(ring(*keys, now=AGES.keep_retired - 1), AGES) == ()
        assert due(ring(*keys, now=AGES.keep_retired), AGES) == (Step("ES256", None, "a"),)

    def test_another_algorithm_comes_through_next(self) -> None:
        keys = stored("a", "ES256", "current", 0), stored("b", "ES256", "next", 0)
        changed = ring(*keys, now=1_000, algorithm="Ed25519")
        assert due(changed, AGES) == (Step("Ed25519", Slot.NEXT),)
        waiting = taken(changed, due(changed, AGES), ["c"])
        assert waiting.signer(AGES) == keys[0]
        ready = replace(waiting, now=at(1_000 + AGES.publish_for))
        steps = due(ready, AGES)
        assert steps == (Step("Ed25519", Slot.CURRENT, "c"), Step("Ed25519", Slot.NEXT))
        signing = taken(ready, steps, ["d"])
        signer = signing.signer(AGES)
        assert signer is not None
        assert signer.kid == "c"
        # The others go when every node has heard.
        later = replace(signing, now=ready.now + timedelta(seconds=AGES.publish_for))
        assert set(due(later, AGES)) == {Step("ES256", Slot.RETIRED, "a"), Step("ES256", None, "b")}

    def test_what_a_resource_server_asks_for_stays(self) -> None:
        keys = (
            stored("a", "ES256", "current", 0),
            stored("b", "ES256", "next", 0),
            stored("c", "Ed25519", "current", 0),
            stored("d", "Ed25519", "next", 0),
        )
        found = ring(*keys, now=2_000, algorithm="Ed25519", asked="ES256")
        assert due(found, replace(AGES, rotate_after=0)) == ()

    def test_nothing_signs_so_the_next_one_does_at_once(self) -> None:
        keys = (stored("b", "ES256", "next", 0),)
        assert due(ring(*keys, now=1), AGES)[0] == Step("ES256", Slot.CURRENT, "b")


class TestFirst:
    def test_signs_at_once_where_nobody_had_a_token_of_it(self) -> None:
        keys = stored("a", "ES256", "current", 0), stored("b", "ES256", "next", 0)
        found = ring(*keys, now=1)
        assert first(found, "RS256") == (Step("RS256", Slot.CURRENT), Step("RS256", Slot.NEXT))
        after = taken(found, first(found, "RS256"), ["c", "d"])
        assert after.signer(AGES) == keys[0]
        assert replace(after, now=at(10**6)).signer(AGES) == keys[0]
        assert first(after, "RS256") == ()

    def test_the_settings_keeps_to_its_time(self) -> None:
        keys = (stored("a", "ES256", "current", 0),)
        assert first(ring(*keys, now=1, algorithm="Ed25519"), "Ed25519") == ()

    def test_a_young_one_does_not_sign_for_all_when_the_setting_changes_to_it(self) -> None:
        keys = stored("a", "ES256", "current", 0), stored("c", "Ed25519", "current", 900)
        changed = ring(*keys, now=901, algorithm="Ed25519", asked="Ed25519")
        assert changed.signer(AGES) == keys[0]
        assert replace(changed, now=at(900 + AGES.publish_for)).signer(AGES) == keys[1]


class TestRotation:
    KEYS = (stored("a", "ES256", "current", 0), stored("b", "ES256", "next", 100))

    def test_promotes_what_was_published(self) -> None:
        steps = rotation(ring(*self.KEYS, now=100 + AGES.publish_for), "ES256", AGES)
        assert [step.slot for step in steps] == [Slot.RETIRED, Slot.CURRENT, Slot.NEXT]

    def test_refused_before_with_the_time(self) -> None:
        with pytest.raises(Refusal, match="2026-01-01T00:07:40Z") as refused:
            rotation(ring(*self.KEYS, now=99 + AGES.publish_for), "ES256", AGES)
        assert refused.value.code is Code.CONFLICT

    def test_refused_without_a_next_key(self) -> None:
        with pytest.raises(Refusal):
            rotation(ring(*self.KEYS, now=10_000), "RS256", AGES)

    def test_the_time_told_is_never_too_early(self) -> None:
        key = replace(self.KEYS[1], slot_since=at(100) + timedelta(microseconds=1))
        assert ready_at(key, AGES) == at(101 + AGES.publish_for)


class TestEmergency:
    @pytest.mark.parametrize(
        ("kid", "steps"),
        [
            ("r", (Step("ES256", None, "r"),)),
            ("n", (Step("ES256", None, "n"), Step("ES256", Slot.NEXT))),
            (
                "c",
                (
                    Step("ES256", None, "c"),
                    Step("ES256", Slot.CURRENT, "n"),
                    Step("ES256", Slot.NEXT),
                ),
            ),
        ],
    )
    def test_the_key_is_gone_and_another_signs(self, kid: str, steps: tuple[Step, ...]) -> None:
        keys = (
            stored("r", "ES256", "retired", 0),
            stored("c", "ES256", "current", 0),
            stored("n", "ES256", "next", 0),
        )
        [key] = [key for key in keys if key.kid == kid]
        assert emergency(ring(*keys, now=1), key) == steps

    def test_without_a_next_one_a_new_one_signs(self) -> None:
        key = stored("c", "ES256", "current", 0)
        steps = emergency(ring(key, now=1), key)
        assert steps[1] == Step("ES256", Slot.CURRENT)


class TestShown:
    KEYS = (
        stored("a", "ES256", "retired", 0),
        stored("b", "ES256", "current", 100),
        stored("c", "ES256", "next", 200),
    )

    def test_when_each_signs_and_goes(self) -> None:
        found = ring(*self.KEYS, now=300)
        assert [signs_from(found, key, AGES) for key in self.KEYS] == [None, at(100), at(3_100)]
        assert [removed_at(key, AGES) for key in self.KEYS] == [at(AGES.keep_retired), None, None]

    def test_a_next_one_signs_by_itself_only_if_keys_get_old(self) -> None:
        found = ring(*self.KEYS, now=300)
        assert signs_from(found, self.KEYS[2], replace(AGES, rotate_after=0)) is None


@dataclass
class Node:
    """A node, and the keys as it read them last."""

    algorithm: str
    read_at: int = 0
    seen: Ring = field(default_factory=lambda: ring(now=0))


class Installation(RuleBasedStateMachine):
    """Nodes that read late, act at any time, and differ in their setting for a while; verifiers
    that cache what the most belated node publishes.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = 0
        self.count = 0
        self.keys: tuple[StoredSigningKey, ...] = ()
        self.asked: frozenset[str] = frozenset()
        self.nodes = [Node("ES256"), Node("ES256")]
        #: What was stored from when on.
        self.history: list[tuple[int, frozenset[str]]] = []
        self.signed: dict[str, int] = {}
        self.exempt: set[str] = set()
        self.revoked: set[str] = set()

    def ring(self, node: Node) -> Ring:
        return Ring(self.keys, at(self.now), node.algorithm, self.asked)

    def turn(self, number: int) -> Ring:
        """What a node finds that acts. No two act at the same time."""
        self.now += 1
        return self.ring(self.nodes[number])

    def take(self, before: Ring, steps: tuple[Step, ...]) -> None:
        names = [f"k{self.count + number}" for number in range(len(steps))]
        self.count += len(steps)
        self.keys = taken(before, steps, names).keys
        self.history.append((self.now, frozenset(key.kid for key in self.keys)))

    def act(self, node: Node) -> None:
        self.now += 1
        before = self.ring(node)
        if not before.current:
            self.exempt.update(f"k{self.count + number}" for number in range(2))
            self.exempt.update(key.kid for key in self.keys if key.slot == Slot.NEXT)
        self.take(before, due(before, AGES))
        assert due(self.ring(node), AGES) == ()

    def sign(self, node: Node) -> None:
        """With what it read, and as long as it may without having read anew."""
        if self.now - node.read_at > LAG:
            return
        everybody = node.seen.signer(AGES)
        assert everybody is not None
        for key in (everybody, *node.seen.current):
            if key.kid in self.revoked:
                continue
            self.signed[key.kid] = self.now
            # A resource server's own first key is known to nobody else yet, and signs for it only.
            if key is everybody and key.kid not in self.exempt:
                self.known_to_all(key.kid, node.seen)

    def known_to_all(self, kid: str, seen: Ring) -> None:
        """Every verifier has the key, also one that asked a belated node long ago.

        Unless they have none that may sign for everybody: of an installation that has just begun,
        or whose only such key was taken away in an emergency. (What a resource server asked for
        signs for it alone.)
        """
        others = seen.asked_for - {seen.algorithm}
        able = [key for key in seen.current if key.algorithm not in others]
        if not any(seen.published(key, AGES) for key in able):
            return
        then = self.now - CACHED - LAG
        known = [kids for since, kids in self.history if since <= then]
        later = [kids for since, kids in self.history if since > then]
        assert all(kid in kids for kids in (*known[-1:], *later))
        assert known, f"{kid} signs before anybody could know it"

    @initialize()
    def start(self) -> None:
        for node in self.nodes:
            self.act(node)
            node.seen = self.ring(node)

    @rule(seconds=st.sampled_from([1, 30, LAG, CACHED, 420, 421, 2_000]), number=st.integers(0, 1))
    def time_passes(self, seconds: int, number: int) -> None:
        self.now += seconds
        self.sign(self.nodes[number])

    @rule(number=st.integers(0, 1))
    def a_node_reads_and_acts(self, number: int) -> None:
        node = self.nodes[number]
        self.act(node)
        node.read_at, node.seen = self.now, self.ring(node)
        self.sign(node)

    @rule(number=st.integers(0, 1), algorithm=st.sampled_from(["ES256", "Ed25519"]))
    def a_node_starts_with_another_setting(self, number: int, algorithm: str) -> None:
        self.nodes[number] = Node(algorithm)
        self.a_node_reads_and_acts(number)

    @rule(number=st.integers(0, 1), algorithm=st.sampled_from(["RS256", "Ed25519"]))
    def a_resource_server_registers(self, number: int, algorithm: str) -> None:
        before = self.turn(number)
        self.take(before, first(before, algorithm))
        self.asked |= {algorithm}

    @rule()
    def all_resource_servers_go(self) -> None:
        self.asked = frozenset()

    @rule(number=st.integers(0, 1), algorithm=st.sampled_from(["ES256", "Ed25519", "RS256"]))
    def somebody_rotates(self, number: int, algorithm: str) -> None:
        before = self.turn(number)
        try:
            steps = rotation(before, algorithm, AGES)
        except Refusal:
            return
        self.take(before, steps)

    @rule(number=st.integers(0, 1), algorithm=st.sampled_from(["ES256", "Ed25519"]))
    def somebody_imports(self, number: int, algorithm: str) -> None:
        before = self.turn(number)
        if algorithm in before.wanted:
            self.take(before, displaced(before, algorithm))
            before = self.turn(number)
            self.take(before, (Step(algorithm, Slot.NEXT),))

    @rule(number=st.integers(0, 1), place=st.integers(0, 20))
    def somebody_revokes(self, number: int, place: int) -> None:
        before = self.turn(number)
        key = before.keys[place % len(before.keys)]
        self.revoked.add(key.kid)
        self.exempt.update(k.kid for k in self.keys if k.slot == Slot.NEXT)
        self.exempt.update(f"k{self.count + number}" for number in range(3))
        self.take(before, emergency(before, key))

    @invariant()
    def every_live_token_has_its_key(self) -> None:
        here = {key.kid for key in self.keys}
        for kid, last in self.signed.items():
            if last + LIFE > self.now and kid not in self.revoked:
                assert kid in here, f"{kid} is gone, its token of {last} is not"

    @invariant()
    def somebody_signs(self) -> None:
        if self.keys:
            for node in self.nodes:
                assert self.ring(node).signer(AGES) is not None


TestInstallation = Installation.TestCase
TestInstallation.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
