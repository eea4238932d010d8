"""A reading as text, in the form that every Prometheus reads."""

import itertools
import math
from collections.abc import Iterator

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector, CollectorRegistry

from . import catalogue
from .catalogue import Kind
from .reading import Buckets, Labels, Number, Reading

#: What the text is.
CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"


def text(reading: Reading) -> bytes:
    """All numbers with their names and what they are."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Once(reading))
    return generate_latest(registry)


class _Once(Collector):
    def __init__(self, reading: Reading) -> None:
        self._reading = reading

    def describe(self) -> list[Metric]:
        """Nothing: nobody else registers."""
        return []

    def collect(self) -> Iterator[Metric]:
        for name, numbers in self._reading.items():
            yield _family(catalogue.METRICS[name], numbers)


def _end(bound: float) -> str:
    return "+Inf" if bound == math.inf else str(bound)


def _family(metric: catalogue.Metric, numbers: dict[Labels, Number]) -> Metric:
    if metric.kind is Kind.HISTOGRAM:
        histogram = HistogramMetricFamily(metric.name, metric.text, labels=metric.labels)
        for labels, number in sorted(numbers.items()):
            assert isinstance(number, Buckets)  # noqa: S101 - for mypy: so the catalogue says
            ends = [_end(bound) for bound in (*metric.bounds, math.inf)]
            shares = itertools.accumulate(number.counts)
            histogram.add_metric(labels, list(zip(ends, shares, strict=True)), number.total)
        return histogram
    make = CounterMetricFamily if metric.kind is Kind.COUNTER else GaugeMetricFamily
    family: CounterMetricFamily | GaugeMetricFamily = make(
        metric.name, metric.text, labels=metric.labels
    )
    for labels, number in sorted(numbers.items()):
        assert not isinstance(number, Buckets)  # noqa: S101 - for mypy
        family.add_metric(labels, number)
    return family
