"""What every test may use. Fixtures of one part of the system live in that part's folder."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import pytest

from tests.secret_scan import SecretScan
from tests.servers import (
    REDIS_URL,
    PostgresServer,
    RedisServer,
    running_postgres,
    running_redis,
)

pytest_plugins = [
    "pytester",
    "tests.databases",
    "tests.faults.figures",
    "tests.browser.plugin",
]

_SCAN = pytest.StashKey[SecretScan]()


def pytest_configure(config: pytest.Config) -> None:
    """Keep and scan the logs of the whole session."""
    worker: dict[str, str] = getattr(config, "workerinput", {})
    # asyncio puts a handler of its own in the place of Python's each time a test begins or goes on,
    # and Python describes its task in a text that nobody reads: one part in fifteen of all work.
    signal.signal(signal.SIGINT, _interrupted)
    config.stash[_SCAN] = SecretScan(worker.get("workerid", ""))
    config.pluginmanager.register(config.stash[_SCAN], "keyturn-secret-scan")


def _interrupted(number: int, frame: FrameType | None) -> None:
    signal.default_int_handler(number, frame)


def pytest_xdist_auto_num_workers() -> int:
    """One process if all would share one Redis, which some tests flush; else one more than cores.

    Many tests wait rather than work: for a tail, a timeout, a server's start.
    """
    return 1 if os.environ.get(REDIS_URL) else (os.cpu_count() or 1) + 1


@pytest.fixture(scope="session")
def log_dir(pytestconfig: pytest.Config) -> Path:
    """A directory whose files are scanned for secrets at the end: logs of live servers, dumps."""
    return pytestconfig.stash[_SCAN].log_dir


@pytest.fixture(scope="session")
def session_log(pytestconfig: pytest.Config) -> Path:
    """The file that holds everything logged in this session, at DEBUG."""
    return pytestconfig.stash[_SCAN].session_log


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A real PostgreSQL; tests make their own databases on it."""
    with running_postgres() as server:
        yield server


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """A real Redis or Valkey; tests take key prefixes or databases of their own."""
    with running_redis() as server:
        yield server
