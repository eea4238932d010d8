"""Which URLs name a database."""

from __future__ import annotations

from pathlib import Path

import pytest

from keyturn.server.storage import is_sqlite
from keyturn.server.storage.urls import PostgresServer, SqliteFile, parse_url


def test_sqlite_path_is_taken() -> None:
    assert parse_url("sqlite:////var/lib/a%20b.db") == SqliteFile(Path("/var/lib/a b.db"))
    assert parse_url("sqlite:///kt.db") == SqliteFile(Path("kt.db").absolute())
    assert is_sqlite("sqlite:///kt.db")
    assert SqliteFile(Path("/a b?.db")).uri("ro") == "file:/a%20b%3F.db?mode=ro"


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+asyncpg"])
def test_postgresql_is_taken_without_options_asyncpg_does_not_know(scheme: str) -> None:
    url = f"{scheme}://u:p%40ss@h1:1,h2:2/db?sslmode=require&channel_binding=require"
    assert parse_url(url) == PostgresServer("postgresql://u:p%40ss@h1:1,h2:2/db?sslmode=require")
    assert not is_sqlite(url)


def test_addresses_are_tried_as_they_stand_and_first_the_one_that_took_writes_last() -> None:
    server = PostgresServer("postgresql://u:p%40,ss@h1:1,[::2]:2,h3/db?sslmode=require")
    one, two, three = server.in_turn()
    assert two == PostgresServer("postgresql://u:p%40,ss@[::2]:2/db?sslmode=require")
    assert (one.where, two.where, three.where) == ("h1:1", "[::2]:2", "h3")
    server.took_writes(two)
    assert server.in_turn() == (two, one, three)
    server.took_writes(three)
    assert server.in_turn() == (three, one, two)
    alone = PostgresServer("postgresql://u@h1/db")
    assert alone.in_turn() == (alone,)


@pytest.mark.parametrize("url", ["", "mysql://u:hush@h/d", "sqlite://", "sqlite:///:memory:"])
def test_others_are_refused_without_repeating_them(url: str) -> None:
    with pytest.raises(ValueError, match="URL") as refused:
        parse_url(url)
    assert "hush" not in str(refused.value)
    assert "hush" not in repr(PostgresServer("postgresql://u:hush@h/d"))
