"""A service to play with, and time to set; and a real one."""

import pytest

from tests.live_server import live
from tests.resource.world import FakeService, Time

__all__ = ["live"]


@pytest.fixture
def service() -> FakeService:
    return FakeService()


@pytest.fixture
def time() -> Time:
    return Time()
