"""Loads a service with requests that differ, one after the other, and watches what it costs."""

from __future__ import annotations

import gc
import itertools
import selectors
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench.machine import cpu_seconds
from tests.bench.processes import Running
from tests.bench.wire import HOST, BenchError, Request

#: Seconds that an answer may take before it counts as an error.
PATIENCE = 5.0


@dataclass(frozen=True)
class Turn:
    """What one round measured. Times in seconds, processor times those of one good answer.

    `rate` counts the good answers of the round alone; the times are those of the last ones, too,
    which came after its end.
    """

    rate: float
    p50: float
    p99: float
    errors: int
    first_error: str
    service_cpu: float | None
    database_cpu: float | None


class Turns:
    """Sends the requests in turn, over and over; a round goes on where the last one ended."""

    def __init__(self, service: Running, requests: Sequence[Request], database: int | None) -> None:
        """`database`: the process id of PostgreSQL's first process, where it is known."""
        self.count = len(requests)
        self._service = service
        self._database = database
        wires = [request.wire(service.port).encode("latin-1") for request in requests]
        self._requests = itertools.cycle(wires)

    def run(self, connections: int, seconds: float, *, answers: int | None = None) -> Turn:
        """Keeps the connections busy that long, or until there are so many answers.

        Raises OSError when it cannot connect, BenchError without any good answer.
        """
        links = [_Link(self._service.port) for _ in range(connections)]
        service, database = cpu_seconds(self._service.pid), _family_cpu(self._database)
        gc.disable()
        try:
            times, errors, rate = self._load(links, seconds, answers)
        finally:
            gc.enable()
            for link in links:
                link.sock.close()
        if not times:
            raise BenchError(f"no good answer: {errors[0] if errors else 'nothing was said'}")
        done = len(times)
        after, database_after = cpu_seconds(self._service.pid), _family_cpu(self._database)
        times.sort()
        return Turn(
            rate=rate,
            p50=times[len(times) // 2],
            p99=times[min(len(times) - 1, len(times) * 99 // 100)],
            errors=len(errors),
            first_error=errors[0] if errors else "",
            service_cpu=_each(service, after, done),
            database_cpu=_each(database, database_after, done),
        )

    def _load(
        self, links: list[_Link], seconds: float, answers: int | None
    ) -> tuple[list[float], list[str], float]:
        """The times of good answers, what the others said, and good answers a second."""
        now, times, errors = time.perf_counter, list[float](), list[str]()
        most = answers or 10**9
        with selectors.DefaultSelector() as selector:
            started = now()
            for link in links:
                selector.register(link.sock, selectors.EVENT_READ, link)
                link.send(next(self._requests))
            # Nothing new is sent at the end, and what is on its way may still be answered.
            end, rate, waiting = started + seconds, -1.0, len(links)
            while waiting and now() < end + PATIENCE:
                for key, _ in selector.select(0.1):
                    link = key.data
                    try:
                        answer = link.receive()
                        if answer is None:
                            continue
                        took = now() - link.sent
                        if answer[9:12] == b"200":
                            times.append(took)
                        else:
                            errors.append(answer[-200:].decode(errors="replace"))
                        if rate < 0 and len(times) + len(errors) < most:
                            link.send(next(self._requests))
                            continue
                    except OSError as error:
                        errors.append(type(error).__name__)
                    selector.unregister(link.sock)
                    waiting -= 1
                if rate < 0 and (now() >= end or len(times) + len(errors) >= most):
                    end = now()
                    rate = len(times) / (end - started)
            errors += ["no answer"] * waiting
        return times, errors, max(rate, 0.0)


class _Link:
    """One keep-alive connection with one request on its way."""

    def __init__(self, port: int) -> None:
        self.sock = socket.create_connection((HOST, port), PATIENCE)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sent = 0.0
        self._got = b""

    def send(self, request: bytes) -> None:
        self.sent = time.perf_counter()
        self.sock.sendall(request)

    def receive(self) -> bytes | None:
        """The answer, once all of it is there. Raises OSError for a connection that ended."""
        data = self.sock.recv(65_536)
        if not data:
            raise ConnectionError("the connection was closed")
        self._got += data
        head, found, body = self._got.partition(b"\r\n\r\n")
        if not found:
            return None
        length = head.lower().partition(b"\r\ncontent-length:")[2].split(b"\r\n", 1)[0]
        if len(body) < int(length or 0):
            return None
        answer, self._got = self._got, b""
        return answer


def resident(service: Running) -> float | None:
    """The memory that the service has in use, in bytes; None where it cannot be known."""
    try:
        status = Path(f"/proc/{service.pid}/status").read_text(encoding="utf-8")
    except OSError:
        return None
    return float(status.partition("VmRSS:")[2].split()[0]) * 1024


def _family_cpu(pid: int | None) -> float | None:
    """Of a process and its children, in seconds."""
    if pid is None:
        return None
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="utf-8").split()
    except OSError:
        return None
    return sum(cpu_seconds(child) or 0.0 for child in (pid, *map(int, children)))


def _each(before: float | None, after: float | None, done: int) -> float | None:
    return None if before is None or after is None else max(0.0, after - before) / done
