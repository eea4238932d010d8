"""openapi.yaml against the running service: schemathesis makes requests, good and bad, and checks
that every answer is one that the contract describes.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import httpx

from tests.live_server import LiveServer, prepare, running

ROOT = Path(__file__).parents[2]

#: They end the run's own key: all the rest would be 401, so they come last.
LAST = (
    *("rotateOwnApiKey", "endOwnSession", "endOwnSessions", "revokeTokens"),
    *("revokeOwnApiKey", "leaveTenant"),
)
#: Seconds for each of the two runs.
SECONDS, SECONDS_LAST = 20, 5


def schemathesis(url: str, tenant: str, token: str, directory: Path, *options: str) -> None:
    """One run; fails with what it found."""
    found = subprocess.run(
        [
            sys.executable,
            "-m",
            "schemathesis.cli",
            "--config-file",
            str(ROOT / "tests" / "live" / "schemathesis.toml"),
            "run",
            str(ROOT / "openapi.yaml"),
            f"--url={url}",
            f"--header=Authorization: Bearer {token}",
            f"--header=x-tenant-id: {tenant}",
            "--seed=1",
            *options,
        ],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert found.returncode == 0, found.stdout[-20_000:].replace(token, "…")


def test_schemathesis_finds_nothing(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/keyturn.db"
    demo = prepare(url)
    # The runs outlast an ordinary token.
    server = LiveServer(tmp_path, url, demo.master_secret, access_token_lifetime=1800)
    with running(server):
        answer = httpx.post(
            f"{server.base_url}/iam/auth/token",
            json={"username": demo.admin_username, "password": demo.admin_api_key},
            headers={"x-tenant-id": demo.tenants[0]},
            timeout=30,
        )
        where = server.base_url, demo.tenants[0], answer.json()["access_token"], tmp_path
        others = [f"--exclude-operation-id={name}" for name in LAST]
        schemathesis(*where, f"--max-time={SECONDS}", *others)
        last = [f"--include-operation-id={name}" for name in LAST]
        schemathesis(*where, f"--max-time={SECONDS_LAST}", *last)
