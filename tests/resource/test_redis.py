"""The source that reads the service's own Redis: as the service writes it, and only while whole."""

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from keyturn.resource import InvalidToken, Unavailable, WrongTenant
from keyturn.resource.redis import RedisRevocations
from keyturn.server.domain.model import Revocation, RevocationKind
from keyturn.server.revocation.redis import Link
from tests.resource.attacks import token
from tests.resource.world import KEY, NOW, A, B, FakeService, Time, listing, signed, verifying
from tests.unit.revocation.redis_process import RedisProcess

# Redis drops entries by its own clock, not by the tests'.
ENDS = datetime.fromtimestamp(max(NOW, datetime.now(UTC).timestamp()), UTC) + timedelta(hours=1)


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisProcess]:
    process = RedisProcess(Path(tmp_path_factory.mktemp("redis")))
    process.start()
    yield process
    process.kill()


@pytest.fixture
async def source(redis: RedisProcess) -> AsyncIterator[RedisRevocations]:
    redis.heal()
    redis.do("FLUSHALL")
    await fill(redis)
    source = RedisRevocations(redis.url, timeout=0.5)
    yield source
    await source.close()


async def fill(redis: RedisProcess, *entries: Revocation) -> None:
    """As a node of the service does."""
    link = await Link.open(redis.url, 1.0)
    filling = await link.begin_filling()
    await link.fill(entries, datetime.now(UTC))
    assert await link.end_filling(filling)
    await link.close()


async def judged(source: RedisRevocations, text: str, tenant: str = A, **changes: str) -> None:
    async with verifying(FakeService(), Time(), revocation=source, **changes) as verifier:
        await verifier.caller(text, tenant)


class TestReading:
    async def test_nothing_there_is_live(self, source: RedisRevocations) -> None:
        await judged(source, signed())
        await judged(source, token(KEY, listing({A: [], B: []})))

    @pytest.mark.parametrize(
        ("kind", "name", "epoch"),
        [
            (RevocationKind.TOKEN, "jti-1", None),
            (RevocationKind.SESSION, "sid-1", None),
            (RevocationKind.KEY, "key-1", None),
            (RevocationKind.USER, "user-1", 6),
            (RevocationKind.USER, "user-1", None),
            (RevocationKind.EVERYTHING, "*", 6),
            (RevocationKind.SIGNING_KEY, KEY.kid or "", None),
            (RevocationKind.TENANT, A, None),
        ],
        ids=["token", "session", "key", "epoch", "user", "everything", "signing key", "tenant"],
    )
    async def test_what_the_service_writes_ends_the_token(
        self,
        source: RedisRevocations,
        redis: RedisProcess,
        kind: RevocationKind,
        name: str,
        epoch: int | None,
    ) -> None:
        await fill(redis, Revocation(kind, name, ENDS, epoch))
        with pytest.raises(InvalidToken):
            await judged(source, signed())

    async def test_an_epoch_that_is_not_below_does_not(
        self, source: RedisRevocations, redis: RedisProcess
    ) -> None:
        await fill(redis, Revocation(RevocationKind.USER, "user-1", ENDS, 5))
        await judged(source, signed())

    async def test_a_suspended_tenant_is_403_in_it_only(
        self, source: RedisRevocations, redis: RedisProcess
    ) -> None:
        await fill(redis, Revocation(RevocationKind.TENANT, B, ENDS))
        text = token(KEY, listing({A: [], B: []}))
        await judged(source, text)
        with pytest.raises(WrongTenant):
            await judged(source, text, B)


class TestNotToBeTrusted:
    async def test_flushed_is_503(self, source: RedisRevocations, redis: RedisProcess) -> None:
        await judged(source, signed())
        redis.do("FLUSHALL")
        with pytest.raises(Unavailable):
            await judged(source, signed())

    async def test_another_process_marker_is_503(
        self, source: RedisRevocations, redis: RedisProcess
    ) -> None:
        redis.do("SET", "{keyturn}:revoked:complete", "0" * 40)
        with pytest.raises(Unavailable):
            await judged(source, signed())
        await judged(source, signed(), when_stale="accept")

    async def test_garbage_is_503(self, source: RedisRevocations, redis: RedisProcess) -> None:
        redis.do("SET", "{keyturn}:revoked:token:jti-1", "x")
        with pytest.raises(Unavailable):
            await judged(source, signed())

    async def test_frozen_is_503_in_bounded_time_and_comes_back(
        self, redis: RedisProcess, source: RedisRevocations
    ) -> None:
        time = Time()
        own = RedisRevocations(redis.url, timeout=0.1, monotonic=time.monotonic)
        await judged(own, signed())
        redis.freeze()
        with pytest.raises(Unavailable):
            await judged(own, signed())
        redis.go_on()
        with pytest.raises(Unavailable):  # it is left alone for a moment
            await judged(own, signed())
        time.advance(1)
        await judged(own, signed())


class TestUrl:
    @pytest.mark.parametrize("url", ["", "http://x", "redis+sentinel://u:secret@h/name"])
    def test_that_cannot_be_is_refused_without_quoting_it(self, url: str) -> None:
        with pytest.raises(ValueError, match="cannot be used") as caught:
            RedisRevocations(url)
        assert "secret" not in str(caught.value)
