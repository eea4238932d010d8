"""Sends the load: wrk where it is installed and can do it, else the built-in generator."""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.bench.generator import Job
from tests.bench.machine import cpu_seconds
from tests.bench.processes import Helper, Running
from tests.bench.wire import CONNECTIONS, HOST, BenchError, Request, Round

BUILT_IN = "built-in"
WRK = "wrk"
#: wrk counts in whole seconds.
WRK_SECONDS = 1.0
_SLACK = 20.0


@dataclass(frozen=True)
class Load:
    """What is sent. With `first`, each connection walks its own chain of refresh tokens."""

    request: Request
    first: Request | None = None


def generator_for(load: Load, seconds: float) -> str:
    """Which generator will send this load: only constant requests can be wrk's."""
    if load.first is None and seconds >= WRK_SECONDS and shutil.which("wrk"):
        return WRK
    return BUILT_IN


class Sender:
    """Sends loads, one after the other."""

    def __init__(self, generator: Helper) -> None:
        self._generator = generator

    def send(self, load: Load, server: Running, seconds: float, generator: str = BUILT_IN) -> Round:
        """Loads the server for that long. Raises BenchError when the load itself fails."""
        if generator == WRK:
            return _wrk(load.request, server, round(seconds))
        request = load.request.wire(server.port)
        first = load.first.wire(server.port) if load.first else ""
        if first:
            request = request.removesuffix("\r\n\r\n")
        job = Job(server.port, CONNECTIONS, seconds, server.pid, request, first)
        said = json.loads(self._generator.ask(json.dumps(asdict(job)), seconds + _SLACK))
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


def _wrk(request: Request, server: Running, seconds: int) -> Round:
    pairs = (f"[{_lua(name)}] = {_lua(value)}" for name, value in request.headers.items())
    headers = ", ".join(pairs)
    body = _lua(request.body) if request.body else "nil"
    script = _SCRIPT.format(method=_lua(request.method), headers=headers, body=body)
    before, service = _children_cpu(), cpu_seconds(server.pid)
    with tempfile.TemporaryDirectory(prefix="keyturn-wrk-") as directory:  # for its owner alone
        path = Path(directory) / "request.lua"
        path.write_text(script, encoding="utf-8")
        url = f"http://{HOST}:{server.port}{request.path}"
        command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "-s", str(path), url]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=seconds + _SLACK, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise BenchError(f"wrk: {type(error).__name__}") from None
    cpu, after = _children_cpu() - before, cpu_seconds(server.pid)
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
        service_cpu=None if service is None or after is None else after - service,
    )


def _lua(text: str) -> str:
    """A Lua string; what is sent is ASCII without control characters."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _children_cpu() -> float:
    # Only children that have ended count, and of those only wrk ends during its round.
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
