"""How long after a revocation the other node still accepts what was revoked.

`python -m tests.faults.propagation --tries 500` starts two nodes with stores of their own, once
with Redis well and once with Redis out of the revoker's reach, and prints what it measured.
Counted is from the moment the revocation is sent to the first refusal that comes back: each figure
contains both calls, and how often the other node is asked.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import httpx

from .nodes import Node, Site, open_site

#: Tries under way at once where most of each is waiting.
AT_ONCE = 8
#: Seconds between two questions of all tries under way.
PAUSE = 0.01
#: Every how many seconds a node reads the database.
TAIL = 0.5
#: A revocation that is not known by then is lost (seconds).
LOST = 30.0


@dataclass(frozen=True)
class Propagation:
    """Seconds, sorted: from a revocation to its refusal, and of one question in the same run."""

    times: tuple[float, ...]
    questions: tuple[float, ...]

    def percentile(self, percent: float) -> float:
        """That percentile, in seconds."""
        return _at(self.times, percent)

    @property
    def question(self) -> float:
        """How long one question takes in most cases, in seconds: a busy machine's is long."""
        return _at(self.questions, 75)

    def __str__(self) -> str:
        p50, p99 = self.percentile(50) * 1000, self.percentile(99) * 1000
        return (
            f"median {p50:.0f} ms, p99 {p99:.0f} ms, slowest {self.times[-1] * 1000:.0f} ms"
            f" of {len(self.times)}"
        )


def _at(values: tuple[float, ...], percent: float) -> float:
    return values[min(len(values) - 1, int(len(values) * percent / 100))]


async def measure(revoker: Node, other: Node, tries: int, at_once: int) -> Propagation:
    """Revokes on one node and asks the other, so many times."""
    left = iter(range(tries))
    times: list[float] = []
    questions: list[float] = []
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(timeout=30, limits=limits) as http:

        async def work() -> None:
            for _ in left:
                # Anywhere in between two of the other node's tails.
                await asyncio.sleep(random.uniform(0, TAIL) if at_once > 1 else 0)
                times.append(await _try(http, revoker, other, PAUSE * at_once, questions))

        await asyncio.gather(*(work() for _ in range(at_once)))
    return Propagation(tuple(sorted(times)), tuple(sorted(questions)))


async def _try(
    http: httpx.AsyncClient, revoker: Node, other: Node, pause: float, questions: list[float]
) -> float:
    form = {
        "grant_type": "password",
        "username": revoker.demo.username,
        "password": revoker.demo.api_key,
    }
    answer = await http.post(revoker.server.token_url, data=form)
    access = answer.json()["access_token"]
    headers = {"authorization": f"Bearer {access}"}

    async def refused(node: Node) -> bool:
        asked = time.perf_counter()
        answer = await http.get(node.server.me_url, headers=headers)
        questions.append(time.perf_counter() - asked)
        assert answer.status_code in {200, 401}, answer.text
        return answer.status_code == 401

    assert not await refused(other)
    started = time.perf_counter()
    answer = await http.post(revoker.server.revoke_url, data={"token": access})
    assert answer.status_code == 200
    while not await refused(other):
        assert time.perf_counter() - started < LOST
        await asyncio.sleep(pause)
    took = time.perf_counter() - started
    assert await refused(revoker)
    return took


def with_redis(site: Site, tries: int) -> Propagation:
    """All is well."""
    here, there = site.nodes
    return asyncio.run(measure(here, there, tries, 1))


def without_redis(site: Site, tries: int) -> Propagation:
    """Redis is out of the revoker's reach, and within the other's."""
    here, there = site.nodes
    here.redis.refuse()
    try:
        return asyncio.run(measure(here, there, tries, AT_ONCE))
    finally:
        here.redis.mend()


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description="How fast a revocation reaches the other node.")
    parser.add_argument("--tries", type=int, default=500, help="how many of each (default: 500)")
    tries = parser.parse_args().tries
    with tempfile.TemporaryDirectory() as directory, open_site(Path(directory)) as site:
        print(f"with Redis: {with_redis(site, tries)}")
        print(f"the revoker without Redis: {without_redis(site, tries)}")


if __name__ == "__main__":
    main()
