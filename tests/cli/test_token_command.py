"""`keyturn token`: an access token and nothing else, fit for `$(keyturn token)`."""

import base64
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import PATIENCE, Run, Running
from tests.cli.test_commands import one_line


def claims(token: str) -> dict[str, Any]:
    payload = token.split(".")[1]
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(payload + "=="))
    return found


@pytest.fixture
def logged_in(run: Run, served: Running, who: dict[str, str]) -> Run:
    login = ("login", "--url", who["url"], "--username", who["username"], "--tenant", "acme")
    assert run(*login, api_key=who["api_key"]).returncode == 0
    return run


class TestToken:
    def test_0_and_nothing_else(self, admin: Run, who: dict[str, str]) -> None:
        done = admin("token")
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.endswith("\n")
        assert claims(done.stdout)["tenants"].keys() >= {who["tenant"]}

    def test_0_kept_until_it_nears_its_end(self, logged_in: Run, tmp_path: Path) -> None:
        first = logged_in("token").stdout
        assert logged_in("token").stdout == first
        file = tmp_path / "config" / "keyturn" / "token-default.json"
        kept = json.loads(file.read_text())
        file.write_text(json.dumps({**kept, "expires_at": kept["expires_at"] - 270}))
        assert logged_in("token").stdout != first

    @pytest.mark.parametrize("text", ["", "[]", "{}", '{"of": 1, "expires_at": "x"}'])
    def test_0_a_damaged_file_is_no_token(self, logged_in: Run, tmp_path: Path, text: str) -> None:
        (tmp_path / "config" / "keyturn" / "token-default.json").write_text(text)
        assert claims(logged_in("token").stdout)

    def test_0_of_another_login_is_not_used(self, logged_in: Run, served: Running) -> None:
        first = claims(logged_in("token").stdout)
        line = served.line
        again = ("login", "--url", line["issuer"], "--username", line["username"])
        assert logged_in(*again, api_key=line["api_key"]).returncode == 0
        assert claims(logged_in("token").stdout)["sub"] != first["sub"]

    def test_0_of_one_tenant(self, logged_in: Run, served: Running) -> None:
        globex = served.line["tenants"][1]["id"]
        for named in (globex, "globex"):
            token = claims(logged_in("token", "--tenant", named).stdout)
            assert token["tenant_id"] == globex
        assert "tenant_id" not in claims(logged_in("token").stdout)

    def test_1_of_no_such_tenant(self, logged_in: Run) -> None:
        done = logged_in("token", "--tenant", "initech")
        assert (done.returncode, done.stdout) == (1, "")
        assert "initech" in one_line(done.stderr)

    def test_1_wrong_key(self, run: Run, who: dict[str, str]) -> None:
        done = run("token", **{**who, "api_key": "kt_wrong"})
        assert (done.returncode, done.stdout) == (1, "")
        assert "kt_wrong" not in one_line(done.stderr)


def test_pasted_into_curl(logged_in: Run, environment: dict[str, str], who: dict[str, str]) -> None:
    """In processes of their own, which import nothing of the server."""
    check = "assert not [m for m in sys.modules if m.startswith('keyturn.server')]"
    code = (
        "import sys; from keyturn.cli.root import run; code = run(['token']);"
        f" {check}; sys.exit(code)"
    )
    script = (
        'T=$("$PYTHON" -c "$CODE") && curl -sS -H "Authorization: Bearer $T"'
        ' -H "x-tenant-id: $TENANT" "$URL/iam/tenants/current"'
    )
    more = {"PYTHON": sys.executable, "CODE": code, "TENANT": who["tenant"], "URL": who["url"]}
    done = subprocess.run(
        ["bash", "-eu", "-c", script],
        env={**environment, **more},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    assert done.stderr == ""
    assert json.loads(done.stdout)["tenant_name"] == "acme"
