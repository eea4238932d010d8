"""What the README shows works when it is pasted."""

import json
import subprocess
import sys
from pathlib import Path

from tests.cli.conftest import PATIENCE, plain_environment

README = Path(__file__).parents[2] / "README.md"


def block(heading: str) -> str:
    """The first shell block below a heading."""
    below = README.read_text(encoding="utf-8").split(f"\n## {heading}\n", 1)[1]
    return below.split("```sh\n", 1)[1].split("```", 1)[0]


def test_manage_your_tenants(who: dict[str, str], tmp_path: Path) -> None:
    """In bash, with the variables that `make run` ends with."""
    program = f'keyturn() {{ "{sys.executable}" -m keyturn.cli "$@"; }}\n'
    pasted = subprocess.run(
        ["bash", "-eu"],
        input=program + block("Manage your tenants"),
        cwd=tmp_path,
        env={
            **plain_environment(),
            **{f"KEYTURN_{name.upper()}": value for name, value in who.items()},
            "KEYTURN_URL": who["url"] + "/iam",
        },
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    answers = [json.loads(line) for line in pasted.stdout.splitlines()]
    imported, role, user, explained, trail = answers
    assert imported["added"] == 2
    assert role["permissions"] == ["assets:read"]
    assert user["api_key"]["secret"].startswith("kt_")
    assert explained["endpoints"][0]["opened_by"] == [["assets:write"]]
    assert trail["items"] == []
