"""Who is calling, told by an API key."""

import secrets
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from keyturn.server.domain.errors import Code, Refusal
from keyturn.server.domain.model import KeyHash, KeyRecord, OldSecret, UserKind
from keyturn.server.services.credentials import (
    NOTHING,
    ClientCredentials,
    Credentials,
    Evidence,
    names,
)
from keyturn.server.services.ports import NewKey, PresentedKey
from keyturn.server.services.usage import Note, Usage
from keyturn.server.tokens.api_keys import ApiKeys
from keyturn.server.tokens.secrets import DerivedKeys

NOW = datetime(2030, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)
HOME = "192.0.2.1"


class CountingFormat(ApiKeys):
    """Counts comparisons: each well-formed key must cost exactly two."""

    comparisons = 0

    def matches(self, key: PresentedKey, stored: KeyHash) -> bool:
        self.comparisons += 1
        return super().matches(key, stored)


class FakeLookup:
    """Knows one key, and notes what it is asked."""

    def __init__(self, record: KeyRecord) -> None:
        self.record = record
        self.asked: list[tuple[str, Sequence[str] | None]] = []

    async def find(
        self,
        key_id: str,
        *,
        tenants: Sequence[str] | None = None,
        after: str = "",
        limit: int = 20,
    ) -> KeyRecord | None:
        self.asked.append((key_id, tenants))
        return self.record if key_id == self.record.key_id else None


class FakeUsage(Usage):
    """Notes in a list."""

    def __init__(self) -> None:
        self.noted: list[tuple[Note, KeyHash | None, bool]] = []

    def note(
        self,
        note: Note,
        rehash: KeyHash | None = None,
        *,
        ends_old: bool = False,
        key: object = None,
    ) -> None:
        self.noted.append((note, rehash, ends_old))


class World:
    def __init__(self) -> None:
        self.format = CountingFormat(DerivedKeys((secrets.token_urlsafe(32),), "pepper", 32))
        self.key: NewKey = self.format.new()
        self.stranger: NewKey = self.format.new()
        self.lookup = FakeLookup(
            KeyRecord(
                key_id=self.key.key_id,
                hash=self.key.hash,
                expires_at=None,
                revoked_at=None,
                key_tenant_id=None,
                user_id="u",
                username="Ada@Example.com",
                user_kind=UserKind.HUMAN,
                user_disabled_at=None,
                epoch=1,
                roles=(),
            )
        )
        self.usage = FakeUsage()
        self.credentials = Credentials(self.lookup, self.format, lambda: NOW, self.usage)

    def stored(
        self,
        *,
        key_hash: KeyHash | None = None,
        expires_at: datetime | None = None,
        revoked_at: datetime | None = None,
        user_disabled_at: datetime | None = None,
        **more: Any,
    ) -> None:
        self.lookup.record = replace(
            self.lookup.record,
            **more,
            hash=key_hash or self.key.hash,
            expires_at=expires_at,
            revoked_at=revoked_at,
            user_disabled_at=user_disabled_at,
        )

    async def refusal(self, client: ClientCredentials) -> Refusal:
        with pytest.raises(Refusal) as caught:
            await self.credentials.client(client, HOME)
        return caught.value


@pytest.fixture
def world() -> World:
    return World()


def given(client_id: str | None, secret: str) -> ClientCredentials:
    return ClientCredentials("client_secret_post", client_id, secret)


