"""`keyturn recover`: a key for an administrator who has none, and for nobody else."""

from __future__ import annotations

import json

import pytest

from tests.cli.conftest import Run
from tests.live_server import Demo, prepare, rows

Settings = dict[str, str]


@pytest.fixture
def made(database_url: str) -> tuple[Demo, Settings]:
    demo = prepare(database_url)
    return demo, {"database_url": database_url, "master_secret": demo.master_secret}


def test_0_prints_a_key_once_and_writes_it_down(run: Run, made: tuple[Demo, Settings]) -> None:
    demo, given = made
    done = run("recover", "--username", demo.admin_username.upper(), "--json", **given)
    assert done.returncode == 0
    told = json.loads(done.stdout)
    assert told["api_key"].startswith(f"kt_{told['api_key_id']}_")
    found = rows(given["database_url"], "SELECT id, expires_at, user_id FROM api_keys")
    [key] = [row for row in found if row["id"] == told["api_key_id"]]
    assert key["expires_at"] is not None
    assert str(key["user_id"]) == told["user_id"]
    trail = rows(given["database_url"], "SELECT action, data FROM audit_events")
    [event] = [row for row in trail if row["action"] == "administrator.recovered"]
    assert json.loads(event["data"])["api_key"] == told["api_key_id"]
    assert told["api_key"] not in str(trail)


def test_1_nobody_becomes_an_administrator(run: Run, made: tuple[Demo, Settings]) -> None:
    demo, given = made
    before = rows(given["database_url"], "SELECT id FROM api_keys")
    for username in (demo.username, "nobody@example.org"):
        done = run("recover", "--username", username, **given)
        assert (done.returncode, done.stdout) == (1, "")
    assert rows(given["database_url"], "SELECT id FROM api_keys") == before


def test_1_not_without_the_master_secret(run: Run, made: tuple[Demo, Settings]) -> None:
    demo, given = made
    other = {**given, "master_secret": "0123456789abcdefghijklmnopqrstuvwxyz"}
    done = run("recover", "--username", demo.admin_username, **other)
    assert (done.returncode, done.stdout) == (1, "")
    assert "KEYTURN_MASTER_SECRET" in done.stderr
