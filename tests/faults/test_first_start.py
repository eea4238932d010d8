"""Two processes on an empty database, at once: one schema, one signing key and the next (P6)."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from keyturn.server.storage.schema import REVISIONS
from tests.live_server import (
    SHARED_ISSUER,
    LiveServer,
    eventually,
    new_master_secret,
    rows,
    running,
)


@pytest.mark.slow_fault
def test_one_schema_and_one_key(log_dir: Path, empty_database_url: str) -> None:
    secret = new_master_secret()
    servers = [
        LiveServer(log_dir, empty_database_url, secret, issuer=SHARED_ISSUER) for _ in range(2)
    ]
    for process in [server.command("migrate") for server in servers]:
        assert process.wait(120) == 0
    assert rows(empty_database_url, "SELECT version_num FROM alembic_version") == [
        {"version_num": REVISIONS[-1]}
    ]
    if empty_database_url.startswith("sqlite"):
        # One process serves a file: of two at once the other one ends, and says why.
        for server in servers:
            server.launch()
        eventually(lambda: sum(server.alive for server in servers) == 1, 60)
        [winner] = [server for server in servers if server.alive]
        [loser] = [server for server in servers if not server.alive]
        assert "One process serves an SQLite file" in loser.log.read_text()
        winner.wait_until_ready()
        documents = [httpx.get(winner.jwks_url).json()]
        for server in servers:
            server.stop()
    else:
        with running(*servers):
            documents = [httpx.get(server.jwks_url).json() for server in servers]
        assert documents[0] == documents[1]
    published = sorted(key["kid"] for key in documents[0]["keys"])
    stored = rows(empty_database_url, "SELECT kid, slot FROM signing_keys ORDER BY kid")
    assert [row["kid"] for row in stored] == published
    # One that signs, and perhaps the one that is to follow it; never two for a slot.
    slots = [row["slot"] for row in stored]
    assert slots.count("current") == 1
    assert len(set(slots)) == len(slots)
    assert set(slots) <= {"current", "next"}
    events = "SELECT target FROM audit_events WHERE action = 'signing_key.created' ORDER BY target"
    assert [row["target"] for row in rows(empty_database_url, events)] == published
