"""Two nodes on a database of their own."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest

from tests.databases import database, dump_postgres, no_secrets, run
from tests.model.world import World
from tests.servers import PostgresServer, RedisServer


@pytest.fixture(scope="module")
def world(
    postgres_server: PostgresServer, postgres_template: str, redis_server: RedisServer
) -> Iterator[World]:
    """Both nodes, open. Examples share them, and make tenants of their own."""
    name = f"keyturn_model_{secrets.token_hex(4)}"
    with database(postgres_server.url, name, template=postgres_template) as url:
        world = World(url, redis_server.url)
        world.open()
        try:
            yield world
        finally:
            world.close()
        no_secrets(run(dump_postgres(url)))
