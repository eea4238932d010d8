"""From SQLite to PostgreSQL: everything goes over, and what was given out before stays good."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from keyturn.server.domain.errors import StorageNotReady
from keyturn.server.domain.ids import new_id
from keyturn.server.storage import migrate, moving
from keyturn.server.storage.beside import held
from tests.live_server import SHARED_ISSUER, Demo, Live, LiveServer, prepare, rows, run, running


@pytest.fixture
def sqlite(tmp_path: Path) -> tuple[str, Demo]:
    url = f"sqlite:///{tmp_path}/keyturn.db"
    return url, prepare(url)


def quiet(*_: object) -> None:
    """No progress."""


def events(path: Path, count: int, data: str = '{"n": 1}') -> None:
    """So many rows in the trail."""
    at = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
    some = [(new_id(), at, "test", "done", data) for _ in range(count)]
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executemany(
            "INSERT INTO audit_events (id, at, action, outcome, data) VALUES (?, ?, ?, ?, ?)", some
        )


def test_tokens_and_keys_stay_good(
    sqlite: tuple[str, Demo], empty_postgres_url: str, log_dir: Path
) -> None:
    url, demo = sqlite
    old = LiveServer(log_dir, url, demo.master_secret, issuer=SHARED_ISSUER)
    new = LiveServer(log_dir, empty_postgres_url, demo.master_secret, issuer=SHARED_ISSUER)
    with httpx.Client(timeout=20) as http:
        with running(old):
            live = Live(old, demo, http)
            tokens = live.exchange()
            refreshed = live.refresh(live.exchange()["refresh_token"]).json()
            dead = live.exchange()
            live.revoke(dead["access_token"])
            # A second one is refused, and so is moving: the first one serves.
            second = LiveServer(log_dir, url, demo.master_secret)
            assert second.command("serve").wait(60) == 1
            move = old.command("migrate-store", "--to", empty_postgres_url)
            assert move.wait(60) == 1
            for server in (old, second):
                assert f"({old.pid}) uses" in server.log.read_text()
            assert old.command("secrets", "status").wait(60) == 0
        assert old.command("migrate-store", "--to", empty_postgres_url).wait(120) == 0
        assert "KEYTURN_DATABASE_URL to the target" in old.log.read_text()
        assert old.command("migrate-store", "--to", empty_postgres_url).wait(120) == 0
        with running(new):
            live = Live(new, demo, http)
            for good in (tokens, refreshed):
                assert live.me(good["access_token"]).status_code == 200
                assert live.refresh(good["refresh_token"]).status_code == 200
            assert live.me(dead["access_token"]).status_code == 401
            assert live.me(live.exchange()["access_token"]).status_code == 200
            # It is no copy of the file any more.
            process = old.command(
                "migrate-store", "--verify-only", "--json", "--to", empty_postgres_url
            )
            assert process.wait(120) == 1


def test_a_served_file_is_free_when_its_process_dies(
    sqlite: tuple[str, Demo], log_dir: Path
) -> None:
    url, demo = sqlite
    server = LiveServer(log_dir, url, demo.master_secret).start()
    with pytest.raises(StorageNotReady, match="uses"), held(url):
        pass
    server.kill()
    with held(url):
        pass


async def test_every_value_survives(sqlite: tuple[str, Demo], empty_postgres_url: str) -> None:
    url, _ = sqlite
    path = Path(url.removeprefix("sqlite:///"))
    odd = {"a": "nul\0 and é", "b": [1.0, 1.5, None, True, {"z": -1, "y": "\ud800"}]}
    events(path, 1, json.dumps(odd))
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE users SET description = 'a' || char(0) || 'b'")
        connection.execute("UPDATE users SET disabled_at = '2026-01-02 03:04:05.678901'")
        connection.execute("UPDATE users SET single_token = 0 WHERE kind = 'human'")
    tables = {t.name: t for t in await moving.move(url, empty_postgres_url, quiet)}
    assert all(table.same for table in tables.values())
    assert (tables["users"].replaced, tables["audit_events"].replaced) == (2, 1)
    found = await asyncio.to_thread(
        rows, empty_postgres_url, "SELECT * FROM users ORDER BY kind, id"
    )
    assert {row["description"] for row in found} == {"a\u2400b"}
    assert {row["disabled_at"] for row in found} == {
        datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
    }
    assert [row["single_token"] for row in found] == [False, None]
    [data] = await asyncio.to_thread(
        rows, empty_postgres_url, "SELECT data FROM audit_events WHERE action = 'test'"
    )
    assert json.loads(data["data"]) == {
        "a": "nul\u2400 and é",
        "b": [1, 1.5, None, True, {"z": -1, "y": "?"}],
    }


async def test_goes_on_where_it_was_interrupted(
    sqlite: tuple[str, Demo], empty_postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, _ = sqlite
    events(Path(url.removeprefix("sqlite:///")), 500)
    monkeypatch.setattr(moving, "BATCH", 100)

    def stop(table: str, done: int, _: int) -> None:
        if table == "audit_events" and done >= 300:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await moving.move(url, empty_postgres_url, stop)
    [half] = await asyncio.to_thread(
        rows, empty_postgres_url, "SELECT count(*) AS n FROM installation"
    )
    assert half["n"] == 0
    tables = {t.name: t for t in await moving.move(url, empty_postgres_url, quiet)}
    assert all(table.same for table in tables.values())
    assert 0 < tables["audit_events"].moved <= tables["audit_events"].rows - 300


async def test_other_data_is_left_alone(
    sqlite: tuple[str, Demo], postgres_url: str, tmp_path: Path
) -> None:
    url, _ = sqlite
    await asyncio.to_thread(prepare, postgres_url)
    with pytest.raises(StorageNotReady, match="other data"):
        await moving.move(url, postgres_url, quiet)
    [found] = await asyncio.to_thread(rows, postgres_url, "SELECT count(*) AS n FROM tenants")
    assert found["n"] == 3
    with pytest.raises(StorageNotReady, match="into PostgreSQL"):
        await moving.move(url, f"sqlite:///{tmp_path}/x.db", quiet)


async def test_a_difference_is_found(sqlite: tuple[str, Demo], empty_postgres_url: str) -> None:
    url, _ = sqlite
    await moving.move(url, empty_postgres_url, quiet)
    await asyncio.to_thread(
        rows, empty_postgres_url, "UPDATE users SET epoch = epoch + 1 WHERE kind = 'human'"
    )
    tables = await moving.move(url, empty_postgres_url, quiet, verify_only=True)
    assert [table.name for table in tables if not table.same] == ["users"]


_MEASURED = """
import asyncio, json, resource, sys
from keyturn.server.storage import moving
tables = asyncio.run(moving.move(sys.argv[1], sys.argv[2], lambda *_: None))
print(json.dumps([
    all(t.same for t in tables), sum(t.rows for t in tables),
    resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
]))
"""


@pytest.mark.slow_fault
@pytest.mark.skipif(sys.platform != "linux", reason="memory is counted in other units")
def test_many_rows_take_little_memory(sqlite: tuple[str, Demo], empty_postgres_url: str) -> None:
    url, _ = sqlite
    peaks: list[Any] = []
    run(migrate(empty_postgres_url))
    for count in (1_000, 99_000):
        events(Path(url.removeprefix("sqlite:///")), count, json.dumps({"text": "x" * 300}))
        done = subprocess.run(
            [sys.executable, "-c", _MEASURED, url, empty_postgres_url],
            capture_output=True,
            text=True,
            check=True,
            timeout=300,
        )
        peaks.append(json.loads(done.stdout))
    assert [same for same, _, _ in peaks] == [True, True]
    assert peaks[1][1] > 100_000
    # In kilobytes: the rows alone are 30 MB and more.
    assert peaks[1][2] - peaks[0][2] < 25_000
