"""Spans for a collector, by OpenTelemetry: OTLP over HTTP. Imported only where one is set.

Spans are sent by a thread of their own, in batches, out of a bounded queue: a collector that is
away costs spans, and nothing else.
"""

import asyncio
import contextlib
import logging
import random
import threading
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    format_trace_id,
    set_span_in_context,
)
from opentelemetry.trace import Span as TelemetrySpan
from opentelemetry.trace import Tracer as TelemetryTracer

from ... import __version__
from ..spans import Span, TraceParent, Tracer

log = logging.getLogger(__name__)

# These tell of every try that failed, every few seconds.
_LOUD = ("opentelemetry.exporter", "opentelemetry.sdk")

#: Spans that wait to be sent; later ones are dropped.
MOST_WAITING = 4_096
#: How often they are sent, and how long sending may take, in seconds.
INTERVAL, PATIENCE = 1.0, 5.0
#: How long the end waits for the last ones, in seconds.
LAST_WAIT = 2.0

# RFC 9110, 9, and RFC 5789. Others are whatever somebody wrote.
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class RequestSpan:
    """Implements `spans.Span`."""

    __slots__ = ("_context", "_method", "_span", "_tracer")

    def __init__(self, tracer: TelemetryTracer, span: TelemetrySpan, method: str) -> None:
        self._tracer = tracer
        self._span = span
        self._method = method
        # All parts are the request's: none of them is made of others.
        self._context = set_span_in_context(span, Context())

    @property
    def trace_id(self) -> str:
        """See `spans.Span`."""
        return format_trace_id(self._span.get_span_context().trace_id)

    @contextlib.contextmanager
    def child(self, name: str, attributes: Mapping[str, str], *, outward: bool) -> Iterator[None]:
        """See `spans.Span`."""
        kind = SpanKind.CLIENT if outward else SpanKind.INTERNAL
        span = self._tracer.start_span(name, self._context, kind, dict(attributes))
        try:
            yield
        except BaseException:
            # Not what it was: an error's text may quote anything.
            span.set_status(Status(StatusCode.ERROR))
            raise
        finally:
            span.end()

    def end(self, route: str, status: int) -> None:
        """See `spans.Span`."""
        self._span.update_name(f"{self._method} {route}")
        self._span.set_attribute("http.route", route)
        self._span.set_attribute("http.response.status_code", status)
        if status >= 500:
            self._span.set_status(Status(StatusCode.ERROR))
        self._span.end()


class Telling(SpanExporter):
    """An exporter, and one line in the log when spans begin to be lost, and one when they are not
    any more. Used by one thread.
    """

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self._failing = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """See SpanExporter."""
        result = self._exporter.export(spans)
        failing = result is not SpanExportResult.SUCCESS
        if failing and not self._failing:
            log.warning("the collector takes no spans: they are lost until it does")
        elif self._failing and not failing:
            log.info("the collector takes spans again")
        self._failing = failing
        return result

    def shutdown(self) -> None:
        """See SpanExporter."""
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """See SpanExporter."""
        return self._exporter.force_flush(timeout_millis)


class OtlpTracer:
    """Implements `spans.Tracer`."""

    def __init__(self, tracer: TelemetryTracer, ratio: float) -> None:
        self._tracer = tracer
        self._ratio = ratio

    def begin(self, method: str, parent: TraceParent | None) -> Span | None:
        """See `spans.Tracer`."""
        # Chosen here, as a sampler would: a span that is not recorded costs nearly as much as one
        # that is.
        chance = random.random() < self._ratio  # noqa: S311 - not a secret
        chosen = None if parent is None else parent.sampled
        if not (chance if chosen is None else chosen):
            return None
        method = method if method in _METHODS else "_OTHER"
        span = self._tracer.start_span(
            method, _context(parent), SpanKind.SERVER, {"http.request.method": method}
        )
        return RequestSpan(self._tracer, span, method)


def _context(parent: TraceParent | None) -> Context:
    if parent is None:
        return Context()
    flags = TraceFlags(TraceFlags.SAMPLED)
    above = SpanContext(int(parent.trace_id, 16), int(parent.span_id, 16), True, flags)
    return set_span_in_context(NonRecordingSpan(above), Context())


@contextlib.asynccontextmanager
async def tracing(endpoint: str, ratio: float) -> AsyncGenerator[Tracer]:
    """Sends spans to a collector until the block ends; then what is left, within `LAST_WAIT`.

    `endpoint` is its base URL, to which `/v1/traces` is added; `ratio` the share of requests that
    are recorded, but for those with a trace for which a trusted proxy has chosen already.
    """
    for name in _LOUD:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    exporter = Telling(OTLPSpanExporter(f"{endpoint.rstrip('/')}/v1/traces", timeout=PATIENCE))
    processor = BatchSpanProcessor(
        exporter, max_queue_size=MOST_WAITING, schedule_delay_millis=INTERVAL * 1000
    )
    provider = TracerProvider(
        sampler=ALWAYS_ON,  # `begin` has chosen
        resource=Resource.create({"service.name": "keyturn", "service.version": __version__}),
        shutdown_on_exit=False,  # it would wait longer
    )
    provider.add_span_processor(processor)
    try:
        yield OtlpTracer(provider.get_tracer("keyturn", __version__), ratio)
    finally:
        last = threading.Thread(target=provider.shutdown, name="last spans", daemon=True)
        last.start()
        await asyncio.to_thread(last.join, LAST_WAIT)
