"""Requests as the load sends them, and what a round of load gives back."""

from __future__ import annotations

import base64
import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlencode

HOST = "127.0.0.1"
CONNECTIONS = 16
FORM = "application/x-www-form-urlencoded"


class BenchError(Exception):
    """The bench cannot go on. Its text says why, without any secret."""


@dataclass(frozen=True)
class Request:
    """One HTTP request, the same each time. Holds secrets: it stays out of logs and reprs."""

    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: str = field(default="", repr=False)

    def wire(self, port: int) -> str:
        """The request as it goes over the wire."""
        lines = [f"{self.method} {self.path} HTTP/1.1", f"Host: {HOST}:{port}"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        if self.body:
            lines.append(f"Content-Length: {len(self.body)}")
        return "\r\n".join([*lines, "", self.body])

    def ask(self, port: int) -> dict[str, str]:
        """Sends it once and gives the JSON answer. Raises BenchError for anything but 200."""
        link = http.client.HTTPConnection(HOST, port, timeout=10)
        try:
            link.request(self.method, self.path, self.body or None, dict(self.headers))
            answer = link.getresponse()
            text = answer.read()
        except OSError as error:
            raise BenchError(f"{self.method} {self.path}: {error}") from None
        finally:
            link.close()
        if answer.status != 200:
            raise BenchError(f"{self.method} {self.path}: {answer.status} {text[:200]!r}")
        parsed: dict[str, str] = json.loads(text)
        return parsed


def form(path: str, headers: Mapping[str, str] | None = None, /, **params: str) -> Request:
    """A POST of a form."""
    return Request("POST", path, {"Content-Type": FORM, **(headers or {})}, urlencode(params))


def basic(username: str, password: str) -> dict[str, str]:
    """The header of HTTP Basic authentication (RFC 7617)."""
    text = base64.b64encode(f"{username}:{password}".encode()).decode()
    return {"Authorization": f"Basic {text}"}


@dataclass(frozen=True)
class Round:
    """What one round of load measured. Times in seconds."""

    requests: int
    elapsed: float
    p50: float
    p99: float
    errors: int
    first_error: str
    generator_cpu: float
    service_cpu: float | None = None

    @property
    def rate(self) -> float:
        """Answers a second."""
        return self.requests / self.elapsed
