"""`keyturn dev`: from nothing to a token, and what can go wrong on the way."""

import json
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from keyturn.cli.datadir import opened
from keyturn.cli.problems import Problem
from keyturn.server.storage.urls import SqliteFile, parse_url
from keyturn.server.tokens.api_keys import ApiKeys
from keyturn.server.tokens.secrets import DerivedKeys
from tests.cli.conftest import PATIENCE, Run, Running, running_dev
from tests.cli.test_commands import one_line


@dataclass(frozen=True)
class Start:
    """One start that went well, and what was seen of it."""

    line: dict[str, Any]
    tokens: dict[str, Any]
    second_at_once: str
    modes: dict[str, int]
    exit_code: int
    rest_of_stdout: str


def start(directory: Path, log_dir: Path, number: int) -> Start:
    with running_dev(directory, log_dir) as running:
        tokens = exchange(running)
        with pytest.raises(Problem) as caught, opened(directory / ".keyturn-dev"):
            pytest.fail("two at once")
        data = directory / ".keyturn-dev"
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in data.iterdir()}
        modes["."] = stat.S_IMODE(data.stat().st_mode)
        return Start(running.line, tokens, str(caught.value), modes, *running.stop(number))


def exchange(running: Running) -> dict[str, Any]:
    """At once: the line says that the service is ready."""
    request = urllib.request.Request(
        running.line["token_endpoint"],
        json.dumps(
            {"username": running.line["username"], "password": running.line["api_key"]}
        ).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        tokens: dict[str, Any] = json.load(answer)
        return tokens


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("dev")


@pytest.fixture(scope="module")
def first(directory: Path, log_dir: Path) -> Start:
    return start(directory, log_dir, signal.SIGTERM)


@pytest.fixture
def data_dir(first: Start, directory: Path, tmp_path: Path) -> Path:
    """A copy of what a first start left."""
    return shutil.copytree(directory / ".keyturn-dev", tmp_path / ".keyturn-dev")


class TestFirstStart:
    def test_one_json_line(self, first: Start, directory: Path) -> None:
        assert set(first.line) == {
            "issuer", "token_endpoint", "tenants", "username", "api_key",
            "admin_username", "admin_api_key", "data_dir",
            "console", "admin_password", "member_username", "member_password",
        }  # fmt: skip
        assert [tenant["name"] for tenant in first.line["tenants"]] == ["acme", "globex"]
        assert first.line["data_dir"] == str(directory / ".keyturn-dev")
        assert first.rest_of_stdout == ""

    def test_its_key_gives_tokens(self, first: Start) -> None:
        assert first.tokens["expires_in"] == 300
        assert first.tokens["access_token"]

    def test_for_the_owner_alone(self, first: Start) -> None:
        assert {"keyturn.db", "master-secret", "demo.json", ".gitignore"} <= first.modes.keys()
        assert first.modes.pop(".") == 0o700
        assert set(first.modes.values()) == {0o600}

    def test_another_at_the_same_time_is_told(self, first: Start) -> None:
        assert "another keyturn dev" in first.second_at_once

    def test_0_on_sigterm(self, first: Start) -> None:
        assert first.exit_code == 0


class TestLaterStarts:
    def test_keep_everything_then_0_on_sigint(
        self, data_dir: Path, first: Start, log_dir: Path
    ) -> None:
        second = start(data_dir.parent, log_dir, signal.SIGINT)
        changing = {"issuer", "token_endpoint", "data_dir", "console"}
        assert {k: v for k, v in first.line.items() if k not in changing} == {
            k: v for k, v in second.line.items() if k not in changing
        }
        assert second.exit_code == 0

    def test_remake_the_demo_when_the_database_is_gone(
        self, data_dir: Path, first: Start, log_dir: Path
    ) -> None:
        for path in data_dir.glob("keyturn.db*"):
            path.unlink()
        second = start(data_dir.parent, log_dir, signal.SIGTERM)
        assert second.line["api_key"] != first.line["api_key"]

    @pytest.mark.parametrize("name", ["demo.json", "master-secret"])
    def test_1_when_a_file_is_missing(self, data_dir: Path, run: Run, name: str) -> None:
        (data_dir / name).unlink()
        done = run("dev", "--port", "0", "--json")
        assert (done.returncode, done.stdout) == (1, "")
        line = one_line(done.stderr)
        assert name in line
        assert "start afresh" in line

    def test_1_when_the_file_is_damaged(self, data_dir: Path, run: Run) -> None:
        (data_dir / "demo.json").write_text("{}")
        done = run("dev", "--port", "0", "--json")
        assert done.returncode == 1
        assert "damaged" in one_line(done.stderr)

    def test_1_when_the_file_is_of_another_database(self, data_dir: Path, run: Run) -> None:
        kept = json.loads((data_dir / "demo.json").read_text())
        kept["api_key"] = ApiKeys(DerivedKeys(["x"], "api keys", 32)).new().text
        (data_dir / "demo.json").write_text(json.dumps(kept))
        done = run("dev", "--port", "0", "--json")
        assert done.returncode == 1
        assert "another database" in one_line(done.stderr)


class TestCannotStart:
    def test_1_port_in_use_and_nothing_is_made(self, run: Run, tmp_path: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = str(taken.getsockname()[1])
            done = run("dev", "--port", port)
        assert (done.returncode, done.stdout) == (1, "")
        assert port in one_line(done.stderr)
        assert list(tmp_path.iterdir()) == []

    def test_1_data_dir_is_a_file(self, run: Run, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        done = run("dev", "--port", "0", "--data-dir", "file")
        assert done.returncode == 1
        assert "--data-dir" in one_line(done.stderr)

    def test_2_wrong_setting(self, run: Run) -> None:
        done = run("dev", "--port", "0", access_token_lifetime="soon")
        assert done.returncode == 2
        assert "KEYTURN_ACCESS_TOKEN_LIFETIME" in one_line(done.stderr)

    def test_1_data_dir_that_a_url_cannot_name(self, run: Run) -> None:
        done = run("dev", "--port", "0", "--data-dir", "what?")
        assert done.returncode == 1
        assert "'?'" in one_line(done.stderr)


def test_data_dir_with_odd_characters(tmp_path: Path) -> None:
    with opened(tmp_path / "a b%20c#d" / "ü") as data:
        assert parse_url(data.database_url) == SqliteFile(data.database)


def test_printed_lines_work_when_pasted(
    tmp_path: Path, environment: dict[str, str], log_dir: Path
) -> None:
    """In a bash that has curl and python3 only, at a width at which Rich would wrap."""
    with (log_dir / "dev-people.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "keyturn.cli", "dev", "--port", "0"],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    assert process.stdout is not None
    printed: list[str] = []
    try:
        for line in process.stdout:
            printed.append(line)
            if line.startswith("Ctrl-C"):
                break
        start = next(i for i, line in enumerate(printed) if line.startswith("Try it"))
        script = "".join(printed[start + 1 : -1])
        pasted = subprocess.run(
            ["bash", "-eu"],
            input=script,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=True,
            # The last command is this one's own, which need not be installed.
            env={"PATH": os.environ["PATH"], "PYTHONPATH": environment["PYTHONPATH"]},
        )
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=PATIENCE)
    said = [line for line in pasted.stdout.splitlines() if line]
    answers = [json.loads(line) for line in said if line.startswith("{")]
    json_exchange, form_exchange, me, tenant, refreshed, jwks = answers
    for tokens in (json_exchange, form_exchange, refreshed):
        assert {"access_token", "refresh_token", "expires_in"} <= tokens.keys()
    assert {role["tenant_name"] for role in me["roles"]} == {"acme", "globex"}
    assert "acme" in json.dumps(tenant)
    assert jwks["keys"]
    assert said[len(answers)].split() == ["username", "admin@keyturn.internal"]
    assert pasted.stderr == ""
    assert str(tmp_path / ".keyturn-dev") in "".join(printed)
    logged = (log_dir / "dev-people.log").read_text()
    assert "/iam/" not in logged, "nothing stands between the lines to paste"
    # Each command is whole: one that Rich wrapped would not be.
    assert len(re.findall(r"^curl .*$", script, re.MULTILINE)) == 6
