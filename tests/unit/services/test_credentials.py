"""Who is calling, told by an API key."""

import secrets
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from keyturn.server.domain.errors import Code, Refusal
from keyturn.server.domain.model import KeyHash, KeyRecord, UserKind
from keyturn.server.services.credentials import (
    NOTHING,
    ClientCredentials,
    Credentials,
    Evidence,
    names,
)
from keyturn.server.services.ports import NewKey, PresentedKey
from keyturn.server.tokens.api_keys import ApiKeys
from keyturn.server.tokens.secrets import DerivedKeys

NOW = datetime(2030, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)


class CountingFormat(ApiKeys):
    """Counts comparisons: each well-formed key must cost exactly one."""

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
        self.credentials = Credentials(self.lookup, self.format, lambda: NOW)

    def stored(
        self,
        *,
        key_hash: KeyHash | None = None,
        expires_at: datetime | None = None,
        revoked_at: datetime | None = None,
        user_disabled_at: datetime | None = None,
    ) -> None:
        self.lookup.record = replace(
            self.lookup.record,
            hash=key_hash or self.key.hash,
            expires_at=expires_at,
            revoked_at=revoked_at,
            user_disabled_at=user_disabled_at,
        )

    async def refusal(self, client: ClientCredentials) -> Refusal:
        with pytest.raises(Refusal) as caught:
            await self.credentials.client(client)
        return caught.value


@pytest.fixture
def world() -> World:
    return World()


def given(client_id: str | None, secret: str) -> ClientCredentials:
    return ClientCredentials("client_secret_post", client_id, secret)


class TestExamine:
    async def test_a_good_key_is_genuine_by_one_read_and_one_comparison(self, world: World) -> None:
        evidence = await world.credentials.examine(world.key.text, ("t",))
        assert evidence.genuine
        assert evidence.record is world.lookup.record
        assert evidence.why == ""
        assert world.lookup.asked == [(world.key.key_id, ("t",))]
        assert world.format.comparisons == 1

    @pytest.mark.parametrize("text", ["", "hunter2", "kt_", "\0", "ü" * 76])
    async def test_what_is_no_key_reaches_no_database(self, world: World, text: str) -> None:
        assert await world.credentials.examine(text) is NOTHING
        assert world.lookup.asked == []

    async def test_a_mistyped_key_reaches_no_database(self, world: World) -> None:
        text = world.key.text
        wrong = text[:-1] + ("0" if text[-1] != "0" else "1")
        assert not (await world.credentials.examine(wrong)).genuine
        assert world.lookup.asked == []

    async def test_an_unknown_key_costs_a_comparison_too(self, world: World) -> None:
        evidence = await world.credentials.examine(world.stranger.text)
        assert not evidence.genuine
        assert evidence.record is None
        assert world.format.comparisons == 1

    async def test_a_wrong_secret(self, world: World) -> None:
        world.stored(key_hash=world.stranger.hash)
        evidence = await world.credentials.examine(world.key.text)
        assert (evidence.genuine, evidence.why) == (False, "wrong secret")

    async def test_a_wrong_secret_of_a_dead_key_says_no_more(self, world: World) -> None:
        world.stored(key_hash=world.stranger.hash, revoked_at=NOW)
        assert (await world.credentials.examine(world.key.text)).why == "wrong secret"

    async def test_revoked(self, world: World) -> None:
        world.stored(revoked_at=NOW)
        evidence = await world.credentials.examine(world.key.text)
        assert (evidence.genuine, evidence.why) == (False, "revoked")

    async def test_the_user_is_disabled(self, world: World) -> None:
        world.stored(user_disabled_at=NOW)
        evidence = await world.credentials.examine(world.key.text)
        assert (evidence.genuine, evidence.why) == (False, "the user is disabled")

    @pytest.mark.parametrize(
        ("expires_at", "genuine"), [(NOW - SECOND, False), (NOW, False), (NOW + SECOND, True)]
    )
    async def test_expired(self, world: World, expires_at: datetime, genuine: bool) -> None:
        world.stored(expires_at=expires_at)
        evidence = await world.credentials.examine(world.key.text)
        assert evidence.genuine is genuine
        assert evidence.why == ("" if genuine else "expired")

    async def test_no_secret_stands_in_its_repr(self, world: World) -> None:
        evidence = await world.credentials.examine(world.key.text)
        secret = world.key.text.split("_")[2]
        assert secret not in repr(evidence)


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
        record = await world.credentials.client(given(name, world.key.text), ("t",))
        assert record is world.lookup.record
        assert world.lookup.asked == [(world.key.key_id, ("t",))]

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
        credentials = Credentials(world.lookup, world.format, lambda: NOW)
        evidence = await credentials.examine(before.text)
        moved = credentials.rehash(evidence)
        assert moved is not None
        assert moved.pepper_version != before.hash.pepper_version

    async def test_not_when_it_is_there_already(self, world: World) -> None:
        evidence = await world.credentials.examine(world.key.text)
        assert world.credentials.rehash(evidence) is None

    async def test_never_what_was_not_proven(self, world: World) -> None:
        old = KeyHash(bytes(32), world.key.hash.pepper_version ^ 1)
        world.stored(key_hash=old)
        evidence = await world.credentials.examine(world.key.text)
        assert world.credentials.rehash(evidence) is None
        assert world.credentials.rehash(NOTHING) is None
        half = Evidence(evidence.presented, None, True, "")
        assert world.credentials.rehash(half) is None
