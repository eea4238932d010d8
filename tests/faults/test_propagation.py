"""Refused everywhere within a second, with Redis and without it (promise P4)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from .nodes import Site
from .propagation import Propagation, with_redis, without_redis

#: The promise, but for the calls by which it is seen, and how late it may be in a hundredth.
HEARD_SECONDS, LATE_SECONDS = 1.0, 5.0
#: The revocation, the question that comes too early, and the one that is refused.
CALLS = 3


@pytest.mark.slow_fault
# Without Redis most of it is waiting; `python -m tests.faults.propagation` has more patience.
@pytest.mark.parametrize(("measure", "tries"), [(with_redis, 500), (without_redis, 100)])
def test_refused_on_the_other_node(
    site: Site,
    measure: Callable[[Site, int], Propagation],
    tries: int,
    measured: Callable[[str], None],
) -> None:
    found = measure(site, tries)
    measured(f"revoke to refusal on the other node: {found}")
    calls = CALLS * found.question
    assert found.percentile(75) < HEARD_SECONDS + calls
    assert found.percentile(99) < LATE_SECONDS + calls