class TestExamine:
    async def test_a_good_key_is_genuine_by_one_read(self, world: World) -> None:
        evidence = await world.credentials.examine(world.key.text, HOME, ("t",))
        assert evidence.genuine
        assert evidence.record is world.lookup.record
        assert evidence.why == ""
        assert world.lookup.asked == [(world.key.key_id, ("t",))]
        assert world.format.comparisons == 2

    @pytest.mark.parametrize("text", ["", "hunter2", "kt_", "\0", "ü" * 76])
    async def test_what_is_no_key_reaches_no_database(self, world: World, text: str) -> None:
        assert await world.credentials.examine(text, HOME) is NOTHING
        assert world.lookup.asked == []

    async def test_a_mistyped_key_reaches_no_database(self, world: World) -> None:
        text = world.key.text
        wrong = text[:-1] + ("0" if text[-1] != "0" else "1")
        assert not (await world.credentials.examine(wrong, HOME)).genuine
        assert world.lookup.asked == []

    async def test_an_unknown_key_costs_as_many_comparisons(self, world: World) -> None:
        evidence = await world.credentials.examine(world.stranger.text, HOME)
        assert not evidence.genuine
        assert evidence.record is None
        assert world.format.comparisons == 2

    async def test_a_wrong_secret(self, world: World) -> None:
        world.stored(key_hash=world.stranger.hash)
        evidence = await world.credentials.examine(world.key.text, HOME)
        assert (evidence.genuine, evidence.why) == (False, "wrong secret")

    async def test_a_wrong_secret_of_a_dead_key_says_no_more(self, world: World) -> None:
        world.stored(key_hash=world.stranger.hash, revoked_at=NOW)
        assert (await world.credentials.examine(world.key.text, HOME)).why == "wrong secret"

    async def test_revoked(self, world: World) -> None:
        world.stored(revoked_at=NOW)
        evidence = await world.credentials.examine(world.key.text, HOME)
        assert (evidence.genuine, evidence.why) == (False, "revoked")

    async def test_the_user_is_disabled(self, world: World) -> None:
        world.stored(user_disabled_at=NOW)
        evidence = await world.credentials.examine(world.key.text, HOME)
        assert (evidence.genuine, evidence.why) == (False, "the user is disabled")

    @pytest.mark.parametrize(
        ("expires_at", "genuine"), [(NOW - SECOND, False), (NOW, False), (NOW + SECOND, True)]
    )
    async def test_expired(self, world: World, expires_at: datetime, genuine: bool) -> None:
        world.stored(expires_at=expires_at)
        evidence = await world.credentials.examine(world.key.text, HOME)
        assert evidence.genuine is genuine
        assert evidence.why == ("" if genuine else "expired")

    @pytest.mark.parametrize(
        ("idle_timeout", "why"), [(None, ""), (3600, ""), (3599, "unused for too long")]
    )
    async def test_idle(self, world: World, idle_timeout: int | None, why: str) -> None:
        world.stored(idle_since=NOW - 3600 * SECOND, idle_timeout=idle_timeout)
        evidence = await world.credentials.examine(world.key.text, HOME)
        assert (evidence.genuine, evidence.why) == (not why, why)

    @pytest.mark.parametrize(
        ("address", "genuine"), [(HOME, True), ("198.51.100.1", False), (None, False)]
    )
    async def test_networks(self, world: World, address: str | None, genuine: bool) -> None:
        world.stored(networks=("192.0.2.0/24",))
        evidence = await world.credentials.examine(world.key.text, address)
        assert evidence.genuine is genuine
        assert evidence.why == ("" if genuine else "address not allowed")

    async def test_no_secret_stands_in_its_repr(self, world: World) -> None:
        evidence = await world.credentials.examine(world.key.text, HOME)
        secret = world.key.text.split("_")[2]
        assert secret not in repr(evidence)


class TestRotated:
    """A key with two secrets: `world.key` is the old one."""

    @pytest.fixture
    def new(self, world: World) -> NewKey:
        return world.format.new(world.key.key_id)

    def rotate(
        self, world: World, new: NewKey, *, until: datetime = NOW + SECOND, ends: bool = False
    ) -> None:
        world.stored(key_hash=new.hash, old_secret=OldSecret(world.key.hash, until, ends))

    async def test_both_work_by_two_comparisons_each(self, world: World, new: NewKey) -> None:
        self.rotate(world, new)
        for text, by_old in ((new.text, False), (world.key.text, True)):
            world.format.comparisons = 0
            evidence = await world.credentials.examine(text, HOME)
            assert (evidence.genuine, evidence.by_old) == (True, by_old)
            assert world.format.comparisons == 2

    async def test_the_old_one_until_its_deadline(self, world: World, new: NewKey) -> None:
        self.rotate(world, new, until=NOW)
        evidence = await world.credentials.examine(world.key.text, HOME)
        assert (evidence.genuine, evidence.why) == (False, "rotated secret")
        assert (await world.credentials.examine(new.text, HOME)).genuine

    async def test_neither_is_a_third_one(self, world: World, new: NewKey) -> None:
        self.rotate(world, new)
        third = world.format.new(world.key.key_id)
        evidence = await world.credentials.examine(third.text, HOME)
        assert (evidence.genuine, evidence.why) == (False, "wrong secret")
        assert world.format.comparisons == 2

    async def test_the_new_ones_use_ends_the_old_one_if_it_was_said(
        self, world: World, new: NewKey
    ) -> None:
        for ends in (False, True):
            self.rotate(world, new, ends=ends)
            assert (await world.credentials.examine(new.text, HOME)).ends_old is ends
            assert not (await world.credentials.examine(world.key.text, HOME)).ends_old
        world.stored(key_hash=new.hash, revoked_at=NOW)
        assert not (await world.credentials.examine(new.text, HOME)).ends_old

    async def test_the_old_one_is_never_rehashed(self) -> None:
        """It would take the new one's place."""
        world = World()
        newest, retiring = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
        before = ApiKeys(DerivedKeys((retiring,), "pepper", 32))
        old = before.new()
        new = before.new(old.key_id)
        world.format = CountingFormat(DerivedKeys((newest, retiring), "pepper", 32))
        world.lookup.record = replace(world.lookup.record, key_id=old.key_id)
        world.stored(key_hash=new.hash, old_secret=OldSecret(old.hash, NOW + SECOND, False))
        credentials = Credentials(world.lookup, world.format, lambda: NOW, world.usage)
        evidence = await credentials.examine(old.text, HOME)
        assert evidence.genuine
        assert credentials.rehash(evidence) is None
        assert credentials.rehash(await credentials.examine(new.text, HOME)) is not None


