"""A small world to look at: a root tenant, a user in it, a key."""

import pytest

from keyturn.server.storage import Storage
from tests.contracts.storage.world import World


@pytest.fixture
async def world(storage: Storage) -> World:
    return await World.build(storage)
