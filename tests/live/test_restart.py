"""Restarts, crashes and an absent database: what was given out stays good, faults are ours."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from tests.live_server import (
    SHARED_ISSUER,
    LiveServer,
    eventually,
    live_service,
    new_master_secret,
    run,
    running,
)
from tests.servers import (
    PostgresServer,
    ServerError,
    bundled_postgres,
    die_with_parent,
    installed_postgres,
    start_postgres,
)

# The promise is 5 seconds; the machines that test it are slow and shared.
RECOVERY_SECONDS = 5.0 * 3
#: No answer may take longer than this while the database is away.
PATIENCE_SECONDS = 10.0


class TestRestart:
    def test_everything_given_out_stays_good(self, log_dir: Path, database_url: str) -> None:
        # A grace that a restart on a slow machine does not outlast.
        with live_service(log_dir, database_url, refresh_grace=120) as live:
            exchanged, ended = live.exchange(), live.exchange()
            spent = live.exchange()
            refreshed = live.refresh(spent["refresh_token"]).json()
            live.revoke(ended["refresh_token"])
            keys = live.http.get(live.server.jwks_url).json()

            assert live.server.stop() == 0
            live.server.start()

            assert live.http.get(live.server.jwks_url).json() == keys
            for tokens in (exchanged, spent, refreshed):
                assert live.me(tokens["access_token"]).status_code == 200
                assert live.introspect(tokens["access_token"])["active"] is True
            # Within the grace a retry after the restart gets what it would have got before it.
            again = live.refresh(spent["refresh_token"])
            assert again.json().get("refresh_token") == refreshed["refresh_token"]
            for tokens in (exchanged, refreshed):
                assert live.refresh(tokens["refresh_token"]).status_code == 200
            live.exchange()
            # What was revoked stays revoked, from the first request on.
            assert live.me(ended["access_token"]).status_code == 401
            assert live.introspect(ended["access_token"]) == {"active": False}
            assert live.refresh(ended["refresh_token"]).json()["error"] == "invalid_grant"

    def test_usage_is_written_before_the_end(self, log_dir: Path, database_url: str) -> None:
        with live_service(log_dir, database_url) as live:
            live.exchange()
            assert live.server.stop() == 0
            assert _issued(database_url) == 1


class TestKill9:
    SESSIONS = 4

    def test_each_refresh_token_is_spent_with_one_successor_or_unspent(
        self, log_dir: Path, database_url: str
    ) -> None:
        with live_service(log_dir, database_url, refresh_grace=120) as live:
            chains = [[live.exchange()["refresh_token"]] for _ in range(self.SESSIONS)]
            threads = [
                threading.Thread(target=_refresh_until_it_dies, args=(live.server.token_url, chain))
                for chain in chains
            ]
            for thread in threads:
                thread.start()
            eventually(lambda: all(len(chain) > 5 for chain in chains), 30)
            live.server.kill()
            for thread in threads:
                thread.join()

            live.server.start()

            for chain in chains:
                # Unspent, or spent without our hearing of it: either way this one goes on.
                answer = live.refresh(chain[-1])
                assert answer.status_code == 200, answer.text
                successor = answer.json()["refresh_token"]
                assert successor not in chain
                assert live.refresh(chain[-1]).json()["refresh_token"] == successor
                newest = live.refresh(successor)
                assert newest.status_code == 200
                # And what was heard of was spent: it is reuse now.
                assert live.refresh(chain[-2]).json()["error"] == "invalid_grant"
                refused = live.refresh(newest.json()["refresh_token"])
                assert refused.json()["error"] == "invalid_grant"


class TestFirstStart:
    def test_two_at_once_make_one_key(self, log_dir: Path, postgres_url: str) -> None:
        secret = new_master_secret()
        servers = [
            LiveServer(log_dir, postgres_url, secret, issuer=SHARED_ISSUER) for _ in range(2)
        ]
        with running(*servers):
            documents = [httpx.get(server.jwks_url).json() for server in servers]
            assert documents[0] == documents[1]
            assert len(documents[0]["keys"]) == 1
        rows = run(_fetch(postgres_url, "SELECT kid, slot FROM signing_keys"))
        assert rows == [{"kid": documents[0]["keys"][0]["kid"], "slot": "current"}]
        events = "SELECT target FROM audit_events WHERE action = 'signing_key.created'"
        assert run(_fetch(postgres_url, events)) == [{"target": rows[0]["kid"]}]


class TestDatabaseAway:
    def test_503_until_it_is_back(self, log_dir: Path) -> None:
        with _own_postgres() as postgres, live_service(log_dir, postgres.url) as live:
            tokens, other = live.exchange(), live.exchange()
            revoked = live.exchange()["access_token"]
            live.revoke(revoked)
            fields = {"username": live.demo.username, "password": live.demo.api_key}
            refresh = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]}
            admin = (live.demo.admin_username, live.demo.admin_api_key)
            ask = {"token": tokens["access_token"]}
            server = live.server

            command = _stop_hard(postgres)

            for _ in range(2):
                _assert_unavailable(lambda: live.http.post(server.token_url, json=fields))
                _assert_unavailable(lambda: live.http.post(server.token_url, data=refresh))
                _assert_unavailable(
                    lambda: live.http.post(server.introspect_url, data=ask, auth=admin)
                )
                _assert_unavailable(
                    lambda: live.http.post(
                        server.revoke_url, data={"token": other["refresh_token"]}
                    )
                )
            # Not accepted and not refused: nobody knows now.
            answer = live.me(tokens["access_token"])
            assert answer.status_code == 503
            assert answer.headers["content-type"] == "application/problem+json"
            # What needs no database is answered, so that tokens can be checked offline.
            for path in (
                "/.well-known/jwks.json",
                "/.well-known/oauth-authorization-server",
                "/.well-known/openid-configuration",
                "/health/live",
            ):
                assert live.http.get(server.base_url + path).status_code == 200
            ready = live.http.get(f"{server.base_url}/health/ready")
            assert ready.status_code == 503
            assert ready.json()["checks"]["database"] == "unavailable"
            # What is wrong whatever the database says is still the client's fault.
            answer = live.http.post(server.token_url, json={**fields, "password": "kt_wrong"})
            assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")

            _start_again(postgres, command)

            took = eventually(
                lambda: live.http.post(server.token_url, json=fields).status_code == 200,
                RECOVERY_SECONDS,
            )
            print(f"exchanges again {took:.2f} s after PostgreSQL's return")
            assert live.refresh(tokens["refresh_token"]).status_code == 200
            assert live.refresh(other["refresh_token"]).status_code == 200
            eventually(lambda: live.me(tokens["access_token"]).status_code == 200, 5)
            assert live.me(revoked).status_code == 401
            live.revoke(other["access_token"])
            assert live.me(other["access_token"]).status_code == 401
            eventually(lambda: _is_ready(server), RECOVERY_SECONDS)

    def test_not_there_at_the_start(self, log_dir: Path) -> None:
        with _own_postgres() as postgres, live_service(log_dir, postgres.url) as live:
            live.server.stop()
            command = _stop_hard(postgres)
            with pytest.raises(RuntimeError, match=r"(?s)exit status 3.*a store is unavailable"):
                live.server.start()
            _start_again(postgres, command)
            live.server.start()
            live.exchange()


def _assert_unavailable(call: Any) -> None:
    started = time.monotonic()
    answer = call()
    assert time.monotonic() - started < PATIENCE_SECONDS
    assert answer.status_code == 503, answer.text
    assert int(answer.headers["retry-after"]) >= 1
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert set(body) == {"error", "error_description"}
    assert body["error"] == "temporarily_unavailable"


def _refresh_until_it_dies(url: str, chain: list[str]) -> None:
    with httpx.Client(timeout=20) as client:
        while True:
            form = {"grant_type": "refresh_token", "refresh_token": chain[-1]}
            try:
                answer = client.post(url, data=form)
            except httpx.TransportError:
                return
            chain.append(answer.json()["refresh_token"])


def _is_ready(server: LiveServer) -> bool:
    answer = httpx.get(f"{server.base_url}/health/ready")
    return answer.status_code == 200 and bool(answer.json()["status"] == "ok")


def _issued(database_url: str) -> int:
    query = "SELECT data FROM audit_events WHERE action = 'token.issued'"
    if database_url.startswith("sqlite"):
        with closing(sqlite3.connect(database_url.removeprefix("sqlite:///"))) as connection:
            found = [row[0] for row in connection.execute(query)]
    else:
        found = [row["data"] for row in run(_fetch(database_url, query))]
    return sum(int(json.loads(data)["count"]) for data in found)


async def _fetch(database_url: str, query: str) -> list[dict[str, Any]]:
    connection = await asyncpg.connect(database_url)
    try:
        return [dict(row) for row in await connection.fetch(query)]
    finally:
        await connection.close()


# --- a PostgreSQL to be killed -------------------------------------------------------------------


@contextmanager
def _own_postgres() -> Iterator[PostgresServer]:
    # Never the one that the environment names: it is somebody's.
    server = start_postgres([*installed_postgres(), *bundled_postgres()])
    try:
        yield server
    finally:
        server.stop()


def _stop_hard(server: PostgresServer) -> list[str | Path]:
    """Kills it. Gives the command that starts it again, with its data, on its port."""
    process = server._process
    assert process is not None
    command = list(process.args)  # type: ignore[arg-type]
    process.kill()
    process.wait()
    return command  # type: ignore[return-value]


def _start_again(server: PostgresServer, command: list[str | Path]) -> None:
    assert server.directory is not None
    assert server.binary is not None
    owner = server.directory.stat()
    account = (
        {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": []}
        if not os.geteuid()
        else {}
    )
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        process = server._process = subprocess.Popen(
            command,
            env={**os.environ, **server.binary.env},
            cwd=server.directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=die_with_parent(PostgresServer.stop_signal),  # noqa: PLW1509
            **account,  # type: ignore[call-overload]
        )
        # It ends at once as long as processes of the killed one hold the shared memory.
        while process.poll() is None and time.monotonic() < deadline:
            lines = (server.directory / "data" / "postmaster.pid").read_text().splitlines()
            if len(lines) >= 8 and lines[0] == str(process.pid) and lines[7].strip() == "ready":
                return
            time.sleep(0.02)
        time.sleep(0.1)
    raise ServerError("PostgreSQL does not start again")
