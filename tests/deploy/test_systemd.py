"""deploy/systemd/ and deploy/env/: what of them can be tried without systemd."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

DEPLOY = Path(__file__).parents[2] / "deploy"
UNIT = DEPLOY / "systemd" / "keyturn.service"
COMMAND = DEPLOY / "systemd" / "keyturn-as-service"
EXAMPLE = DEPLOY / "env" / "keyturn.env.example"
CREDENTIAL = re.compile(r"^#?LoadCredential=([\w-]+):", re.MULTILINE)
USE = re.compile(r"^#?Environment=KEYTURN_\w+_FILE=%d/([\w-]+)$", re.MULTILINE)


def ran(directory: Path, *words: str, status: int = 0) -> tuple[int, list[str]]:
    """The exit status of the script, and what systemd-run was given, which ends with `status`."""
    given = directory / "given"
    programs = {
        "systemctl": f'[ "$*" = "cat keyturn.service" ] && cat {UNIT}',
        "systemd-run": f"printf '%s\\n' \"$@\" > {given}; exit {status}",
    }
    for name, text in programs.items():
        (directory / name).write_text(f"#!/bin/sh\n{text}\n")
        (directory / name).chmod(0o755)
    path = f"{directory}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [COMMAND, *words], env={"PATH": path}, check=False, capture_output=True, timeout=30
    )
    return done.returncode, given.read_text().splitlines()


def test_a_command_runs_with_what_the_service_has(tmp_path: Path) -> None:
    status, given = ran(tmp_path, "recover", "--username", "ada b@example.org", status=3)
    assert status == 3
    at = given.index("/opt/keyturn/bin/keyturn")
    assert given[at + 1 :] == ["recover", "--username", "ada b@example.org"]
    [unit] = [word.removeprefix("--unit=") for word in given if word.startswith("--unit=")]
    properties = [word.removeprefix("--property=") for word in given[:at] if "--property" in word]
    active = UNIT.read_text().replace("%d", f"/run/credentials/{unit}").splitlines()
    # In the unit's order, for an empty one forgets those before it.
    assert properties == [line for line in active if line in properties]
    assert {
        "EnvironmentFile=/etc/keyturn/keyturn.env",
        "LoadCredential=master-secret:/etc/keyturn/master-secret",
        f"Environment=KEYTURN_DATABASE_URL_FILE=/run/credentials/{unit}/database-url",
        "DynamicUser=yes",
        "User=keyturn",
        "StateDirectory=keyturn",
    } <= set(properties)
    assert not any("%" in word for word in properties)


def test_every_secret_that_is_handed_over_is_read() -> None:
    unit = UNIT.read_text()
    assert sorted(CREDENTIAL.findall(unit)) == sorted(USE.findall(unit))
    assert {"previous-master-secrets", "smtp-url", "tls-key", "leak-keys"} <= set(USE.findall(unit))


def test_a_shell_reads_the_settings_as_systemd_does(tmp_path: Path) -> None:
    """Those in comments, too: a pair of quotes around a value is all that systemd takes away."""
    lines = re.findall(r"^#?(KEYTURN_\w+=.+)$", EXAMPLE.read_text(), re.MULTILINE)
    expected = {
        name: value.removeprefix('"').removesuffix('"')
        for name, value in (line.split("=", 1) for line in lines)
    }
    assert expected["KEYTURN_MAIL_FROM"] == "Keyturn <keyturn@iam.example>"
    (tmp_path / "env").write_text("\n".join(lines))
    program = f"set -aeu; . {tmp_path}/env; env -0"
    shown = subprocess.run(["sh", "-c", program], env={}, check=True, capture_output=True)
    pairs = (pair.split("=", 1) for pair in shown.stdout.decode().split("\0") if pair)
    told = {name: value for name, value in pairs if name.startswith("KEYTURN_")}
    assert told == expected
