"""What the files of deploy/ say to each other, and to the service, fits together."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from keyturn.server.settings import Settings, describe

DEPLOY = Path(__file__).parents[2] / "deploy"
KNOWN = {row[0] for row in describe()}
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose" / "compose.yaml").read_text())
BASE = DEPLOY / "kubernetes" / "base"
OVERLAYS = sorted((DEPLOY / "kubernetes" / "overlays").iterdir())
UNIT = (DEPLOY / "systemd" / "keyturn.service").read_text()


def of_file(path: Path) -> dict[str, str]:
    """The variables of an environment file."""
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


def of_compose() -> dict[str, str]:
    """Those of a node, as Compose fills them in."""
    given = COMPOSE["services"]["keyturn-1"]["environment"]
    return {name: re.sub(r"\$\{\w+:-(.*)\}", r"\1", value) for name, value in given.items()}


def of_overlay(overlay: Path) -> dict[str, str]:
    """Those of the pods."""
    [changed] = yaml.safe_load((overlay / "kustomization.yaml").read_text())["configMapGenerator"]
    return of_file(BASE / "keyturn.env") | dict(
        literal.split("=", 1) for literal in changed["literals"]
    )


ENVIRONMENTS = {
    "example": of_file(DEPLOY / "env" / "keyturn.env.example"),
    "compose": of_compose(),
    **{overlay.name: of_overlay(overlay) for overlay in OVERLAYS},
}
#: Those that are named in a comment, or by the unit.
MENTIONED = set(
    re.findall(r"KEYTURN_[A-Z_]+_FILE", (DEPLOY / "env" / "keyturn.env.example").read_text() + UNIT)
)


def settings(environment: Mapping[str, str]) -> Settings:
    """What the service makes of it; what is secret is in files that are elsewhere."""
    return Settings(
        **{
            name.removeprefix("KEYTURN_").lower(): value
            for name, value in environment.items()
            if not name.endswith("_FILE")
        }
    )


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_every_variable_is_a_setting_and_has_a_value_that_is_taken(name: str) -> None:
    environment = ENVIRONMENTS[name]
    assert environment.keys() <= KNOWN
    assert settings(environment).public_url.startswith("https://")
    assert not environment.keys() & {
        row[0].removesuffix("_FILE") for row in describe() if row[0].endswith("_FILE")
    }


def test_without_redis_what_names_its_url_is_emptied() -> None:
    component = DEPLOY / "kubernetes" / "components" / "without-redis" / "kustomization.yaml"
    [changed] = yaml.safe_load(component.read_text())["configMapGenerator"]
    assert changed["literals"] == ["KEYTURN_REDIS_URL_FILE="]
    assert of_file(BASE / "keyturn.env")["KEYTURN_REDIS_URL_FILE"]


def test_every_secret_that_is_mentioned_is_a_setting() -> None:
    assert {"KEYTURN_MASTER_SECRET_FILE", "KEYTURN_DATABASE_URL_FILE"} <= MENTIONED <= KNOWN


def stopping(environment: Mapping[str, str]) -> int:
    """Seconds that a stop may take."""
    told = settings(environment)
    return told.shutdown_drain + told.shutdown_grace


@pytest.mark.parametrize("overlay", OVERLAYS, ids=lambda path: path.name)
def test_kubernetes_waits_for_the_end_and_readiness_fails_within_the_drain(overlay: Path) -> None:
    environment = of_overlay(overlay)
    spec = yaml.safe_load((BASE / "deployment.yaml").read_text())["spec"]["template"]["spec"]
    assert spec["terminationGracePeriodSeconds"] >= stopping(environment) + 5
    probe = spec["containers"][0]["readinessProbe"]
    noticed = probe["periodSeconds"] * probe["failureThreshold"]
    assert noticed < settings(environment).shutdown_drain
    ports = {port["name"]: str(port["containerPort"]) for port in spec["containers"][0]["ports"]}
    assert ports == {
        "http": environment["KEYTURN_PORT"],
        "metrics": environment["KEYTURN_METRICS_PORT"],
    }


def test_compose_and_systemd_wait_for_the_end() -> None:
    for name, service in COMPOSE["services"].items():
        if name.startswith("keyturn-"):
            assert int(service["stop_grace_period"].removesuffix("s")) > stopping(of_compose())
    found = re.search(r"^TimeoutStopSec=(\d+)$", UNIT, re.MULTILINE)
    assert found
    assert int(found[1]) >= stopping(ENVIRONMENTS["example"]) + 5


def test_nothing_that_is_secret_stands_in_a_manifest() -> None:
    for path in (DEPLOY / "kubernetes").rglob("*.yaml"):
        for document in yaml.safe_load_all(path.read_text()):
            assert document["kind"] != "Secret"


def test_compose_puts_the_nodes_where_nginx_looks_and_trusts_nginx_alone() -> None:
    services = COMPOSE["services"]
    address = {
        name: service["networks"]["front"]["ipv4_address"]
        for name, service in services.items()
        if "front" in service["networks"]
    }
    upstreams = (DEPLOY / "compose" / "upstreams.conf").read_text()
    for name in ("keyturn-1", "keyturn-2"):
        assert f"server {address[name]}:8080 " in upstreams
    assert f"server {address['assets']}:8000;" in upstreams
    assert of_compose()["KEYTURN_TRUSTED_PROXIES"] == f"{address['nginx']}/32"
