"""A restart: what was given out stays good."""

from __future__ import annotations

import json
from pathlib import Path

from tests.live_server import live_service, rows


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


def _issued(database_url: str) -> int:
    query = "SELECT data FROM audit_events WHERE action = 'token.issued'"
    return sum(int(json.loads(row["data"])["count"]) for row in rows(database_url, query))
