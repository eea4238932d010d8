"""Copies: made whole and private, and looked at without being changed."""

from __future__ import annotations

import json
import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.live_server import new_master_secret, prepare
from tests.live_server import run as finish


@pytest.fixture
def given(tmp_path: Path) -> dict[str, str]:
    url = f"sqlite:///{tmp_path}/keyturn.db"
    return {"database_url": url, "master_secret": prepare(url).master_secret}


class TestMake:
    def test_0_a_whole_file_for_its_owner(
        self, run: Run, tmp_path: Path, given: dict[str, str]
    ) -> None:
        # Somebody writes meanwhile; what is not committed is not in the copy.
        with closing(sqlite3.connect(tmp_path / "keyturn.db")) as writer:
            writer.execute("BEGIN IMMEDIATE")
            writer.execute("DELETE FROM api_keys")
            assert run("backup", "make", "copy.db", **given).returncode == 0
        copy = tmp_path / "copy.db"
        assert stat.S_IMODE(copy.stat().st_mode) == 0o600
        assert {path.name for path in tmp_path.glob("*copy.db*")} == {"copy.db"}
        told = json.loads(run("backup", "check", "copy.db", "--json", **given).stdout)
        assert told["good"]
        assert told["rows"]["api_keys"] == 2

    def test_1_never_over_another_file(
        self, run: Run, tmp_path: Path, given: dict[str, str]
    ) -> None:
        (tmp_path / "copy.db").write_text("mine")
        assert run("backup", "make", "copy.db", **given).returncode == 1
        assert (tmp_path / "copy.db").read_text() == "mine"

    def test_1_beside_another_one_that_is_being_made(
        self, run: Run, tmp_path: Path, given: dict[str, str]
    ) -> None:
        (tmp_path / ".copy.db.new").write_text("half")
        done = run("backup", "make", "copy.db", **given)
        assert done.returncode != 0
        assert ".copy.db.new" in done.stderr
        assert (tmp_path / ".copy.db.new").read_text() == "half"

    def test_1_postgres_has_its_own_tools(self, run: Run) -> None:
        done = run("backup", "make", "x", database_url="postgresql://h/x", master_secret="x" * 9)
        assert done.returncode == 2
        secret = new_master_secret()
        done = run("backup", "make", "x", database_url="postgresql://h/x", master_secret=secret)
        assert done.returncode == 1
        assert "pg_dump" in done.stderr


class TestCheck:
    @pytest.mark.parametrize("backend", ["sqlite", "postgres"])
    def test_finds_what_does_not_fit(
        self, run: Run, request: pytest.FixtureRequest, backend: str
    ) -> None:
        url: str = request.getfixturevalue(f"{backend}_url")
        demo = prepare(url)
        given = {"master_secret": demo.master_secret}
        told = json.loads(run("backup", "check", url, "--json", **given).stdout)
        assert told["good"]
        assert told["rows"]["tenants"] == 3
        finish(_spoil(url, demo.tenants[0]))
        done = run("backup", "check", url, "--json", **given)
        assert done.returncode == 1
        assert any("tree of tenants" in line for line in json.loads(done.stdout)["broken"])

    def test_1_another_master_secret(self, run: Run, given: dict[str, str]) -> None:
        done = run(
            "backup", "check", given["database_url"], "--json", master_secret=new_master_secret()
        )
        assert done.returncode == 1
        assert not json.loads(done.stdout)["master_secret_opens_it"]

    def test_1_rows_that_name_nobody(self, run: Run, tmp_path: Path, given: dict[str, str]) -> None:
        with closing(sqlite3.connect(tmp_path / "keyturn.db")) as connection, connection:
            connection.execute("DELETE FROM users WHERE kind = 'service'")
        done = run("backup", "check", given["database_url"], "--json", **given)
        broken = json.loads(done.stdout)["broken"]
        assert "api_keys.user_id: 1 name what is not there" in broken

    @pytest.mark.parametrize("size", [0, 50, 4_096, 60_000, 150_000])
    def test_1_a_copy_that_ends_early(
        self, run: Run, tmp_path: Path, given: dict[str, str], size: int
    ) -> None:
        assert run("backup", "make", "copy.db", **given).returncode == 0
        whole = (tmp_path / "copy.db").read_bytes()
        assert len(whole) > size
        (tmp_path / "broken.db").write_bytes(whole[:size])
        done = run("backup", "check", "broken.db", **given)
        assert done.returncode == 1
        assert "broken: the copy is not whole" in done.stdout
        assert "SQLITE_" not in done.stdout + done.stderr
        told = json.loads(run("backup", "check", "broken.db", "--json", **given).stdout)
        assert (told["good"], told["master_secret_opens_it"]) == (False, False)

    def test_1_no_database(self, run: Run, tmp_path: Path, given: dict[str, str]) -> None:
        (tmp_path / "text").write_text("no database at all, but long enough to be looked at")
        done = run("backup", "check", "text", **given)
        assert done.returncode == 1
        assert "the copy is not whole" in done.stdout
        assert run("backup", "check", "nowhere", **given).returncode == 1
        assert not (tmp_path / "nowhere").exists()


async def _spoil(url: str, tenant_id: str) -> None:
    if url.startswith("sqlite"):
        path = url.removeprefix("sqlite:///")
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("DELETE FROM tenant_tree WHERE descendant_id = ?", (tenant_id,))
        return
    import asyncpg

    pg = await asyncpg.connect(url)
    await pg.execute("DELETE FROM tenant_tree WHERE descendant_id = $1", tenant_id)
    await pg.close()


class TestTrail:
    def test_0_all_tenants_events_for_their_owner(
        self, run: Run, tmp_path: Path, given: dict[str, str]
    ) -> None:
        done = run("backup", "trail", "trail.jsonl", **given)
        assert done.returncode == 0, done.stderr
        trail = tmp_path / "trail.jsonl"
        assert stat.S_IMODE(trail.stat().st_mode) == 0o600
        events = [json.loads(line) for line in trail.read_text().splitlines()]
        with closing(sqlite3.connect(tmp_path / "keyturn.db")) as database:
            ids = {row[0] for row in database.execute("SELECT id FROM audit_events")}
        assert {event["id"] for event in events} == ids
        assert len({event["tenant_id"] for event in events}) > 1
        assert "api_key.created" in {event["action"] for event in events}

    def test_2_never_over_another_file(
        self, run: Run, tmp_path: Path, given: dict[str, str]
    ) -> None:
        (tmp_path / "trail.jsonl").write_text("mine")
        assert run("backup", "trail", "trail.jsonl", **given).returncode == 2
        assert (tmp_path / "trail.jsonl").read_text() == "mine"
        assert {path.name for path in tmp_path.glob("*trail*")} == {"trail.jsonl"}
