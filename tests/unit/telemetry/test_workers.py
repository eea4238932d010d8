"""Several workers' numbers as one: sums that never go back, whoever comes and goes."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from keyturn.server.telemetry import catalogue
from keyturn.server.telemetry.catalogue import METRICS, Kind, Merge
from keyturn.server.telemetry.reading import Buckets, Reading
from keyturn.server.telemetry.workers import Workers, merged, told

TOKENS = "keyturn_token_requests_total"
TIMES = "keyturn_request_duration_seconds"
AGE = "keyturn_revocation_list_age_seconds"
QUEUE = "keyturn_usage_queue"


def reading(count: int, *, queue: float = 0, age: float = 0.0) -> Reading:
    ranges = len(METRICS[TIMES].bounds) + 1
    return {
        TOKENS: {("password", "issued"): count},
        TIMES: {("/iam/auth/token", "2xx"): Buckets((count,) + (0,) * (ranges - 1), count / 10)},
        QUEUE: {(): queue},
        AGE: {(): age},
    }


async def leave(directory: Path, *numbers: Reading) -> None:
    """What workers of this process would leave there."""
    for number in numbers:
        async with told(directory, lambda number=number: number):  # type: ignore[misc]
            pass


def of_nobody(directory: Path) -> None:
    """Gives all readings there to a process that has ended."""
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait(30)
    for path in directory.glob(f"{os.getpid()}-*.json"):
        path.rename(path.with_name(path.name.replace(f"{os.getpid()}-", f"{done.pid}-")))


def files(directory: Path) -> list[Path]:
    return list(directory.iterdir())


class TestMerged:
    def test_counters_and_ranges_are_added_up(self) -> None:
        both = merged([reading(3), reading(4)])
        assert both[TOKENS] == {("password", "issued"): 7}
        times = both[TIMES]["/iam/auth/token", "2xx"]
        assert isinstance(times, Buckets)
        assert (times.counts[0], round(times.total, 6)) == (7, 0.7)

    def test_of_states_each_in_its_way(self) -> None:
        both = merged([reading(0, queue=2, age=0.5), reading(0, queue=3, age=float("inf"))])
        assert both[QUEUE] == {(): 5}
        assert both[AGE] == {(): float("inf")}

    def test_the_skew_that_is_farthest_from_none(self) -> None:
        name = "keyturn_clock_skew_seconds"
        assert METRICS[name].merge is Merge.WIDEST
        assert merged([{name: {(): 0.5}}, {name: {(): -2.0}}])[name] == {(): -2.0}

    def test_labels_that_one_of_them_has(self) -> None:
        one: Reading = {TOKENS: {("password", "issued"): 1}}
        other: Reading = {TOKENS: {("refresh_token", "issued"): 2}}
        assert merged([one, other])[TOKENS] == {**one[TOKENS], **other[TOKENS]}


class TestWorkers:
    async def test_all_that_live_are_added_up(self, tmp_path: Path) -> None:
        await leave(tmp_path, reading(3, queue=1), reading(4, queue=1))
        found = Workers(tmp_path).read()
        assert found[TOKENS] == {("password", "issued"): 7}
        assert found[QUEUE] == {(): 2}

    async def test_what_the_dead_counted_stays_and_their_files_do_not(self, tmp_path: Path) -> None:
        workers = Workers(tmp_path)
        await leave(tmp_path, reading(3, queue=5))
        of_nobody(tmp_path)
        await leave(tmp_path, reading(4, queue=1))
        for _ in range(2):  # and is not counted twice
            found = workers.read()
            assert found[TOKENS] == {("password", "issued"): 7}
            assert found[QUEUE] == {(): 1}
            assert len(files(tmp_path)) == 1
        of_nobody(tmp_path)
        assert workers.read()[TOKENS] == {("password", "issued"): 7}
        assert files(tmp_path) == []
        assert QUEUE not in workers.read()

    async def test_an_infinite_age_survives_the_file(self, tmp_path: Path) -> None:
        await leave(tmp_path, reading(1, age=float("inf")))
        assert Workers(tmp_path).read()[AGE] == {(): float("inf")}

    async def test_a_file_that_is_none_hurts_nobody(self, tmp_path: Path) -> None:
        await leave(tmp_path, reading(3))
        (tmp_path / f"{os.getpid()}-0.json").write_bytes(b"{")
        assert Workers(tmp_path).read()[TOKENS] == {("password", "issued"): 3}

    async def test_a_worker_tells_while_it_works(self, tmp_path: Path) -> None:
        async with told(tmp_path, lambda: reading(2)):
            async with asyncio.timeout(10):
                while not Workers(tmp_path).read():  # noqa: ASYNC110 - it tells nobody else
                    await asyncio.sleep(0.01)

    async def test_a_directory_that_is_gone_ends_no_worker(self, tmp_path: Path) -> None:
        async with told(tmp_path / "gone", lambda: reading(1)):
            await asyncio.sleep(0.05)


class TestCatalogue:
    @pytest.mark.parametrize("metric", METRICS.values(), ids=lambda metric: metric.name)
    def test_names_follow_the_conventions(self, metric: catalogue.Metric) -> None:
        assert metric.name.startswith(("keyturn_", "process_"))
        assert metric.name.endswith("_total") == (metric.kind is Kind.COUNTER)
        assert bool(metric.bounds) == (metric.kind is Kind.HISTOGRAM)
        assert metric.text.endswith(".")
        assert not {"tenant", "user", "key", "path", "username"} & set(metric.labels)
