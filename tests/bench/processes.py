"""Starts and stops the bench's processes: by pid, within bounded time, on 127.0.0.1 only."""

from __future__ import annotations

import contextlib
import http.client
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.bench.machine import Cores
from tests.bench.wire import HOST, BenchError

START_SECONDS = 30.0
STOP_SECONDS = 6.0


@dataclass(frozen=True)
class Running:
    """A server that answers."""

    pid: int
    port: int


def run(module: str, *arguments: str, seconds: float, told: str = "") -> str:
    """What a module of the bench prints, as a process of its own, `told` on its stdin.

    Raises BenchError.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-m", f"tests.bench.{module}", *arguments],
            input=told,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise BenchError(f"{module} did not end within {seconds:.0f} s") from None
    if done.returncode != 0:
        raise BenchError(f"{module} failed: {_tail(done.stderr)}")
    return done.stdout


class Helper:
    """A module of the bench at work: one line in, one line out. Raises BenchError."""

    def __init__(self, module: str, process: subprocess.Popen[bytes]) -> None:
        self._module = module
        self._process = process

    def ask(self, line: str, seconds: float) -> str:
        """Its answer, within that time. An answer is short enough to be written at once."""
        given, said = self._process.stdin, self._process.stdout
        if given is None or said is None:
            raise BenchError(f"{self._module} has no pipes")
        try:
            given.write(line.encode() + b"\n")
            given.flush()
        except OSError:
            pass  # it is gone: nothing will be said, either
        if not select.select([said], [], [], seconds)[0]:
            raise BenchError(f"{self._module} did not answer within {seconds:.0f} s")
        if not (answer := said.readline()):
            raise BenchError(f"{self._module} ended with status {self._process.wait(1)}")
        return answer.decode()


@contextlib.contextmanager
def helping(module: str) -> Iterator[Helper]:
    """Runs a module of the bench, which ends when its stdin does."""
    process = subprocess.Popen(
        [sys.executable, "-m", f"tests.bench.{module}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        yield Helper(module, process)
    finally:
        _stop(process)


@contextlib.contextmanager
def serving(
    which: str, cores: Cores, directory: Path, settings: Mapping[str, str]
) -> Iterator[Running]:
    """Runs `bare` or `service` (see `serve`), and nothing of it is left afterwards.

    `settings` are the only KEYTURN_ variables it sees, beside its address.
    """
    with contextlib.ExitStack() as stack:
        with socket.create_server((HOST, 0), backlog=2048) as listener:
            port = listener.getsockname()[1]
            clean = {k: v for k, v in os.environ.items() if not k.startswith("KEYTURN_")}
            log = directory / f"{which}-{port}.log"
            output = stack.enter_context(log.open("wb"))
            core = "-" if cores.service is None else str(cores.service)
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.bench.serve", which, str(listener.fileno()), core],
                env={**clean, "KEYTURN_PORT": str(port), **settings},
                stdin=subprocess.PIPE,  # it ends when this does
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds=[listener.fileno()],
                start_new_session=True,  # Ctrl-C is for the bench, which stops it
            )
            stack.callback(_stop, process)
        path = "/health/live" if which == "service" else "/"
        _wait_until_it_answers(process, port, path, log)
        yield Running(process.pid, port)


def _wait_until_it_answers(
    process: subprocess.Popen[bytes], port: int, path: str, log: Path
) -> None:
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        link = http.client.HTTPConnection(HOST, port, timeout=1)
        try:
            link.request("GET", path)
            link.getresponse()
        except (OSError, http.client.HTTPException):
            time.sleep(0.02)
        else:
            return
        finally:
            link.close()
    said = _tail(log.read_text(encoding="utf-8", errors="replace"))
    raise BenchError(f"a server did not start: {said}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            if number == signal.SIGTERM:  # workers are told by whom they work for
                process.terminate()
            else:
                os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS)
            break
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()


def _tail(text: str) -> str:
    return " / ".join(text.strip().splitlines()[-4:]) or "it said nothing"
