"""Servers as subprocesses, and databases to start them on."""

from tests.databases import (
    database_url,
    postgres_template,
    postgres_url,
    sqlite_template,
    sqlite_url,
)
from tests.live_server import live, two_nodes

__all__ = [
    "database_url",
    "live",
    "postgres_template",
    "postgres_url",
    "sqlite_template",
    "sqlite_url",
    "two_nodes",
]
