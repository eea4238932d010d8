"""A Redis that drops entries, and one that does not let its user do everything."""

import asyncio
import logging
import secrets
from urllib.parse import urlsplit

import pytest

from keyturn.server.app import open_service
from keyturn.server.domain.errors import StorageNotReady
from keyturn.server.revocation import shared
from keyturn.server.revocation.redis_entries import key
from keyturn.server.settings import Settings

from .conftest import House, of, session
from .redis_process import RedisProcess
from .test_redis_faults import until, until_ok


class TestEviction:
    @pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl"])
    async def test_does_not_start(self, house: House, redis: RedisProcess, policy: str) -> None:
        redis.do("CONFIG", "SET", "maxmemory-policy", policy)

        with pytest.raises(StorageNotReady, match=f"maxmemory-policy {policy}.*noeviction"):
            await house.open()

    async def test_starts_when_allowed_and_says_so(self, house: House, redis: RedisProcess) -> None:
        redis.do("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
        node, view = await house.open(allow_eviction=True)
        await house.commit(session("dead"))

        assert node.state().status == "degraded"
        assert "allkeys-lru" in node.state().reason
        # What it does not have may have been evicted: it is not enough alone.
        view.deaf = True
        await asyncio.sleep(1.1)
        assert await node.find([of(session("dead"))])
        assert view.finds == 1

    async def test_is_allowed_by_a_setting(self, redis: RedisProcess, sqlite_url: str) -> None:
        redis.do("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
        given = {
            "database_url": sqlite_url,
            "master_secret": secrets.token_urlsafe(36),
            "redis_url": redis.url,
        }
        with pytest.raises(StorageNotReady):
            async with open_service(Settings.model_validate(given)):
                pass
        async with open_service(Settings.model_validate({**given, "redis_allow_eviction": True})):
            pass

    async def test_reported_when_it_begins_later(
        self,
        house: House,
        redis: RedisProcess,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        monkeypatch.setattr(shared, "LOOKS_PER_POLICY", 1)
        node, _ = await house.open()
        await until_ok(node)
        redis.do("CONFIG", "SET", "maxmemory-policy", "volatile-lru")
        await until(lambda: node.state().status == "degraded")
        assert "volatile-lru" in node.state().reason
        assert caplog.text.count("Redis may drop revocations") == 1

        redis.do("CONFIG", "SET", "maxmemory-policy", "noeviction")
        await until_ok(node)

    async def test_away_at_the_start_is_no_refusal(self, house: House, redis: RedisProcess) -> None:
        redis.freeze()
        await house.commit(session("dead"))
        node, _ = await house.open()
        assert node.state().status == "degraded"
        assert await node.find([of(session("dead"))])

        redis.go_on()
        redis.do("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
        await until(lambda: "allkeys-lru" in node.state().reason)


class TestLimitedUser:
    def _limited(self, redis: RedisProcess, *rules: str) -> House:
        redis.do("ACL", "SETUSER", "limited", "on", ">pw", "~*", "&*", "+@all", *rules)
        netloc = f"limited:pw@127.0.0.1:{redis.port}"
        return House(urlsplit(redis.url)._replace(netloc=netloc).geturl())

    async def test_needs_no_more_than_this(self, redis: RedisProcess) -> None:
        needed = ("+info", "+mget", "+eval", "+set", "+del", "+get", "+exists")
        house = self._limited(redis, "-@all", "resetkeys", "~{keyturn}:revoked:*", *needed)
        async with house.stack:
            node, _ = await house.open()
            await until_ok(node)
            await house.revoke(node, session("dead"))
            assert redis.do("EXISTS", key(of(session("dead")))) == 1
            assert await node.find([of(session("dead"))])

    async def test_that_hides_the_policy(
        self, redis: RedisProcess, caplog: pytest.LogCaptureFixture
    ) -> None:
        redis.do("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
        house = self._limited(redis, "-config", "-info", "+info|server")
        with caplog.at_level(logging.WARNING):
            async with house.stack:
                node, _ = await house.open()
                await until_ok(node)
                await house.revoke(node, session("dead"))
                assert redis.do("EXISTS", key(of(session("dead")))) == 1
        assert caplog.text.count("Redis does not tell its maxmemory-policy") == 1

    async def test_that_hides_restarts(
        self, redis: RedisProcess, caplog: pytest.LogCaptureFixture
    ) -> None:
        house = self._limited(redis, "-info")
        with caplog.at_level(logging.WARNING):
            async with house.stack:
                node, _ = await house.open()
                await house.revoke(node, session("dead"))
                assert node.state().status == "degraded"
                assert await node.find([of(session("dead"))])
        assert caplog.text.count("its user may not call INFO") == 1

    async def test_that_may_not_write(self, redis: RedisProcess) -> None:
        house = self._limited(redis, "-eval")
        async with house.stack:
            node, _ = await house.open()
            await house.revoke(node, session("dead"))
            assert "NoPermission" in node.state().reason
            assert await node.find([of(session("dead"))])
