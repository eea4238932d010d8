"""The metrics of a running service: scrape, use it, scrape again."""

from __future__ import annotations

import os
import re
import secrets
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from keyturn.server.telemetry.catalogue import METRICS, Kind
from tests.live_server import Live, eventually, forged_key, live_service, postgres_database
from tests.secret_scan import scan_for_secrets
from tests.servers import PostgresServer, free_port

#: How long a worker's numbers may take to be told (seconds); they should a second at most.
TOLD = 15.0

TOKENS = "keyturn_token_requests_total"
ISSUED = {"grant": "password", "outcome": "issued"}


@dataclass
class Watched:
    """A live service, and where its metrics are."""

    live: Live
    url: str

    @property
    def text(self) -> str:
        """One scrape."""
        answer = self.live.http.get(f"{self.url}/metrics")
        assert answer.status_code == 200
        return answer.text

    @property
    def workers(self) -> float:
        return self.number("keyturn_workers")

    def number(self, name: str, **labels: str) -> float:
        """One number, 0 where there is none yet."""
        return sum(
            sample.value
            for family in text_string_to_metric_families(self.text)
            for sample in family.samples
            if sample.name == name and sample.labels == labels
        )

    def moved(self, use: Callable[[], object], name: str, **labels: str) -> float:
        """By how much a number is higher after `use`, once it is any higher."""
        before = self.number(name, **labels)
        use()
        eventually(lambda: self.number(name, **labels) > before, TOLD)
        return self.number(name, **labels) - before

    def spend(self, key: str, username: str = "") -> httpx.Response:
        fields = {
            "grant_type": "password",
            "username": username or self.live.demo.username,
            "password": key,
        }
        return self.live.http.post(self.live.server.token_url, data=fields)


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def watched(
    request: pytest.FixtureRequest, log_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Watched]:
    """On SQLite one process; on PostgreSQL two, whose sum is shown."""
    with ExitStack() as stack:
        port, workers = free_port(), 1
        if request.param == "sqlite":
            url = f"sqlite:///{tmp_path_factory.mktemp('metrics')}/keyturn.db"
        else:
            server: PostgresServer = request.getfixturevalue("postgres_server")
            url, workers = stack.enter_context(postgres_database(server)), 2
        live = stack.enter_context(
            live_service(log_dir, url, metrics_port=port, workers=workers, refresh_grace=300)
        )
        yield Watched(live, f"http://127.0.0.1:{port}")


