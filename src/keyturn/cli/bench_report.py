"""What `keyturn bench` prints: a table, the latencies as bars, or JSON."""

import sys

from . import tables
from .answers import Entity
from .bench_run import Done
from .load.jobs import Round
from .problems import say

#: A service that has enough says so; nothing of that is a mistake in an answer.
_BUSY = (429, 503)
_COLUMNS = (
    *("call", "per second", "p50 ms", "p90 ms", "p99 ms", "max ms"),
    *("answers", "limited", "503", "other errors"),
)
_BARS, _WIDTH = 12, 40


def show(done: Done, url: str, connections: int, *, as_json: bool) -> None:
    """Prints all that was measured."""
    if as_json:
        results = {call: _told(one) for call, one in done.rounds.items()}
        tables.show_json(
            {
                "url": url,
                "connections": connections,
                "interrupted": done.interrupted,
                "calls": results,
            }
        )
    else:
        rows = [_row(call, one) for call, one in done.rounds.items()]
        tables.show_list(rows, False, _COLUMNS, as_json=False)
        for call, one in done.rounds.items():
            _show_bars(call, one)
    for call, one in done.rounds.items():
        limited = one.statuses[429]
        if others := one.errors - limited:
            first = tables.text(one.first_error)
            say(f"keyturn: {call}: {others} errors; the first: {first}")
        if limited:
            name = one.limit.replace("-", "_").upper()
            by = f" by its KEYTURN_LIMIT_{name}" if name else ""
            say(f"keyturn: {call}: {limited:,} limited{by}: that is no measure of what it can")
        if not one.requests and not one.errors:
            say(f"keyturn: {call}: no answer came in that time; try more --seconds")
        if one.elapsed < 0.9 * done.seconds and not done.interrupted:
            took = f"{one.elapsed:.1f} s of {done.seconds:g}"
            say(f"keyturn: {call}: ended after {took}: no connection was left")
    if done.interrupted:
        say("keyturn: interrupted; these are the figures so far")


def _row(call: str, one: Round) -> Entity:
    latencies = one.latencies
    times = [*(latencies.quantile(share) for share in (0.5, 0.9, 0.99)), latencies.longest]
    others = {status: count for status, count in one.statuses.items() if status not in _BUSY}
    said = [f"{count} × {status}" for status, count in sorted(others.items())]
    if one.lost:
        said.append(f"{one.lost} without an answer")
    values = (
        *(call, f"{one.rate:,.0f}", *(f"{time * 1e3:,.2f}" for time in times)),
        *(f"{one.requests:,}", *(str(one.statuses[status]) for status in _BUSY)),
        ", ".join(said) or "0",
    )
    return dict(zip(_COLUMNS, values, strict=True))


def _told(one: Round) -> Entity:
    latencies = one.latencies
    return {
        "per_second": round(one.rate, 1),
        "seconds": round(one.elapsed, 3),
        "answers": one.requests,
        "p50_ms": round(latencies.quantile(0.5) * 1e3, 3),
        "p90_ms": round(latencies.quantile(0.9) * 1e3, 3),
        "p99_ms": round(latencies.quantile(0.99) * 1e3, 3),
        "max_ms": round(latencies.longest * 1e3, 3),
        "errors": {str(status): count for status, count in sorted(one.statuses.items())},
        "without_answer": one.lost,
        "limited": one.statuses[429],
        "limit": one.limit or None,
        "first_error": one.first_error or None,
        "load_busy": round(one.generator_cpu / one.elapsed, 3) if one.elapsed else None,
        "histogram": [
            {"below_ms": round(bound * 1e3, 3), "answers": count}
            for bound, count in latencies.bars(_BARS)
        ],
    }


def _show_bars(call: str, one: Round) -> None:
    bars = one.latencies.bars(_BARS)
    if not bars:
        return
    most = max(count for _, count in bars)
    block = "█" if (sys.stdout.encoding or "").lower().startswith("utf") else "#"
    print(f"\n{call}: answers by how long they took")
    for bound, count in bars:
        bar = block * (-(-_WIDTH * count // most))
        print(f"  below {bound * 1e3:>10,.2f} ms  {bar:<{_WIDTH}}  {count:,}")
