"""Spans that a collector does not take are told once, not every second."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from keyturn.server.telemetry.tracing import Telling

LOST, TAKEN = SpanExportResult.FAILURE, SpanExportResult.SUCCESS


class Collector(SpanExporter):
    def __init__(self, *results: SpanExportResult) -> None:
        self.results = iter(results)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return next(self.results)


def test_told_once_until_they_are_taken_again(caplog: pytest.LogCaptureFixture) -> None:
    results = (TAKEN, LOST, LOST, LOST, TAKEN, TAKEN, LOST)
    telling = Telling(Collector(*results))
    assert [telling.export(()) for _ in results] == list(results)
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO", "WARNING"]
