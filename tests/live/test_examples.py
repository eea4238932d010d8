"""`deploy/examples/`: a resource server and its client, run as they are, against the service."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

import keyturn
from tests.live_server import Live, eventually
from tests.servers import die_with_parent, end_process, free_port

EXAMPLES = Path(__file__).parents[2] / "deploy" / "examples"
PERMISSIONS = {
    "assets:manage": "Asset Management",
    "data:manage": "Data Management",
    "logics:manage": "Develop and Manage Data Logics",
    "system:manage": "System Management",
    "operations:manage": "Operations Management",
}


def environment(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("KEYTURN_")}
    return kept | {"PYTHONPATH": str(Path(keyturn.__file__).parents[1])} | more


@dataclass
class Admin:
    """The platform's administrator, in the demo's first tenant."""

    live: Live

    @property
    def tenant(self) -> str:
        return self.live.demo.tenants[0]

    def call(self, method: str, path: str, body: Any = None) -> Any:
        demo, server = self.live.demo, self.live.server
        keys = {"username": demo.admin_username, "password": demo.admin_api_key}
        answer = self.live.http.post(server.token_url, json=keys)
        headers = {
            "Authorization": f"Bearer {answer.json()['access_token']}",
            "x-tenant-id": self.tenant,
        }
        url = f"{server.base_url}/iam{path}"
        answer = self.live.http.request(method, url, headers=headers, json=body)
        assert answer.is_success, answer.text
        return answer.json() if answer.content else None

    def robot(self, name: str, *permissions: str, **key: Any) -> dict[str, str]:
        """A service user with a role of these, as the environment of a program."""
        role = {"name": f"{name}-role", "permissions": list(permissions)}
        new = {
            "name": name,
            "role_id": self.call("POST", "/roles", role)["id"],
            "api_key": {"name": "key", **key},
        }
        made = self.call("POST", "/service-users", new)
        return {
            "KEYTURN_URL": self.live.server.base_url,
            "KEYTURN_USERNAME": made["email"],
            "KEYTURN_API_KEY": made["api_key"]["secret"],
            "KEYTURN_TENANT": self.tenant,
        }


@dataclass
class Assets:
    """The example, running."""

    url: str
    admin: Admin

    def client(self, who: dict[str, str], *names: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, str(EXAMPLES / "client.py"), *names],
            env=environment(ASSETS_URL=self.url, **who),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


@pytest.fixture
def assets(live: Live, log_dir: Path) -> Iterator[Assets]:
    admin = Admin(live)
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    described = subprocess.run(
        [sys.executable, str(EXAMPLES / "assets.py"), "openapi"],
        env=environment(),
        capture_output=True,
        timeout=60,
        check=True,
    )
    document = json.loads(described.stdout)
    admin.call("POST", "/endpoints/import", {"service": "assets", "document": document})
    for name, text in PERMISSIONS.items():
        admin.call("PUT", f"/permissions/{name}", {"description": text})
    admin.call("POST", "/resource-servers", {"identifier": url, "name": "assets"})
    who = admin.robot("assets", "tokens:introspect")
    with (log_dir / f"assets-{port}.log").open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "uvicorn", "assets:app", "--port", str(port)],
            cwd=EXAMPLES,
            env=environment(ISSUER=live.server.base_url, AUDIENCE=url, **who)
            | {"PYTHONDONTWRITEBYTECODE": "1"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            preexec_fn=die_with_parent(signal.SIGTERM),  # noqa: PLW1509
        )
    try:
        eventually(lambda: process.poll() is not None or _up(url), 60)
        yield Assets(url, admin)
    finally:
        end_process(process, signal.SIGTERM)


def _up(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health").status_code == 200
    except httpx.TransportError:
        return False


def test_both(assets: Assets) -> None:
    keeper = assets.admin.robot("keeper", "assets:manage")
    reader = assets.admin.robot("reader", "operations:manage")
    stranger = assets.admin.robot("stranger", "tenants:read")

    done = assets.client(keeper, "forklift", "crane")
    assert (done.returncode, done.stdout) == (0, "forklift\ncrane\n"), done.stderr
    # C7: any of the five reads, one of them makes.
    done = assets.client(reader)
    assert (done.returncode, done.stdout) == (0, "forklift\ncrane\n"), done.stderr
    done = assets.client(reader, "lorry")
    assert done.returncode == 1
    assert "You may not make this call in this tenant." in done.stderr
    assert assets.client(stranger).returncode == 1

    # C5, and nobody else's tenant.
    server = httpx.Client(base_url=assets.url)
    with server:
        assert server.get("/assetTypes").status_code == 401
        token = keeper_token(assets, keeper)
        bearer = {"Authorization": f"Bearer {token}"}
        assert server.get("/assetTypes", headers=bearer).status_code == 400
        other = assets.admin.live.demo.tenants[1]
        refused = server.get("/assetTypes", headers={**bearer, "x-tenant-id": other})
        assert refused.status_code == 403
        chosen = {**bearer, "x-tenant-id": keeper["KEYTURN_TENANT"]}
        assert server.get("/assetTypes", headers=chosen).status_code == 200

        # F2: a key's list only narrows.
        listed = assets.admin.call("GET", "/endpoints?q=/assetTypes&service=assets")["items"]
        get = next(item["id"] for item in listed if item["method"] == "GET")
        narrow = assets.admin.robot("narrow", "assets:manage", endpoint_ids=[get])
        assert assets.client(narrow).returncode == 0
        assert assets.client(narrow, "lorry").returncode == 1

        # A revoked token is refused here as soon as the service's word has come.
        assets.admin.live.revoke(token)
        eventually(lambda: server.get("/assetTypes", headers=chosen).status_code == 401, 10)


def keeper_token(assets: Assets, who: dict[str, str]) -> str:
    answer = assets.admin.live.http.post(
        assets.admin.live.server.token_url,
        data={
            "grant_type": "password",
            "username": who["KEYTURN_USERNAME"],
            "password": who["KEYTURN_API_KEY"],
            "resource": assets.url,
        },
        headers={"x-tenant-id": who["KEYTURN_TENANT"]},
    )
    assert answer.status_code == 200, answer.text
    token: str = answer.json()["access_token"]
    return token
