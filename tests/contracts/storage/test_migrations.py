"""The schema's history: it makes the tables, once, whoever else is at it."""

from __future__ import annotations

import asyncio
import stat
import sys
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, insert, text, update

from keyturn.server.domain.permissions import BUILT_IN_ROLES, EDITOR
from keyturn.server.storage import StorageNotReady, migrate, migration, open_storage, revision_of
from keyturn.server.storage.schema import REVISIONS
from keyturn.server.storage.tables import metadata, roles


def test_the_known_revisions_are_the_scripts() -> None:
    scripts = ScriptDirectory.from_config(migration._config())
    assert tuple(reversed([s.revision for s in scripts.walk_revisions()])) == REVISIONS


async def test_history_makes_the_tables(database_url: str) -> None:
    def differences(connection: Connection) -> object:
        if connection.dialect.server_version_info is None:
            # An engine does so at its first connection; once in a while it was seen not to have.
            connection.dialect.initialize(connection)
        options = {"compare_type": True, "compare_server_default": True}
        return compare_metadata(MigrationContext.configure(connection, opts=options), metadata)

    async with (
        open_storage(database_url) as storage,
        storage.store._engine.connect() as connection,
    ):
        assert await connection.run_sync(differences) == []


async def test_unmigrated_database_is_refused(empty_database_url: str) -> None:
    with pytest.raises(StorageNotReady, match="keyturn migrate"):
        async with open_storage(empty_database_url):
            pass


async def test_processes_that_start_at_once_make_one_schema(empty_database_url: str) -> None:
    program = (
        "import asyncio, sys; from keyturn.server.storage import migrate;"
        "asyncio.run(migrate(sys.argv[1]))"
    )
    processes = [
        await asyncio.create_subprocess_exec(sys.executable, "-c", program, empty_database_url)
        for _ in range(2)
    ]
    await asyncio.gather(*(migrate(empty_database_url) for _ in range(3)))
    assert [await process.wait() for process in processes] == [0, 0]
    assert await revision_of(empty_database_url) is not None
    async with open_storage(empty_database_url) as storage, storage.store.transaction() as work:
        assert await work.roles.in_tenant("") == tuple(
            sorted(BUILT_IN_ROLES, key=lambda role: role.name)
        )


async def test_built_in_roles_are_brought_up_to_date(database_url: str) -> None:
    async with open_storage(database_url) as storage:
        async with storage.store._engine.begin() as connection:
            await connection.execute(
                update(roles).where(roles.c.id == EDITOR.id).values(permissions=["old:one"])
            )
        await migrate(database_url)
        async with storage.store.transaction() as work:
            assert await work.roles.get(EDITOR.id) == EDITOR


async def test_schema_of_a_newer_version_is_used_and_left_alone(database_url: str) -> None:
    async with open_storage(database_url) as storage, storage.store._engine.begin() as connection:
        await connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
        await connection.execute(
            insert(roles).values(
                id=EDITOR.id[:-1] + "9",
                name="newer",
                name_folded="newer",
                description="",
                permissions=[],
                version=1,
            )
        )
    await migrate(database_url)
    assert await revision_of(database_url) == "9999"
    async with open_storage(database_url) as storage:
        await storage.store.ping()


async def test_database_file_is_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "keyturn.db"
    await migrate(f"sqlite:///{path}")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
