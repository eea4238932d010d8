"""Every metric that Keyturn shows. Labels have few values, which stand in the code or a setting."""

from dataclasses import dataclass
from enum import StrEnum

from ..services.counts import AGE_BOUNDS, REQUEST_BOUNDS


class Kind(StrEnum):
    """What a metric is to Prometheus."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Merge(StrEnum):
    """How the numbers of several workers become one. `widest`: the farthest from 0."""

    SUM = "sum"
    MAX = "max"
    WIDEST = "widest"


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric. `bounds` are a histogram's, in the metric's unit."""

    name: str
    kind: Kind
    text: str
    labels: tuple[str, ...] = ()
    merge: Merge = Merge.SUM
    bounds: tuple[float, ...] = ()

    @property
    def shown(self) -> frozenset[str]:
        """The names under which its numbers are found."""
        if self.kind is Kind.HISTOGRAM:
            return frozenset(f"{self.name}_{part}" for part in ("bucket", "count", "sum"))
        return frozenset({self.name})


_C, _G, _H = Kind.COUNTER, Kind.GAUGE, Kind.HISTOGRAM
_ALL = (
    Metric("keyturn_build_info", _G, "Always 1.", ("version",), Merge.MAX),
    Metric("keyturn_workers", _G, "Worker processes that answer."),
    # --- requests
    Metric(
        "keyturn_request_duration_seconds",
        _H,
        "Time from a request to the end of its answer, by route and class of status.",
        ("route", "status"),
        bounds=REQUEST_BOUNDS,
    ),
    Metric("keyturn_requests_in_flight", _G, "Requests that are being answered."),
    Metric("keyturn_feed_followers", _G, "Resource servers that wait for revocations."),
    # --- tokens and keys
    Metric(
        "keyturn_token_requests_total",
        _C,
        "Calls of the token endpoint, by grant and outcome.",
        ("grant", "outcome"),
    ),
    Metric(
        "keyturn_refreshes_total",
        _C,
        "Refresh tokens: spent (step), presented again in time (grace), or too late (reuse).",
        ("result",),
    ),
    Metric(
        "keyturn_dead_key_attempts_total",
        _C,
        "API keys that were shown and are not good, by why.",
        ("reason",),
    ),
    Metric(
        "keyturn_recent_keys_total",
        _C,
        "API keys looked for: read a moment ago (hit), or read now (miss).",
        ("result",),
    ),
    Metric("keyturn_usage_queue", _G, "Distinct uses that are yet to be written."),
    Metric("keyturn_usage_lost_total", _C, "Uses that will never be written."),
    # --- revocations
    Metric(
        "keyturn_revocations_written_total",
        _C,
        "Revocations that were committed here, by kind.",
        ("kind",),
    ),
    Metric(
        "keyturn_revocation_propagation_seconds",
        _H,
        "From another node's writing of a revocation to its being known here, by how it was heard.",
        ("source",),
        bounds=AGE_BOUNDS,
    ),
    Metric(
        "keyturn_revocation_list_degraded",
        _G,
        "1 while the revocation list is slower, or behind.",
        merge=Merge.MAX,
    ),
    Metric(
        "keyturn_revocation_list_entries",
        _G,
        "Revocations in the local copy.",
        merge=Merge.MAX,
    ),
    Metric(
        "keyturn_revocation_list_age_seconds",
        _G,
        "All that was revoked until so long ago is known here.",
        merge=Merge.MAX,
    ),
    # --- the database
    Metric("keyturn_database_pool_size", _G, "Most connections of a pool.", ("pool",)),
    Metric("keyturn_database_pool_in_use", _G, "Connections in use.", ("pool",)),
    Metric("keyturn_database_pool_waiting", _G, "Calls that wait for a connection.", ("pool",)),
    Metric(
        "keyturn_database_pool_waits_total",
        _C,
        "Calls that had to wait for a connection.",
        ("pool",),
    ),
    Metric(
        "keyturn_database_pool_wait_seconds_total",
        _C,
        "Time waited for connections.",
        ("pool",),
    ),
    Metric(
        "keyturn_database_pool_timeouts_total",
        _C,
        "Calls that waited for a connection and got none.",
        ("pool",),
    ),
    Metric(
        "keyturn_clock_skew_seconds",
        _G,
        "How far the database's clock is ahead of this machine's, at least.",
        merge=Merge.WIDEST,
    ),
    # --- signing keys
    Metric("keyturn_signing_keys", _G, "Signing keys.", ("slot", "algorithm"), Merge.MAX),
    Metric(
        "keyturn_signing_key_age_seconds",
        _G,
        "How long the oldest key of a slot has been in it.",
        ("slot", "algorithm"),
        Merge.MAX,
    ),
    Metric(
        "keyturn_signing_key_max_age_seconds",
        _G,
        "After so long the next key is to sign; 0: never by itself.",
        merge=Merge.MAX,
    ),
    # --- the process, by their usual names
    Metric("process_cpu_seconds_total", _C, "CPU time spent."),
    Metric("process_resident_memory_bytes", _G, "Memory in use."),
    Metric("process_open_fds", _G, "Open files and connections."),
)

#: By their names.
METRICS = {metric.name: metric for metric in _ALL}
