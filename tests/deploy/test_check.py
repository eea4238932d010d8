"""deploy/check.py: it asks no server, and says in one line what it did not check."""

from __future__ import annotations

import os
import runpy
from pathlib import Path
from typing import Any

import pytest

CHECK = Path(__file__).parents[2] / "deploy" / "check.py"


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The script's names; `kubectl` and `kubernetes-validate` are told below, and found first."""
    found = runpy.run_path(str(CHECK))
    places = os.pathsep.join([str(tmp_path), os.environ["PATH"]])
    monkeypatch.setitem(found["run"].__globals__, "PLACES", places)
    _tool(tmp_path / "kubectl", 'echo "$*" >> "$0.asked"; cat "$KUBECONFIG" > "$0.config"')
    _tool(tmp_path / "kubernetes-validate", "echo passed")
    return found


def _tool(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_kubectl_puts_together_and_knows_no_server(tools: dict[str, Any], tmp_path: Path) -> None:
    assert tools["overlays"]() == ""
    asked = (tmp_path / "kubectl.asked").read_text().splitlines()
    assert asked
    assert all(line.startswith("kustomize ") for line in asked)
    config = (tmp_path / "kubectl.config").read_text()
    # Named, and not there: an empty file would lead to the default, port 8080 of this machine.
    assert "current-context: none" in config
    assert "server" not in config


def test_a_kind_without_a_schema_is_told_beside_the_check(
    tools: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    unknown = "WARN: Couldn't find schema for kind ServiceMonitor with api version x"
    _tool(tmp_path / "kubernetes-validate", f'echo "{unknown}"; echo passed')
    assert list(tools["failures"]([tools["overlays"], tools["dashboards"]], everything=True)) == []
    overlays, dashboards = capsys.readouterr().out.splitlines()
    assert overlays.startswith("checked: kubernetes/overlays/")
    assert overlays.endswith("; not checked: ServiceMonitor, of which no schema is known")
    assert dashboards.endswith("; 1 file")
