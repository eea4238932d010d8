"""Alerts and dashboard: held against what the service shows, and against Prometheus' own tool."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from keyturn.server.telemetry.catalogue import METRICS, Kind, Metric

DEPLOY = Path(__file__).parents[2] / "deploy"
PROMETHEUS = DEPLOY / "prometheus"
RULES = PROMETHEUS / "keyturn.rules.yaml"
DASHBOARD = DEPLOY / "grafana" / "keyturn.json"

#: By the names that expressions use: with `_bucket` and the like.
SHOWN: dict[str, Metric] = {name: metric for metric in METRICS.values() for name in metric.shown}
#: What Prometheus itself adds.
OF_PROMETHEUS = {"job", "instance"}


def rules() -> list[dict[str, Any]]:
    document = yaml.safe_load(RULES.read_text(encoding="utf-8"))
    return [rule for group in document["groups"] for rule in group["rules"]]


def dashboard() -> dict[str, Any]:
    document: dict[str, Any] = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    return document


def targets() -> Iterator[tuple[str, str]]:
    """(expression, legend) of the dashboard, in numbers where Grafana would put them."""
    for panel in dashboard()["panels"]:
        for target in panel["targets"]:
            expression = target["expr"].replace("$__rate_interval", "5m")
            yield expression, target["legendFormat"]


EXPRESSIONS = [
    *[rule["expr"] for rule in rules()],
    *[expression for expression, _ in targets()],
]


def metrics_of(expression: str) -> set[str]:
    """The names of metrics in it, with their selectors cut away."""
    return set(re.findall(r"\b(?:keyturn|process)_\w+", re.sub(r"\{[^}]*\}", "", expression)))


def promtool(*arguments: str) -> None:
    tool = shutil.which("promtool")
    if tool is None:
        # `-ra` shows it at the end of every run.
        pytest.skip("NO PROMTOOL: the PromQL was not parsed (apt-get install prometheus)")
    done = subprocess.run(
        [tool, *arguments], cwd=PROMETHEUS, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


class TestExpressions:
    @pytest.mark.parametrize("expression", EXPRESSIONS)
    def test_use_what_is_shown(self, expression: str) -> None:
        names = metrics_of(expression)
        assert names or "up{" in expression
        assert names <= SHOWN.keys()

    @pytest.mark.parametrize("expression", EXPRESSIONS)
    def test_select_by_labels_that_there_are(self, expression: str) -> None:
        for name, selector in re.findall(r"\b(keyturn_\w+|process_\w+)\{([^}]*)\}", expression):
            metric = SHOWN[name]
            labels = {*metric.labels, *OF_PROMETHEUS}
            if metric.kind is Kind.HISTOGRAM:
                labels.add("le")
            assert set(re.findall(r"(\w+)\s*(?:=~|!=|!~|=)", selector)) <= labels

    @pytest.mark.parametrize("expression", EXPRESSIONS)
    def test_group_by_labels_that_there_are(self, expression: str) -> None:
        known = OF_PROMETHEUS | {"le"}
        known |= {label for name in metrics_of(expression) for label in SHOWN[name].labels}
        for group in re.findall(r"\b(?:by|on) \(([^)]*)\)", expression):
            assert {label.strip() for label in group.split(",")} <= known

    def test_a_bucket_that_is_asked_for_is_one(self) -> None:
        asked = [
            (name, float(end))
            for expression in EXPRESSIONS
            for name, end in re.findall(r'(keyturn_\w+)_bucket\{[^}]*le="([^"]+)"', expression)
        ]
        assert asked
        for name, end in asked:
            assert end in METRICS[name].bounds

    def test_every_metric_is_on_the_dashboard(self) -> None:
        used = {name for expression, _ in targets() for name in metrics_of(expression)}
        assert {metric.name for metric in METRICS.values() if not metric.shown & used} == set()


class TestRules:
    @pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
    def test_says_what_to_do(self, rule: dict[str, Any]) -> None:
        assert rule["labels"]["severity"] in {"critical", "warning", "info"}
        assert rule["annotations"]["summary"].endswith(".")
        assert len(rule["annotations"]["runbook"]) > 80

    @pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
    def test_is_tried(self, rule: dict[str, Any]) -> None:
        tests = yaml.safe_load((PROMETHEUS / "keyturn.rules.test.yaml").read_text(encoding="utf-8"))
        assert [test["name"] for test in tests["tests"]].count(rule["alert"]) == 1

    def test_promtool_tries_them(self) -> None:
        promtool("test", "rules", "keyturn.rules.test.yaml")

    def test_promtool_takes_the_scrape_example(self) -> None:
        promtool("check", "config", "prometheus.yaml")


class TestDashboard:
    def test_panels_do_not_overlap(self) -> None:
        places = [panel["gridPos"] for panel in dashboard()["panels"]]
        assert len({(place["x"], place["y"]) for place in places}) == len(places)
        ids = [panel["id"] for panel in dashboard()["panels"]]
        assert len(set(ids)) == len(ids)

    @pytest.mark.parametrize(("expression", "legend"), list(targets()))
    def test_legends_name_labels_that_are_left(self, expression: str, legend: str) -> None:
        groups = re.findall(r"\bby \(([^)]*)\)", expression)
        left = {label.strip() for group in groups for label in group.split(",")}
        assert set(re.findall(r"\{\{(\w+)\}\}", legend)) <= (left or OF_PROMETHEUS)

    def test_promtool_parses_its_promql(self, tmp_path: Path) -> None:
        written = [
            {"record": f"dashboard:{number}", "expr": expression}
            for number, (expression, _) in enumerate(targets())
        ]
        path = tmp_path / "dashboard.yaml"
        path.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": written}]}))
        promtool("check", "rules", str(path))
