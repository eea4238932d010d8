"""What the bench sends and what a round of load gives back."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from keyturn.cli.load.requests import LOOPBACK as HOST
from keyturn.cli.load.requests import Request, form

__all__ = ["CONNECTIONS", "HOST", "BenchError", "Request", "Round", "ask", "form"]

CONNECTIONS = 16


class BenchError(Exception):
    """The bench cannot go on. Its text says why, without any secret."""


def ask(request: Request, port: int) -> dict[str, str]:
    """Sends a request once and gives the JSON answer. Raises BenchError for anything but 200."""
    link = http.client.HTTPConnection(HOST, port, timeout=10)
    where = f"{request.method} {request.path}"
    try:
        link.request(request.method, request.path, request.body or None, dict(request.headers))
        answer = link.getresponse()
        text = answer.read()
    except OSError as error:
        raise BenchError(f"{where}: {error}") from None
    finally:
        link.close()
    if answer.status != 200:
        raise BenchError(f"{where}: {answer.status} {text[:200]!r}")
    parsed: dict[str, str] = json.loads(text)
    return parsed


@dataclass(frozen=True)
class Round:
    """What one round of load measured. Times in seconds.

    `cpu` is the processor time of each program that was watched, by the names of `Watched`.
    """

    requests: int
    elapsed: float
    p50: float
    p99: float
    errors: int
    first_error: str
    generator_cpu: float
    cpu: Mapping[str, float] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        """Answers a second."""
        return self.requests / self.elapsed
