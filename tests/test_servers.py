"""The servers the other tests stand on."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import asyncpg
import pytest
from redis.asyncio import Redis

from tests import servers
from tests.servers import Binary, PostgresServer, RedisServer, ServerError

ROOT = Path(__file__).parent.parent


async def ask_postgres(url: str, question: str) -> object:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(question)
    finally:
        await connection.close()


async def ping(url: str) -> bool:
    client = Redis.from_url(url)
    try:
        return bool(await client.ping())
    finally:
        await client.aclose()


class TestPostgres:
    async def test_answers(self, postgres_server: PostgresServer) -> None:
        assert await ask_postgres(postgres_server.url, "select 1") == 1

    async def test_may_create_databases(self, postgres_server: PostgresServer) -> None:
        may = "select rolcreatedb from pg_roles where rolname = current_user"
        assert await ask_postgres(postgres_server.url, may) is True

    async def test_starts_from_the_wheel_and_stops(self) -> None:
        with servers.running_postgres(servers.bundled_postgres()) as server:
            assert await ask_postgres(server.url, "select 1") == 1
            pid, directory = server.pid, server.directory
        assert pid is not None
        assert directory is not None
        assert not directory.exists()
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)

    async def test_settings_replace_the_defaults(self) -> None:
        binaries = [*servers.installed_postgres(), *servers.bundled_postgres()]
        with servers.running_postgres(binaries, {"synchronous_commit": "on"}) as server:
            assert await ask_postgres(server.url, "show synchronous_commit") == "on"
            assert await ask_postgres(server.url, "show fsync") == "off"

    def test_an_unprivileged_copy_is_made_where_the_wheel_cannot_be_reached(
        self, tmp_path: Path
    ) -> None:
        if os.geteuid() != 0:
            return  # only root drops to another user
        hidden = tmp_path / "hidden"
        original = servers.bundled_postgres()[0]
        hidden.mkdir(mode=0o700)
        (hidden / "install").symlink_to(original.path.parent.parent)
        binary = Binary(hidden / "install" / "bin" / "postgres", "hidden", original.env)
        with servers.running_postgres([binary]) as server:
            assert server.directory is not None
            assert (server.directory / "install" / "bin" / "postgres").is_file()


class TestRedis:
    async def test_answers(self, redis_server: RedisServer) -> None:
        assert await ping(redis_server.url)

    async def test_starts_from_the_wheel_and_keeps_nothing(self) -> None:
        with servers.running_redis(servers.bundled_redis()) as server:
            client = Redis.from_url(server.url, decode_responses=True)
            assert await client.config_get("save", "appendonly", "maxmemory-policy") == {
                "save": "",
                "appendonly": "no",
                "maxmemory-policy": "noeviction",
            }
            await client.aclose()


class TestNoServer:
    def test_a_broken_binary_gives_way_to_the_next(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        broken = tmp_path / "redis-server"
        broken.write_text("#!/bin/sh\ntest $1 = --version && echo v=9.0.0 && exit\nexit 3\n")
        broken.chmod(0o755)
        tried = [Binary(broken, "broken"), *servers.bundled_redis()]
        with servers.running_redis(tried) as server:
            assert server.binary == tried[1]
        assert "broken" in capsys.readouterr().err

    def test_an_old_version_is_passed_over(self, tmp_path: Path) -> None:
        old = tmp_path / "redis-server"
        old.write_text("#!/bin/sh\necho 'Redis server v=6.2.1 sha=0'\n")
        old.chmod(0o755)
        with pytest.raises(ServerError, match="version 6, and 7 is the oldest"):
            servers.start_redis([Binary(old, "old")])

    @pytest.mark.parametrize(
        ("start", "variable"),
        [
            (servers.start_postgres, servers.POSTGRES_URL),
            (servers.start_redis, servers.REDIS_URL),
        ],
    )
    def test_none_is_a_failure_that_says_what_to_do(self, start: object, variable: str) -> None:
        assert callable(start)
        with pytest.raises(ServerError, match=f"nothing was found(.|\n)*{variable}"):
            start([])


def test_named_servers_are_used_and_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(servers.POSTGRES_URL, "postgresql://somewhere")
    monkeypatch.setenv(servers.REDIS_URL, "redis://somewhere")
    with servers.running_postgres() as postgres, servers.running_redis() as redis:
        assert (postgres.url, postgres.pid) == ("postgresql://somewhere", None)
        assert (redis.url, redis.pid) == ("redis://somewhere", None)


def test_the_command_runs_both_until_it_is_stopped() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "tests.servers"], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        urls = {}
        for line in process.stdout:
            if line.startswith("export "):
                name, _, url = line.removeprefix("export ").strip().partition("=")
                urls[name] = url
            if line.startswith("# Ctrl-C"):
                break
        assert asyncio.run(ask_postgres(urls[servers.POSTGRES_URL], "select 1")) == 1
        assert asyncio.run(ping(urls[servers.REDIS_URL]))
        process.terminate()
        assert process.wait(30) == 0
