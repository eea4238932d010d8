"""Traces, as all parts of the service know them: what is open while a request is answered.

A part that may take time says `with span("database lookup"):`. That does nothing unless the
request is traced (`telemetry.tracing`). What a span says is a word of this code: no value of a
statement, no query string, no name of anybody.
"""

import importlib.util
import re
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol


class Span(Protocol):
    """A request that is traced."""

    @property
    def trace_id(self) -> str:
        """32 hexadecimal digits."""
        ...

    def child(
        self, name: str, attributes: Mapping[str, str], *, outward: bool
    ) -> AbstractContextManager[None]:
        """A part of it. `outward`: another server does the work."""
        ...

    def end(self, route: str, status: int) -> None:
        """It was answered. `route` is a template."""
        ...


@dataclass(frozen=True, slots=True)
class TraceParent:
    """The trace that a caller is in (W3C Trace Context, 3.2).

    `sampled`: whether the caller records it; None: it says so, and is not believed.
    """

    trace_id: str
    span_id: str
    sampled: bool | None


class Tracer(Protocol):
    """Makes spans."""

    def begin(self, method: str, parent: TraceParent | None) -> Span | None:
        """Of a request, by whoever asks for it; None for one that is not recorded."""
        ...


#: The traced request that is being answered.
current: ContextVar[Span | None] = ContextVar("keyturn_span", default=None)

_NOTHING = nullcontext()


def span(
    name: str, attributes: Mapping[str, str] = MappingProxyType({}), *, outward: bool = False
) -> AbstractContextManager[None]:
    """Around a part of the work that may take time. `outward`: another server does it."""
    request = current.get()
    if request is None:
        return _NOTHING
    return request.child(name, attributes, outward=outward)


def can_trace() -> bool:
    """Whether what sends traces is installed: the extra `tracing`."""
    try:
        found = importlib.util.find_spec("opentelemetry.exporter.otlp.proto.http")
        return found is not None and importlib.util.find_spec("opentelemetry.sdk") is not None
    except ModuleNotFoundError:
        return False


# Later versions may say more behind it (4.3); how much more is looked at is bounded.
_TRACEPARENT = re.compile(
    rb"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})"
    rb"(-[\x21-\x7e]{0,200})?"
)


def read_traceparent(values: Sequence[bytes]) -> TraceParent | None:
    """What the header says; None for a malformed or repeated one, which is ignored (4.3)."""
    if len(values) != 1:
        return None
    found = _TRACEPARENT.fullmatch(values[0])
    if found is None or (found[1] == b"00" and found[5] is not None):
        return None
    return TraceParent(found[2].decode(), found[3].decode(), bool(int(found[4], 16) & 1))