class TestCounts:
    def test_tokens_by_grant_and_outcome(self, watched: Watched) -> None:
        assert watched.moved(watched.live.exchange, TOKENS, **ISSUED) == 1

    def test_each_of_many_once_whichever_worker_answers(self, watched: Watched) -> None:
        before = watched.number(TOKENS, **ISSUED)

        def exchange_anew() -> None:
            # A connection of its own each: they spread over the workers.
            fields = {
                "grant_type": "password",
                "username": watched.live.demo.username,
                "password": watched.live.demo.api_key,
            }
            with httpx.Client() as client:
                assert client.post(watched.live.server.token_url, data=fields).is_success

        for _ in range(24):
            exchange_anew()
        eventually(lambda: watched.number(TOKENS, **ISSUED) - before >= 24, TOLD)
        assert watched.number(TOKENS, **ISSUED) - before == 24

    @pytest.mark.parametrize(
        ("key", "reason"),
        [
            ("forged", "wrong_secret"),
            ("unknown", "unknown"),
            ("mistyped", "malformed"),
        ],
    )
    def test_dead_keys_by_reason(self, watched: Watched, key: str, reason: str) -> None:
        good = watched.live.demo.api_key
        bad = {
            "forged": forged_key(good),
            "unknown": forged_key(f"kt_{'0' * 21}1_"),
            "mistyped": good[:-1] + ("x" if good[-1] != "x" else "y"),
        }[key]
        name, before = (
            "keyturn_dead_key_attempts_total",
            watched.number(TOKENS, grant="password", outcome="invalid_grant"),
        )
        # Once, though a recent record is not believed when it says no.
        watched.live.exchange()
        assert watched.moved(lambda: watched.spend(bad), name, reason=reason) == 1
        assert watched.number(TOKENS, grant="password", outcome="invalid_grant") == before + 1

    def test_refreshes_and_reuse(self, watched: Watched) -> None:
        name, live = "keyturn_refreshes_total", watched.live
        first = live.exchange()["refresh_token"]
        held: list[httpx.Response] = []

        def refresh() -> None:
            held.append(live.refresh(first))

        assert watched.moved(refresh, name, result="step") == 1
        assert watched.moved(refresh, name, result="grace") == 1
        second = held[-1].json()["refresh_token"]
        live.refresh(second)
        assert watched.moved(refresh, name, result="reuse") == 1
        assert held[-1].status_code == 400

    def test_revocations_by_kind(self, watched: Watched) -> None:
        token = watched.live.exchange()["access_token"]
        name = "keyturn_revocations_written_total"
        assert watched.moved(lambda: watched.live.revoke(token), name, kind="token") == 1

    def test_requests_by_route_and_status(self, watched: Watched) -> None:
        name, base = "keyturn_request_duration_seconds_count", watched.live.server.base_url
        url = f"{base}/iam/tenants/{secrets.token_hex(8)}"
        route = "/iam/tenants/{tenant_id}"
        routes = {
            sample.labels["route"]
            for family in text_string_to_metric_families(watched.text)
            for sample in family.samples
            if "route" in sample.labels
        }
        assert "/iam/auth/token" in routes
        assert (
            watched.moved(lambda: watched.live.http.get(url), name, route=route, status="4xx") == 1
        )

    def test_paths_that_nothing_answers_are_one_route(self, watched: Watched) -> None:
        url = f"{watched.live.server.base_url}/{secrets.token_hex(8)}"
        moved = watched.moved(
            lambda: watched.live.http.get(url),
            "keyturn_request_duration_seconds_count",
            route="none",
            status="4xx",
        )
        assert moved == 1

    def test_recent_keys(self, watched: Watched) -> None:
        name = "keyturn_recent_keys_total"
        both = sum(watched.number(name, result=result) for result in ("hit", "miss"))
        watched.live.exchange()

        def read() -> bool:
            return sum(watched.number(name, result=r) for r in ("hit", "miss")) > both

        eventually(read, TOLD)

    def test_propagation_between_workers(self, watched: Watched) -> None:
        name = "keyturn_revocation_propagation_seconds_count"
        if watched.number("keyturn_workers") == 1:
            return  # there is nobody else to hear of it

        def heard() -> float:
            return watched.number(name, source="notify") + watched.number(name, source="tail")

        before = heard()
        watched.live.revoke(watched.live.exchange()["access_token"])
        eventually(lambda: heard() > before, TOLD)


class TestStates:
    def test_what_there_is(self, watched: Watched) -> None:
        eventually(lambda: watched.number("keyturn_workers") > 0, TOLD)
        found = {family.name for family in text_string_to_metric_families(watched.text)}
        shown = {name.removesuffix("_total") for name in METRICS}
        assert found == shown

    def test_as_they_should_be(self, watched: Watched) -> None:
        on_sqlite = watched.live.server.database_url.startswith("sqlite")
        eventually(lambda: watched.number("keyturn_workers") == (1 if on_sqlite else 2), TOLD)
        assert watched.number("keyturn_revocation_list_degraded") == 0
        assert watched.number("keyturn_requests_in_flight") == 0
        assert abs(watched.number("keyturn_clock_skew_seconds")) < 1
        pools = {"transactions": 1} if on_sqlite else {"lookup": 20, "refreshes": 20}
        for pool, size in pools.items():
            assert watched.number("keyturn_database_pool_size", pool=pool) == size
        for slot, keys in (("current", 1), ("next", 1), ("retired", 0)):
            assert watched.number("keyturn_signing_keys", slot=slot, algorithm="ES256") == keys
        age = watched.number("keyturn_signing_key_age_seconds", slot="current", algorithm="ES256")
        assert 0 < age < 3600

    def test_text_says_what_each_is(self, watched: Watched) -> None:
        kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)$", watched.text, re.MULTILINE))
        for name, metric in METRICS.items():
            assert kinds[name] == metric.kind
        assert Kind.HISTOGRAM in kinds.values()


