"""The built-in load generator: a process of its own, jobs on stdin, what it measured on stdout.

A loop over blocking sockets and a selector, and just enough HTTP to find an answer's status, its
end, and its refresh token. An asyncio protocol would cost the generator more than all of that
together, and the generator must not be the limit: it shares its core with the database.

It only knows keep-alive, `Content-Length` and one request at a time on each connection.
"""

from __future__ import annotations

import gc
import json
import os
import selectors
import socket
import sys
import time
from dataclasses import asdict, dataclass
from urllib.parse import quote

from tests.bench.machine import cpu_seconds
from tests.bench.wire import HOST, Round

#: Seconds that an answer may take before it counts as an error.
PATIENCE = 5.0
_TOKEN = b'"refresh_token":"'


@dataclass(frozen=True)
class Job:
    """What to send. `first` opens each connection, outside of what is measured."""

    port: int
    connections: int
    seconds: float
    #: The server's process, whose processor time is taken.
    pid: int
    #: The constant request; for a chain its head, without Content-Length and the empty line.
    request: str
    first: str = ""


class Link:
    """One keep-alive connection with at most one request on its way."""

    def __init__(self, port: int) -> None:
        self.sock = socket.create_connection((HOST, port), PATIENCE)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.settimeout(PATIENCE)
        self.next = b""
        self.sent = 0.0
        self.waiting = False
        self._got = b""

    def send(self) -> None:
        """Sends the next request."""
        self.waiting = True
        self.sent = time.perf_counter()
        self.sock.sendall(self.next)

    def receive(self) -> bytes | None:
        """The answer, once all of it is there. Raises OSError for a connection that ended."""
        data = self.sock.recv(65_536)
        if not data:
            raise ConnectionError("the connection was closed")
        if self._got:
            data = self._got + data
        end = data.find(b"\r\n\r\n")
        if end >= 0:
            head = data[:end].lower()
            at = head.find(b"\r\ncontent-length:")
            length = int(head[at + 17 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(data) >= end + 4 + length:
                self._got = b""
                self.waiting = False
                return data
        self._got = data
        return None

    def ask(self, request: bytes) -> bytes:
        """Sends one request and waits for its answer."""
        self.next = request
        self.send()
        while (answer := self.receive()) is None:
            pass
        return answer


class Generator:
    """Keeps all connections busy for the job's time."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._request = job.request.encode("latin-1")
        self._latencies: list[float] = []
        self._errors = 0
        self._first_error = ""
        self._selector = selectors.DefaultSelector()

    def run(self) -> Round:
        """Loads the server and says how it did."""
        links = [Link(self._job.port) for _ in range(self._job.connections)]
        for link in links:
            if self._job.first:
                answer = link.ask(self._job.first.encode("latin-1"))
                if not self._good(answer) or not self._chain(link, answer):
                    continue
            else:
                link.next = self._request
            link.sock.setblocking(True)  # spares a poll before each receive; the selector waits
            self._selector.register(link.sock, selectors.EVENT_READ, link)
        service, cpu = cpu_seconds(self._job.pid), time.process_time()
        started = time.perf_counter()
        for key in self._selector.get_map().values():
            key.data.send()
        elapsed = self._load(started + self._job.seconds) - started
        cpu, after = time.process_time() - cpu, cpu_seconds(self._job.pid)
        self._drain()
        for link in links:
            link.sock.close()
        times = sorted(self._latencies) or [0.0]
        return Round(
            requests=len(self._latencies),
            elapsed=elapsed,
            p50=times[len(times) // 2],
            p99=times[min(len(times) - 1, len(times) * 99 // 100)],
            errors=self._errors,
            first_error=self._first_error,
            generator_cpu=cpu,
            service_cpu=None if service is None or after is None else after - service,
        )

    def _load(self, end: float) -> float:
        now = time.perf_counter
        latencies, chained = self._latencies, bool(self._job.first)
        while self._selector.get_map() and (left := end - now()) > 0:
            for key, _ in self._selector.select(left):
                link: Link = key.data
                try:
                    answer = link.receive()
                    if answer is None:
                        continue
                    took = now() - link.sent
                    good = self._good(answer)
                    if good:
                        latencies.append(took)
                    if chained and not (good and self._chain(link, answer)):
                        self._selector.unregister(link.sock)
                        continue
                    link.send()
                except OSError as error:
                    self._lost(link, error)
        return now()

    def _drain(self) -> None:
        """Lets requests on their way end, so that none weighs on the next round."""
        end = time.perf_counter() + PATIENCE
        links = [key.data for key in self._selector.get_map().values()]
        for link in links:
            try:
                link.sock.settimeout(max(0.01, end - time.perf_counter()))
                while link.waiting:
                    answer = link.receive()
                    if answer is not None:
                        self._good(answer)
            except OSError as error:
                self._lost(link, error)

    def _chain(self, link: Link, answer: bytes) -> bool:
        """Makes the link's next request of the answer's refresh token, if there is one."""
        _, found, rest = answer.partition(_TOKEN)
        if not found:
            self._error(b"an answer without a refresh token")
            return False
        token = quote(rest[: rest.index(b'"')], safe="").encode()
        body = b"grant_type=refresh_token&refresh_token=" + token
        link.next = b"%s\r\nContent-Length: %d\r\n\r\n%s" % (self._request, len(body), body)
        return True

    def _good(self, answer: bytes) -> bool:
        if answer[9:12] == b"200":
            return True
        self._error(answer)
        return False

    def _lost(self, link: Link, error: OSError) -> None:
        link.waiting = False
        self._selector.unregister(link.sock)
        self._error(str(error).encode())

    def _error(self, answer: bytes) -> None:
        self._errors += 1
        # Nothing of a good answer comes here, and refusals hold no secrets.
        head, _, body = answer.partition(b"\r\n\r\n")
        text = head.split(b"\r\n", 1)[0] + b" " + body[:200]
        self._first_error = self._first_error or text.decode(errors="replace").strip()


def main() -> None:
    """Does the jobs on stdin, one a line, until it ends."""
    gc.disable()
    for line in sys.stdin:
        try:
            said = asdict(Generator(Job(**json.loads(line))).run())
        except OSError as error:
            said = {"failed": str(error)}
        try:
            print(json.dumps(said), flush=True)
        except BrokenPipeError:  # the bench was killed
            os._exit(1)
        gc.collect()


if __name__ == "__main__":
    main()
