"""`keyturn resource-server …`, and `keyturn token --resource`."""

from typing import Any

import pytest

from tests.cli.conftest import Run
from tests.cli.test_commands import one_line
from tests.cli.test_token_command import claims


class TestResourceServer:
    def test_0_from_made_to_deleted(self, admin: Run, answer: Any) -> None:
        create = ("resource-server", "create", "https://assets.example", "--name", "Assets")
        server_id = admin(*create, "--quiet").stdout.strip()
        made = answer("resource-server", "show", "https://assets.example")
        assert (made["id"], made["algorithm"]) == (server_id, "ES256")
        update = ("resource-server", "edit", "Assets")
        edited = answer(*update, "--algorithm", "Ed25519", "--name", "All assets")
        assert edited == {**made, "algorithm": "Ed25519", "name": "All assets"}
        assert answer("resource-server", "list") == [edited]
        assert "https://assets.example" in admin("resource-server", "list").stdout
        assert "Ed25519" in admin("resource-server", "show", server_id).stdout
        done = admin("resource-server", "delete", "All assets", "--yes")
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        assert admin("resource-server", "show", server_id).returncode == 1

    @pytest.mark.parametrize(
        ("identifier", "more"),
        [
            ("assets", ()),
            ("https://assets.example/#x", ()),
            ("urn:x", ("--algorithm", "none")),
            ("urn:x", ("--name", " ")),
        ],
    )
    def test_1_refused(self, admin: Run, identifier: str, more: tuple[str, ...]) -> None:
        done = admin("resource-server", "create", identifier, "--name", "Assets", *more)
        assert (done.returncode, done.stdout) == (1, "")
        field = more[0].removeprefix("--") if more else "identifier"
        assert f": {field}: " in one_line(done.stderr)

    def test_1_taken(self, admin: Run) -> None:
        create = ("resource-server", "create", "urn:taken", "--name")
        assert admin(*create, "One").returncode == 0
        done = admin(*create, "Two", tenant="globex")
        assert done.returncode == 1
        assert one_line(done.stderr).startswith("keyturn: identifier: ")

    def test_1_unknown(self, admin: Run) -> None:
        done = admin("resource-server", "show", "urn:unknown")
        assert done.returncode == 1
        assert "'urn:unknown'" in one_line(done.stderr)

    def test_2_nothing_to_change(self, admin: Run) -> None:
        assert admin("resource-server", "edit", "urn:unknown").returncode == 2

    def test_2_nobody_can_answer(self, admin: Run) -> None:
        done = admin("resource-server", "delete", "urn:unknown")
        assert (done.returncode, done.stdout) == (2, "")


class TestToken:
    def test_0_for_resource_servers(self, admin: Run, run: Run, who: dict[str, str]) -> None:
        for name in ("urn:a", "urn:b"):
            made = admin("resource-server", "create", name, "--name", name)
            assert made.returncode == 0, made.stderr
        login = ("login", "--url", who["url"], "--username", who["username"])
        assert run(*login, api_key=who["api_key"]).returncode == 0
        own = run("token").stdout
        first = claims(run("token", "--resource", "urn:a", "--tenant", "acme").stdout)
        assert (first["aud"], first["tenant_id"]) == ("urn:a", who["tenant"])
        both = claims(run("token", "--resource", "urn:a", "--resource", "urn:b").stdout)
        assert both["aud"] == ["urn:a", "urn:b"]
        assert both["tenants"].keys() == {who["tenant"]}
        assert run("token").stdout == own

    def test_1_unknown(self, admin: Run) -> None:
        done = admin("token", "--resource", "urn:unknown")
        assert (done.returncode, done.stdout) == (1, "")
        assert "resource" in one_line(done.stderr)
