"""Sends the load: wrk where it is installed and can do it, else the built-in generator."""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from keyturn.cli.load.jobs import Job
from keyturn.cli.load.requests import Request
from tests.bench.machine import family_cpu
from tests.bench.processes import Helper, Running
from tests.bench.wire import CONNECTIONS, HOST, BenchError, Round
from tests.bench.workloads import Load

BUILT_IN = "built-in"
WRK = "wrk"
#: wrk counts in whole seconds.
WRK_SECONDS = 1.0
_SLACK = 20.0
#: What a server's own processor time is called, beside the databases'.
SERVICE = "service"


def generator_for(load: Load, seconds: float) -> str:
    """Which generator will send this load: only constant requests can be wrk's."""
    constant = load.first is None and len(load.requests) == 1
    if constant and seconds >= WRK_SECONDS and shutil.which("wrk"):
        return WRK
    return BUILT_IN


class Sender:
    """Sends loads, one after the other. `pids` are watched beside the server that is loaded."""

    def __init__(self, generator: Helper, pids: Mapping[str, int] | None = None) -> None:
        self._generator = generator
        self._pids = dict(pids or {})

    def send(
        self,
        load: Load,
        server: Running,
        seconds: float,
        generator: str = BUILT_IN,
        connections: int = CONNECTIONS,
    ) -> Round:
        """Loads the server for that long. Raises BenchError when the load itself fails."""
        watched = {SERVICE: server.pid, **self._pids}
        if generator == WRK:
            return _wrk(load.requests[0], server.port, round(seconds), connections, watched)
        head, first = load.requests[0], load.first
        if first is None:
            requests = tuple(request.wire(server.port) for request in load.requests)
        else:
            requests = (head.head(server.port),)
        job = Job(
            HOST,
            server.port,
            connections,
            seconds,
            requests,
            first=first.wire(server.port) if first else "",
            expect=load.expect,
        )
        told = json.dumps({**asdict(job), "watched": watched})
        said = json.loads(self._generator.ask(told, seconds + _SLACK))
        if "failed" in said:
            raise BenchError(f"the built-in generator failed: {said['failed']}")
        return Round(**said)


# wrk reports errors by kind; `status` counts answers of 400 and above, and nothing here answers
# with another success than 200, nor redirects. Latencies are in microseconds.
_SCRIPT = """
wrk.method = {method}
wrk.headers = {{ {headers} }}
wrk.body = {body}
done = function(summary, latency, requests)
  local e = summary.errors
  local form = '{{"requests": %d, "elapsed": %f, "p50": %f, "p99": %f, "status": %d, "lost": %d}}'
  io.write(string.format('\\nKEYTURN ' .. form .. '\\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e6,
    latency:percentile(99) / 1e6, e.status, e.connect + e.read + e.write + e.timeout))
end
"""


def _wrk(
    request: Request, port: int, seconds: int, connections: int, watched: Mapping[str, int]
) -> Round:
    pairs = (f"[{_lua(name)}] = {_lua(value)}" for name, value in request.headers.items())
    headers = ", ".join(pairs)
    body = _lua(request.body) if request.body else "nil"
    script = _SCRIPT.format(method=_lua(request.method), headers=headers, body=body)
    before, servers = _children_cpu(), family_cpu(watched)
    with tempfile.TemporaryDirectory(prefix="keyturn-wrk-") as directory:  # for its owner alone
        path = Path(directory) / "request.lua"
        path.write_text(script, encoding="utf-8")
        url = f"http://{HOST}:{port}{request.path}"
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(path), url]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=seconds + _SLACK, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise BenchError(f"wrk: {type(error).__name__}") from None
    cpu, after = _children_cpu() - before, family_cpu(watched)
    _, found, line = done.stdout.partition("KEYTURN ")
    if done.returncode != 0 or not found:
        raise BenchError(f"wrk failed: {(done.stderr or done.stdout)[-200:]!r}")
    said = json.loads(line)
    wrong, lost = said.pop("status"), said.pop("lost")
    said["requests"] -= wrong
    return Round(
        **said,
        errors=wrong + lost,
        first_error=f"{wrong} refused, {lost} without an answer" if wrong + lost else "",
        generator_cpu=cpu,
        cpu={name: used - servers[name] for name, used in after.items()},
    )


def _lua(text: str) -> str:
    """A Lua string; what is sent is ASCII without control characters."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _children_cpu() -> float:
    # Only children that have ended count, and of those only wrk ends during its round.
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
