"""Each contract runs on every backend."""

from tests.databases import (
    database_url,
    empty_database_url,
    empty_postgres_url,
    postgres_template,
    postgres_url,
    sqlite_template,
    sqlite_url,
    storage,
)

__all__ = [
    "database_url",
    "empty_database_url",
    "empty_postgres_url",
    "postgres_template",
    "postgres_url",
    "sqlite_template",
    "sqlite_url",
    "storage",
]
