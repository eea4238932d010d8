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

#: Seconds for all requests that are made up (the planned ones come on top).
SECONDS = 20


def test_schemathesis_finds_nothing(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/keyturn.db"
    demo = prepare(url)
    # The run outlasts an ordinary token.
    server = LiveServer(tmp_path, url, demo.master_secret, access_token_lifetime=1800)
    with running(server):
        answer = httpx.post(
            f"{server.base_url}/iam/auth/token",
            json={"username": demo.admin_username, "password": demo.admin_api_key},
            headers={"x-tenant-id": demo.tenants[0]},
            timeout=30,
        )
        token = answer.json()["access_token"]
        found = subprocess.run(
            [
                sys.executable,
                "-m",
                "schemathesis.cli",
                "--config-file",
                str(ROOT / "tests" / "live" / "schemathesis.toml"),
                "run",
                str(ROOT / "openapi.yaml"),
                f"--url={server.base_url}",
                f"--header=Authorization: Bearer {token}",
                f"--header=x-tenant-id: {demo.tenants[0]}",
                f"--max-time={SECONDS}",
                # They would end the run's own key, and all the rest would be 401.
                *(f"--exclude-operation-id={name}" for name in ("revokeOwnApiKey", "leaveTenant")),
                "--seed=1",
            ],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
    assert found.returncode == 0, found.stdout[-20_000:].replace(token, "…")
