"""What the README shows works when it is pasted."""

import json
import re
import secrets
import signal
import subprocess
import sys
from pathlib import Path

import httpx

from tests.cli.conftest import PATIENCE, Run, Running, plain_environment, running_dev
from tests.live_server import eventually
from tests.servers import die_with_parent, end_process, free_port

README = Path(__file__).parents[2] / "README.md"


#: `keyturn` for a shell that is no terminal: its login gets the newest key that was printed, or
#: else $ASKED, and questions are answered with yes.
KEYTURN = f"""
keyturn() {{
  local answer=()
  case "$*" in
    login*) export KEYTURN_API_KEY=$(grep -oh 'kt_[A-Za-z0-9_]*' printed || echo "$ASKED") ;;
    *revoke*|*end-all*) answer=(--yes) ;;
  esac
  "{sys.executable}" -m keyturn.cli "$@" "${{answer[@]}}" </dev/null | tee printed.now
  local code=${{PIPESTATUS[0]}}
  unset KEYTURN_API_KEY
  if grep -q kt_ printed.now; then mv printed.now printed; fi
  return $code
}}
touch printed
"""


def blocks(heading: str, language: str = "sh") -> list[str]:
    """The blocks of code below a heading."""
    text = README.read_text(encoding="utf-8")
    below = re.split(rf"^##+ {heading}$", text, maxsplit=1, flags=re.MULTILINE)[1]
    section = re.split(r"^##", below, maxsplit=1, flags=re.MULTILINE)[0]
    return re.findall(rf"^```{language}\n(.*?)^```", section, re.MULTILINE | re.DOTALL)


def bash(program: str, directory: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Runs a program to its end, which must be good."""
    done = subprocess.run(
        ["bash", "-u"],
        input=program,
        cwd=directory,
        env={**plain_environment(), "XDG_CONFIG_HOME": str(directory / "config"), **environment},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done


def test_manage_your_tenants(who: dict[str, str], tmp_path: Path) -> None:
    """In bash, with the variables that `make run` ends with."""
    program = f'keyturn() {{ "{sys.executable}" -m keyturn.cli "$@"; }}\n'
    pasted = subprocess.run(
        ["bash", "-eu"],
        input=program + blocks("Manage your tenants")[0],
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


def test_manage_from_the_command_line(served: Running, who: dict[str, str], tmp_path: Path) -> None:
    """The key that it makes gives a token for what it was made for."""
    [shown] = blocks("Manage from the command line")
    curl = blocks("Manage your tenants")[0]
    [document] = re.findall(r'"document": (\{.*?\})\}\'', curl, re.DOTALL)
    (tmp_path / "assets.json").write_text(document)
    program = shown.replace("https://iam.example", served.line["issuer"])
    program = program.replace("ada@example.org", who["username"])
    # Nothing here has an address in there.
    program = program.replace("10.0.0.0/8", "127.0.0.0/8")
    done = bash("set -e\n" + KEYTURN + program, tmp_path, ASKED=who["api_key"])
    [key] = re.findall(r"kt_\w+", done.stdout)
    [username, *_] = re.findall(r"ci-runner@[\w.-]+", done.stdout)
    body = {"username": username, "password": key}
    answer = httpx.post(f"{who['url']}/iam/auth/token", json=body, timeout=30)
    assert answer.json()["scope"] == "assets:write"


def test_the_first_key_is_replaced(tmp_path: Path, log_dir: Path) -> None:
    _, shown = blocks("Run it for real")
    with running_dev(tmp_path, log_dir) as running:
        program = shown.replace("https://iam.example", running.line["issuer"])
        program = program.replace("ada@example.org", running.line["admin_username"])
        # The demo has more tenants than a new installation, whose only one needs no choice.
        program = program.replace("keyturn login", "keyturn login --tenant platform")
        first = running.line["admin_api_key"]
        list_all = "keyturn api-key list --mine --json"
        done = bash("set -e\n" + KEYTURN + program + list_all, tmp_path, ASKED=first)
    keys = {key["name"]: key for key in json.loads(done.stdout.splitlines()[-1])}
    assert keys["first key"]["state"] == "revoked"
    assert (keys["laptop"]["state"], keys["laptop"]["use_count"]) != ("revoked", 0)


def test_the_master_secret_is_replaced(run: Run, tmp_path: Path) -> None:
    """On one node without API keys: those move when they are used."""
    (tmp_path / "master-secret").write_text(secrets.token_urlsafe(32))
    database = f"sqlite:///{tmp_path}/keyturn.db"
    assert run("migrate", database_url=database).returncode == 0
    [shown] = [block for block in blocks("Signing keys") if "secrets rotate" in block]
    before = "keyturn secrets status; export FIRST=$?\n"
    done = bash(
        KEYTURN + before + shown + "keyturn secrets status\nexit $((FIRST + $?))",
        tmp_path,
        KEYTURN_DATABASE_URL=database,
        KEYTURN_MASTER_SECRET_FILE=str(tmp_path / "master-secret"),
    )
    old, rotated, *later = re.findall(r"newest secret, fingerprint +(\w+)", done.stdout)
    assert rotated != old
    assert set(later) == {rotated}
    assert "signing keys sealed anew" in done.stdout
    assert "may be dropped" in done.stderr
    assert "no previous master secret is set" in done.stderr.splitlines()[-1]


def test_call_with_a_key_and_check_its_tokens(who: dict[str, str], tmp_path: Path) -> None:
    """The resource server that is shown, and the client that calls it."""
    (client,) = blocks("Call with a key, in Python", "python")
    server = blocks("Check tokens in a resource server", "python")[0]
    port = free_port()
    (tmp_path / "assets.py").write_text(server.replace("http://127.0.0.1:8080", who["url"]))
    environment = {
        **plain_environment(),
        **{f"KEYTURN_{name.upper()}": value for name, value in who.items()},
        "KEYTURN_URL": who["url"] + "/iam",
    }
    with (tmp_path / "assets.log").open("wb") as output:
        running = subprocess.Popen(
            [sys.executable, "-m", "uvicorn", "assets:app", "--port", str(port)],
            cwd=tmp_path,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            preexec_fn=die_with_parent(signal.SIGTERM),  # noqa: PLW1509
        )
    try:
        eventually(lambda: _answers(port), PATIENCE)
        done = subprocess.run(
            [sys.executable, "-c", client.replace(":8000", f":{port}")],
            env=environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
    finally:
        end_process(running, signal.SIGTERM)
    assert done.stdout == f"{{'tenant': '{who['tenant']}'}}\n", done.stderr


def _answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/assets").status_code == 401
    except httpx.TransportError:
        return False