class TestNames:
    @pytest.mark.parametrize("name", ["Ada@Example.com", "ada@example.com", "ADA@EXAMPLE.COM"])
    def test_the_username_in_any_case(self, world: World, name: str) -> None:
        assert names(world.lookup.record, name)

    def test_the_key_id_to_the_letter(self, world: World) -> None:
        key_id = world.key.key_id
        assert names(world.lookup.record, key_id)
        assert not names(world.lookup.record, key_id.swapcase())

    @pytest.mark.parametrize("name", ["", "ada", "ada@example.com ", "ü", "u"])
    def test_nobody_else(self, world: World, name: str) -> None:
        assert not names(world.lookup.record, name)

    def test_no_record_has_no_name(self) -> None:
        assert not NOTHING.named("")


class TestClient:
    @pytest.mark.parametrize("by_key_id", [True, False])
    async def test_its_record(self, world: World, by_key_id: bool) -> None:
        name = world.key.key_id if by_key_id else "ada@example.com"
        record = await world.credentials.client(given(name, world.key.text), HOME, ("t",))
        assert record is world.lookup.record
        assert world.lookup.asked == [(world.key.key_id, ("t",))]

    async def test_it_counts_as_a_use_without_an_event(self, world: World) -> None:
        new = world.format.new(world.key.key_id)
        world.stored(key_hash=new.hash, old_secret=OldSecret(world.key.hash, NOW + SECOND, True))
        await world.credentials.client(given("ada@example.com", new.text), HOME)
        await world.refusal(given("bob@example.com", new.text))
        [(note, rehash, ends_old)] = world.usage.noted
        assert (note.action, note.outcome, note.key_id) == (None, "granted", new.key_id)
        assert (note.address, rehash, ends_old) == (HOME, None, True)

    async def test_unknown_wrong_and_dead_are_one_invalid_client(self, world: World) -> None:
        answers = [
            await world.refusal(given(None, "")),
            await world.refusal(given(None, world.key.text)),
            await world.refusal(given("ada@example.com", "")),
            await world.refusal(given("ada@example.com", "hunter2")),
            await world.refusal(given("ada@example.com", world.stranger.text)),
            await world.refusal(given("bob@example.com", world.key.text)),
            await world.refusal(given("", world.key.text)),
            await world.refusal(given(world.stranger.key_id, world.key.text)),
        ]
        world.stored(revoked_at=NOW)
        answers.append(await world.refusal(given("ada@example.com", world.key.text)))
        assert {answer.code for answer in answers} == {Code.INVALID_CLIENT}
        assert len({answer.public for answer in answers}) == 1
        for answer in answers:
            assert world.key.text not in str(answer)


class TestRehash:
    async def test_a_proven_key_moves_to_the_newest_pepper(self) -> None:
        world = World()
        newest = secrets.token_urlsafe(32)
        old = secrets.token_urlsafe(32)
        before = ApiKeys(DerivedKeys((old,), "pepper", 32)).new()
        world.format = CountingFormat(DerivedKeys((newest, old), "pepper", 32))
        world.lookup.record = replace(world.lookup.record, key_id=before.key_id, hash=before.hash)
        credentials = Credentials(world.lookup, world.format, lambda: NOW, world.usage)
        evidence = await credentials.examine(before.text, HOME)
        moved = credentials.rehash(evidence)
        assert moved is not None
        assert moved.pepper_version != before.hash.pepper_version

    async def test_not_when_it_is_there_already(self, world: World) -> None:
        evidence = await world.credentials.examine(world.key.text, HOME)
        assert world.credentials.rehash(evidence) is None

    async def test_never_what_was_not_proven(self, world: World) -> None:
        old = KeyHash(bytes(32), world.key.hash.pepper_version ^ 1)
        world.stored(key_hash=old)
        evidence = await world.credentials.examine(world.key.text, HOME)
        assert world.credentials.rehash(evidence) is None
        assert world.credentials.rehash(NOTHING) is None
        half = Evidence(evidence.presented, None, True, "")
        assert world.credentials.rehash(half) is None
