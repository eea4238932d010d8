"""Traces: what a collector is told of a request, and what a request feels of the collector."""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import threading
from collections.abc import Awaitable, Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from opentelemetry.trace import NoOpTracer

from keyturn.server import logs, spans
from keyturn.server.domain.errors import Unavailable
from keyturn.server.spans import TraceParent, read_traceparent
from keyturn.server.telemetry.tracing import OtlpTracer
from tests.http.conftest import Running
from tests.secret_scan import scan_for_secrets
from tests.servers import free_port

Start = Callable[..., Awaitable[Running]]

TRACE, ABOVE = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


class Collector:
    """Takes spans by OTLP over HTTP."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.text = ""
        self.paths: set[str] = set()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                request = ExportTraceServiceRequest.FromString(body)
                collector.paths.add(self.path)
                collector.text += str(request)
                for of_resource in request.resource_spans:
                    for of_scope in of_resource.scope_spans:
                        collector.spans.extend(of_scope.spans)
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    async def request(self, name: str) -> Span:
        """The span of a request, once it came, after all of its parts."""
        async with asyncio.timeout(20):
            while True:
                found = [span for span in self.spans if span.name == name]
                if found:
                    return found[-1]
                await asyncio.sleep(0.02)

    def parts(self, request: Span) -> list[Span]:
        return [span for span in self.spans if span.parent_span_id == request.span_id]


@pytest.fixture
def collector() -> Iterator[Collector]:
    collector = Collector()
    thread = threading.Thread(target=collector.server.serve_forever, daemon=True)
    thread.start()
    yield collector
    collector.server.shutdown()
    collector.server.server_close()
    thread.join(10)


def attributes(span: Span) -> dict[str, Any]:
    values = {}
    for pair in span.attributes:
        kind = pair.value.WhichOneof("value")
        assert kind is not None
        values[pair.key] = getattr(pair.value, kind)
    return values


def traceparent(flags: str = "01") -> dict[str, str]:
    return {"traceparent": f"00-{TRACE}-{ABOVE}-{flags}"}


async def exchange(service: Running, headers: dict[str, str] | None = None) -> dict[str, Any]:
    answer = await service.token(
        headers=headers, grant_type="password", username=service.username, password=service.api_key
    )
    assert answer.status_code == 200
    body: dict[str, Any] = answer.json()
    return body


class TestSpans:
    async def test_of_an_exchange_and_its_parts(self, start: Start, collector: Collector) -> None:
        service = await start(otlp_endpoint=collector.url, trace_ratio=1.0)
        await exchange(service)
        request = await collector.request("POST /iam/auth/token")
        assert collector.paths == {"/v1/traces"}
        assert request.kind == Span.SPAN_KIND_SERVER
        assert attributes(request) == {
            "http.request.method": "POST",
            "http.route": "/iam/auth/token",
            "http.response.status_code": 200,
        }
        names = {span.name for span in collector.parts(request)}
        assert names == {"database lookup", "sign ES256"}
        assert {span.trace_id for span in collector.parts(request)} == {request.trace_id}

    async def test_of_statements_by_kind_and_table(
        self, start: Start, collector: Collector
    ) -> None:
        service = await start(otlp_endpoint=collector.url, trace_ratio=1.0)
        token = (await exchange(service))["access_token"]
        await service.client.post("/iam/auth/revoke", data={"token": token})
        request = await collector.request("POST /iam/auth/revoke")
        names = {span.name for span in collector.parts(request)}
        assert {"database INSERT revocations", "database INSERT audit_events"} <= names
        assert "database COMMIT" in names

    async def test_nothing_of_what_was_said(self, start: Start, collector: Collector) -> None:
        service = await start(otlp_endpoint=collector.url, trace_ratio=1.0)
        mark = f"hostile{secrets.token_hex(4)}"
        tokens = await exchange(service)
        await service.client.get(f"/iam/{mark}?{mark}={mark}")
        await service.client.get(f"/iam/users/{mark}", headers={"x-request-id": mark})
        await service.token(grant_type="password", username=mark, password=service.api_key)
        await service.client.request(mark.upper(), "/iam/auth/token")
        await service.get("/iam/users/me", tokens["access_token"])
        await collector.request("GET /iam/users/me")
        assert mark not in collector.text.lower()
        for secret in (service.api_key, tokens["access_token"], tokens["refresh_token"]):
            assert secret not in collector.text
        assert service.username not in collector.text
        assert scan_for_secrets(collector.text) == []
        assert {"GET none", "_OTHER /iam/auth/token"} <= {span.name for span in collector.spans}

    async def test_of_a_fault(
        self, start: Start, collector: Collector, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        service = await start(otlp_endpoint=collector.url, trace_ratio=1.0)

        mark = f"private{secrets.token_hex(4)}"

        async def broken(*_: object, **__: object) -> None:
            raise Unavailable(mark)

        monkeypatch.setattr(type(service.service.parts.lookup), "find", broken)
        answer = await service.token(
            grant_type="password", username=service.username, password=service.api_key
        )
        assert answer.status_code == 503
        request = await collector.request("POST /iam/auth/token")
        assert request.status.code == Status.STATUS_CODE_ERROR
        assert mark not in collector.text


class TestParent:
    async def test_is_gone_on_with(self, start: Start, collector: Collector) -> None:
        service = await start(
            otlp_endpoint=collector.url, trace_ratio=0.0, trusted_proxies="127.0.0.0/8"
        )
        await exchange(service)
        await exchange(service, traceparent())
        request = await collector.request("POST /iam/auth/token")
        assert request.trace_id.hex() == TRACE
        assert request.parent_span_id.hex() == ABOVE
        # The one without a parent was not recorded.
        assert {span.trace_id.hex() for span in collector.spans} == {TRACE}

    async def test_of_anybody_but_a_trusted_proxy_is_not_believed(
        self, start: Start, collector: Collector, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seen: list[TraceParent | None] = []
        monkeypatch.setattr(OtlpTracer, "begin", lambda _, __, parent: seen.append(parent))
        service = await start(otlp_endpoint=collector.url, trusted_proxies="192.0.2.0/24")
        # What it forwards is not asked: the connection is somebody else's.
        for flags in ("00", "01"):
            await exchange(service, {**traceparent(flags), "x-forwarded-for": "192.0.2.1"})
        assert seen == [TraceParent(TRACE, ABOVE, None)] * 2

    def test_of_anybody_is_recorded_by_chance(self) -> None:
        parent = TraceParent(TRACE, ABOVE, None)
        tracer = NoOpTracer()
        assert OtlpTracer(tracer, 0.0).begin("GET", parent) is None
        assert OtlpTracer(tracer, 1.0).begin("GET", parent) is not None

    @pytest.mark.parametrize("flags", ["00", "01"])
    async def test_of_anybody_is_gone_on_with_where_chance_records(
        self, start: Start, collector: Collector, flags: str
    ) -> None:
        service = await start(otlp_endpoint=collector.url, trace_ratio=1.0)
        await exchange(service, traceparent(flags))
        request = await collector.request("POST /iam/auth/token")
        assert request.trace_id.hex() == TRACE
        assert request.parent_span_id.hex() == ABOVE

    async def test_that_is_not_recorded_is_not_here(
        self, start: Start, collector: Collector
    ) -> None:
        service = await start(
            otlp_endpoint=collector.url, trace_ratio=1.0, trusted_proxies="127.0.0.0/8"
        )
        await exchange(service, traceparent("00"))
        await service.get("/health/live")
        await collector.request("GET /health/live")
        assert TRACE not in {span.trace_id.hex() for span in collector.spans}

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "x",
            f"00-{TRACE}-{ABOVE}",
            f"00-{TRACE}-{ABOVE}-01-more",
            f"00-{TRACE.upper()}-{ABOVE}-01",
            f"00-{'0' * 32}-{ABOVE}-01",
            f"00-{TRACE}-{'0' * 16}-01",
            f"ff-{TRACE}-{ABOVE}-01",
            f"01-{TRACE}-{ABOVE}-01-{'x' * 300}",
            f"00-{TRACE}-{ABOVE}-01\n",
        ],
    )
    def test_that_is_malformed_is_none(self, text: str) -> None:
        assert read_traceparent([text.encode()]) is None

    def test_that_is_well_formed(self) -> None:
        value = f"00-{TRACE}-{ABOVE}-01".encode()
        assert read_traceparent([value]) == TraceParent(TRACE, ABOVE, True)
        assert read_traceparent([value, value]) is None
        assert read_traceparent([]) is None
        later = f"01-{TRACE}-{ABOVE}-00-more".encode()
        assert read_traceparent([later]) == TraceParent(TRACE, ABOVE, False)


class TestLogs:
    @pytest.fixture
    def told(self) -> Iterator[list[dict[str, Any]]]:
        """What is logged, as it would be written."""
        lines: list[dict[str, Any]] = []
        formatter = logs._Formatter(logs._as_json)

        class Handler(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                lines.append(json.loads(formatter.format(record)))

        handler = Handler()
        logger = logging.getLogger("keyturn")
        level = logger.level
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        yield lines
        logger.removeHandler(handler)
        logger.setLevel(level)

    async def test_carry_the_caller_s_trace_without_a_collector(
        self, start: Start, told: list[dict[str, Any]]
    ) -> None:
        service = await start(access_log="all")
        await exchange(service, traceparent())
        await exchange(service, {"traceparent": "garbage"})
        first, second = [line for line in told if line["event"] == "request"]
        assert first["trace_id"] == TRACE
        assert "trace_id" not in second

    async def test_carry_the_trace_that_was_begun(
        self, start: Start, collector: Collector, told: list[dict[str, Any]]
    ) -> None:
        service = await start(access_log="all", otlp_endpoint=collector.url, trace_ratio=1.0)
        await exchange(service)
        request = await collector.request("POST /iam/auth/token")
        [line] = [line for line in told if line["event"] == "request"]
        assert line["trace_id"] == request.trace_id.hex()
        assert spans.current.get() is None
        assert logs.trace_id.get() is None


class TestCollectorThatIsAway:
    async def test_nobody_notices_and_the_end_comes_soon(self, start: Start) -> None:
        # Not there at all, and one that accepts and says nothing.
        silent = await asyncio.start_server(lambda *_: asyncio.sleep(3600), "127.0.0.1", 0)
        port = silent.sockets[0].getsockname()[1]
        try:
            for at in (free_port(), port):
                service = await start(otlp_endpoint=f"http://127.0.0.1:{at}", trace_ratio=1.0)
                for _ in range(5):
                    await exchange(service)
        finally:
            silent.close()
