"""What stands beside an SQLite file is nobody else's."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from keyturn.server.domain.errors import StorageNotReady, Unavailable
from keyturn.server.storage import FileMemory, held


def test_the_lock_is_no_way_to_another_file(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("mine")
    (tmp_path / "k.db-lock").symlink_to(precious)
    with pytest.raises(Unavailable), held(f"sqlite:///{tmp_path}/k.db"):
        pass
    assert precious.read_text() == "mine"


def test_one_holds_it(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/k.db"
    with held(url), pytest.raises(StorageNotReady, match="One process"), held(url):
        pass
    with held(url):
        pass


async def test_nor_is_what_is_remembered(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("mine")
    (tmp_path / "k.db-recorded").symlink_to(precious)
    (tmp_path / "k.db-recorded.new").symlink_to(precious)
    memory = FileMemory(tmp_path / "k.db")
    await memory.keep("a", "1")
    assert await memory.recall("a") == "1"
    assert precious.read_text() == "mine"
    assert {*os.listdir(tmp_path)} == {"precious", "k.db-recorded", "k.db-recorded.new"}
