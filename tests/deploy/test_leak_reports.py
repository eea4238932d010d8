"""deploy/secret-scanning/: the report of a scanner of one's own, by the commands that are shown."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

from tests.cli.conftest import PATIENCE, running_dev

README = Path(__file__).parents[2] / "deploy" / "secret-scanning" / "README.md"


def ran(program: str, directory: Path) -> str:
    """What the commands print."""
    done = subprocess.run(
        ["bash", "-eu"],
        input=program,
        cwd=directory,
        env={"PATH": os.environ["PATH"]},
        check=True,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    return done.stdout


def test_a_report_signed_as_shown_ends_the_key(tmp_path: Path, log_dir: Path) -> None:
    blocks = re.findall(r"^```sh\n(.*?)^```", README.read_text(), re.MULTILINE | re.DOTALL)
    [makes] = [block for block in blocks if "scanner.pub" in block]
    [reports] = [block for block in blocks if "report.json" in block]
    ran(makes, tmp_path)
    keys = str(tmp_path / "leak-keys.json")
    with running_dev(tmp_path, log_dir, leak_keys_file=keys) as running:
        (tmp_path / "found").write_text(running.line["api_key"] + "\n")
        said = ran(reports.replace("https://iam.example", running.line["issuer"]), tmp_path)
    [judged] = json.loads(said)
    assert judged["label"] == "true_positive"
