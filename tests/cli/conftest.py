"""Runs the command line in an empty directory, in this process or as one of its own."""

import io
import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

import pytest

from keyturn.cli.root import run as command_line
from keyturn.server import logs

SOURCES = Path(__file__).parents[2] / "src"

#: Until a started service must have said that it is ready, and must have stopped, in seconds.
PATIENCE = 180


@dataclass(frozen=True)
class Done:
    """What one command did."""

    returncode: int
    stdout: str
    stderr: str


Run = Callable[..., Done]


@dataclass
class Running:
    """A `keyturn dev --json` that has said it is ready."""

    process: "subprocess.Popen[str]"
    line: dict[str, Any] = field(repr=False)  # has keys

    def stop(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        """Its exit code, and what else it wrote to stdout."""
        self.process.send_signal(number)
        rest, _ = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, rest


def plain_environment() -> dict[str, str]:
    """This process's, without any settings, and with the sources."""
    kept = {k: v for k, v in os.environ.items() if not k.upper().startswith("KEYTURN_")}
    # Without compiled modules to find, each process would compile all it imports anew.
    kept.pop("PYTHONDONTWRITEBYTECODE", None)
    return {**kept, "PYTHONPATH": str(SOURCES), "COLUMNS": "40"}


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return {**plain_environment(), "XDG_CONFIG_HOME": str(tmp_path / "config")}


@pytest.fixture
def run(
    tmp_path: Path,
    environment: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> Iterator[Run]:
    """Runs one command to its end, here (a process takes seconds only to import everything).

    `stdin` is what it may read there; all other keyword arguments are settings. What a command
    changes in its process is put back.
    """
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    levels = {name: logging.getLogger(name).level for name in (*logs.PINNED, "uvicorn.error")}
    on_sigterm, umask = signal.getsignal(signal.SIGTERM), os.umask(0o022)
    os.umask(umask)

    def command(*arguments: str, stdin: str | None = None, **settings: str) -> Done:
        with monkeypatch.context() as patch:
            patch.chdir(tmp_path)
            patch.setattr(os, "environ", environment.copy())
            if stdin is not None:
                patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
            for name, value in settings.items():
                os.environ[f"KEYTURN_{name.upper()}"] = value
            capfd.readouterr()
            code = command_line(list(arguments))
        out, err = capfd.readouterr()
        return Done(code, out, err)

    yield command
    os.umask(umask)
    signal.signal(signal.SIGTERM, on_sigterm)
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, was in levels.items():
        logging.getLogger(name).setLevel(was)
    logging.captureWarnings(False)


@contextmanager
def running_dev(
    directory: Path, log_dir: Path, *arguments: str, **settings: str
) -> Iterator[Running]:
    """`keyturn dev --port 0 --json` in `directory`, until the block ends or stops it."""
    named = {f"KEYTURN_{name.upper()}": value for name, value in settings.items()}
    with _log(log_dir, f"dev-{directory.name}") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "keyturn.cli", "dev", "--port", "0", "--json", *arguments],
            cwd=directory,
            env=plain_environment() | named,
            stdout=subprocess.PIPE,  # holds keys: never into a log
            stderr=log,
            text=True,
        )
    assert process.stdout is not None
    try:
        said = process.stdout.readline()
        assert said, f"dev stopped: see {log.name}"
        yield Running(process, json.loads(said))
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=PATIENCE)


@contextmanager
def _log(directory: Path, name: str) -> Iterator[TextIO]:
    safe = "".join(letter if letter.isalnum() else "-" for letter in name)
    with (directory / f"{safe}.log").open("a", encoding="utf-8") as log:
        yield log


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, log_dir: Path) -> Iterator[Running]:
    """A running service with the demo, for a whole file of tests."""
    with running_dev(tmp_path_factory.mktemp("served"), log_dir) as running:
        yield running


@pytest.fixture
def who(served: Running) -> dict[str, str]:
    """The demo's administrator in acme, as the environment says it."""
    return {
        "url": served.line["issuer"],
        "username": served.line["admin_username"],
        "api_key": served.line["admin_api_key"],
        "tenant": served.line["tenants"][0]["id"],
    }


@pytest.fixture
def admin(run: Run, who: dict[str, str]) -> Run:
    """Runs a command as the demo's administrator, who needs no profile."""

    def command(*arguments: str, **more: str) -> Done:
        return run(*arguments, **{**who, **more})

    return command


@pytest.fixture
def answer(admin: Run) -> Callable[..., Any]:
    """What a command as the administrator prints with --json; it must succeed."""

    def command(*arguments: str, **more: str) -> Any:
        done = admin(*arguments, "--json", **more)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return command
