"""`serve` and `dev` with metrics and traces: what stops a start, and what is off by itself."""

import importlib.util
import secrets
import socket
from pathlib import Path

import pytest

from keyturn.cli.datadir import opened
from keyturn.cli.dev import _settings
from tests.cli.conftest import Run


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, str]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    return {
        "database_url": f"sqlite:///{tmp_path}/x.db",
        "master_secret": secrets.token_urlsafe(32),
        "port": str(port),
        "metrics_port": "0",
    }


class TestServe:
    def test_1_metrics_port_in_use(self, run: Run, settings: dict[str, str]) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            settings["metrics_port"] = str(taken.getsockname()[1])
            done = run("serve", **settings)
        assert done.returncode == 1
        [line] = done.stderr.splitlines()
        assert settings["metrics_port"] in line
        assert "KEYTURN_METRICS_PORT" in line

    def test_1_traces_without_the_extra(
        self, run: Run, settings: dict[str, str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        find = importlib.util.find_spec

        def missing(name: str) -> object:
            if name.startswith("opentelemetry"):
                raise ModuleNotFoundError(name)
            return find(name)

        monkeypatch.setattr(importlib.util, "find_spec", missing)
        done = run("serve", otlp_endpoint="http://127.0.0.1:4318", **settings)
        assert done.returncode == 1
        [line] = done.stderr.splitlines()
        assert "KEYTURN_OTLP_ENDPOINT" in line
        assert "pip install 'keyturn[tracing]'" in line

    @pytest.mark.parametrize("url", ["collector:4318", "http://a:b@collector", "grpc://collector"])
    def test_2_no_url_of_a_collector(self, run: Run, settings: dict[str, str], url: str) -> None:
        done = run("serve", otlp_endpoint=url, **settings)
        assert done.returncode == 2
        [line] = done.stderr.splitlines()
        assert "KEYTURN_OTLP_ENDPOINT" in line
        assert url not in line


class TestDev:
    def test_shows_metrics_only_when_told_a_port(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("KEYTURN_METRICS_PORT", raising=False)
        with opened(tmp_path / "data") as data:
            assert _settings("127.0.0.1", 8080, data).metrics_port == 0
            monkeypatch.setenv("KEYTURN_METRICS_PORT", "9465")
            assert _settings("127.0.0.1", 8080, data).metrics_port == 9465