class TestNothingOfRequests:
    def test_no_label_from_request_text_and_no_secret(self, watched: Watched) -> None:
        live, base = watched.live, watched.live.server.base_url
        mark = f"Hostile{secrets.token_hex(4)}"
        text = f'{mark}"}} 1\n# TYPE {mark} counter\n'
        for path in (mark, f"iam/{mark}", f"iam/tenants/{mark}", quote(text), f"iam/auth/{mark}"):
            live.http.get(f"{base}/{path}")
        live.http.request(mark.upper(), f"{base}/iam/auth/token")
        for fields in (
            {"grant_type": "password", "username": text, "password": live.demo.api_key},
            {"grant_type": text, "username": "x", "password": "y"},
            {"grant_type": "refresh_token", "refresh_token": text},
            {"grant_type": "password", "username": "x", "password": text, "scope": text},
        ):
            live.http.post(live.server.token_url, data=fields, headers={"x-request-id": mark})
        watched.moved(
            lambda: live.http.post(live.server.token_url, data={"grant_type": mark}),
            TOKENS,
            grant="unknown",
            outcome="unsupported_grant_type",
        )
        tokens = live.exchange()
        live.me(tokens["access_token"])
        found = watched.text
        assert mark.lower() not in found.lower()
        for secret in (*tokens.values(), live.demo.api_key, live.demo.master_secret):
            assert str(secret) not in found or len(str(secret)) < 10
        for name in (live.demo.username, live.demo.key_id, *live.demo.tenants):
            assert name not in found
        assert scan_for_secrets(found) == []

    def test_nothing_on_the_service_s_own_port(self, watched: Watched) -> None:
        assert watched.live.http.get(f"{watched.live.server.base_url}/metrics").status_code == 404


class TestStart:
    def test_a_taken_port_stops_it_and_names_the_setting(
        self, log_dir: Path, tmp_path: Path, watched: Watched
    ) -> None:
        taken = watched.url.rpartition(":")[2]
        with (
            pytest.raises(RuntimeError, match="KEYTURN_METRICS_PORT"),
            live_service(log_dir, f"sqlite:///{tmp_path}/x.db", metrics_port=taken),
        ):
            pass


class TestWorkers:
    def test_what_a_dead_worker_counted_stays(
        self, log_dir: Path, postgres_server: PostgresServer
    ) -> None:
        port = free_port()
        with (
            postgres_database(postgres_server) as url,
            live_service(log_dir, url, metrics_port=port, workers=2) as live,
        ):
            watched = Watched(live, f"http://127.0.0.1:{port}")
            for _ in range(5):
                live.exchange()
            eventually(lambda: watched.number(TOKENS, **ISSUED) == 5, TOLD)
            started = r"Started server process \[(\d+)\]"
            pids = re.findall(started, live.server.log.read_text())
            os.kill(int(pids[0]), signal.SIGKILL)

            def another() -> bool:
                # The dead one's file goes with the first look after it is gone.
                told = live.server.log.read_text()
                return len(re.findall(started, told)) == 3 and watched.workers == 2

            eventually(another, 60)
            assert watched.number(TOKENS, **ISSUED) == 5
            live.exchange()
            eventually(lambda: watched.number(TOKENS, **ISSUED) == 6, TOLD)
