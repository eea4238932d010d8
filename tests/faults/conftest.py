"""One site a process, whole again before each test that takes it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .nodes import Site, open_site


@pytest.fixture(scope="session")
def shared_site(log_dir: Path) -> Iterator[Site]:
    """Two nodes and their stores, for all tests of this process."""
    with open_site(log_dir) as site:
        yield site


@pytest.fixture
def site(shared_site: Site) -> Iterator[Site]:
    """Two nodes and their stores, to be broken. They must be whole again by themselves."""
    shared_site.heal()
    yield shared_site
    shared_site.heal()
