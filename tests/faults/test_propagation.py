"""Refused everywhere within a second, with Redis and without it (promise P4)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from .nodes import Site
from .propagation import Propagation, with_redis, without_redis

#: The promise is 1 second; the rest is for a busy machine.
HEARD_SECONDS = 2.0


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
    assert found.percentile(99) < HEARD_SECONDS
