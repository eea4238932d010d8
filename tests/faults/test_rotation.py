"""Keys rotate, and clients that cache the published ones by their `max-age` do not notice."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.live_server import postgres_database
from tests.servers import PostgresServer

from .rotation import VERIFIERS, rotate_under_load


@pytest.mark.slow_fault
def test_no_verifier_fails(
    log_dir: Path, postgres_server: PostgresServer, measured: Callable[[str], None]
) -> None:
    with postgres_database(postgres_server) as url:
        report = rotate_under_load(log_dir, url)
    measured(str(report))
    assert report.failures == []
    assert report.rotations >= 4
    assert all(report.verified[name] > 100 for name in VERIFIERS)
