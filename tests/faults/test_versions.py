"""An upgrade under way: this version on the schema of a newer one, both at work.

The newer one is made up: a column more in every table, and a table more, which is what a release
that expands the schema adds.
"""

from __future__ import annotations

import threading
from pathlib import Path

import asyncpg
import httpx
import pytest

from keyturn.server.storage.tables import metadata
from tests.live_server import (
    SHARED_ISSUER,
    Live,
    LiveServer,
    prepare,
    run,
    running,
)
from tests.versions import earlier_version, prepared_by


async def _expand(url: str) -> None:
    """What the newer version's migration does, one transaction a table."""
    connection = await asyncpg.connect(url)
    try:
        for table in metadata.sorted_tables:
            await connection.execute(f'ALTER TABLE "{table.name}" ADD COLUMN newer_thing text')
        await connection.execute("CREATE TABLE newer_things (id uuid PRIMARY KEY)")
        await connection.execute("UPDATE alembic_version SET version_num = '9999'")
    finally:
        await connection.close()


def _load(node: Live, done: threading.Event, answers: list[int]) -> None:
    """Calls until `done`, whatever happens to the schema."""
    while not done.is_set():
        token = node.exchange()
        answers.append(node.me(token["access_token"]).status_code)
        answers.append(node.refresh(token["refresh_token"]).status_code)


@pytest.mark.slow_fault
def test_the_release_before_serves_while_this_one_migrates(
    log_dir: Path, empty_postgres_url: str, tmp_path: Path
) -> None:
    """Its nodes go on, and may be started again; then both are at work."""
    if (root := earlier_version(tmp_path)) is None:
        pytest.skip("NOT SHOWN: this checkout has no history to take the earlier version from")
    url = empty_postgres_url
    demo = prepared_by(root, url)
    old, new = (LiveServer(log_dir, url, demo.master_secret, issuer=SHARED_ISSUER) for _ in "ab")
    old.root = root
    answers: list[int] = []
    done = threading.Event()

    with running(old), httpx.Client(timeout=20) as http, httpx.Client(timeout=20) as busy:
        before = Live(old, demo, http).exchange()
        worker = threading.Thread(target=_load, args=(Live(old, demo, busy), done, answers))
        worker.start()
        assert new.command("migrate").wait(120) == 0
        with running(new):
            for node in (Live(old, demo, http), Live(new, demo, http)):
                for token in (before, Live(old, demo, http).exchange(), node.exchange()):
                    assert node.me(token["access_token"]).status_code == 200
                    assert node.introspect(token["access_token"])["active"]
        done.set()
        worker.join(30)
        old.stop()
        old.start()
        assert Live(old, demo, http).me(before["access_token"]).status_code == 200
    assert answers
    assert set(answers) == {200}


@pytest.mark.slow_fault
def test_tokens_of_both_stay_valid_while_the_schema_moves(
    log_dir: Path, empty_postgres_url: str
) -> None:
    url = empty_postgres_url
    demo = prepare(url)
    old, new = (LiveServer(log_dir, url, demo.master_secret, issuer=SHARED_ISSUER) for _ in "ab")
    answers: list[int] = []
    done = threading.Event()

    with running(old), httpx.Client(timeout=20) as http, httpx.Client(timeout=20) as busy:
        before = Live(old, demo, http).exchange()
        worker = threading.Thread(target=_load, args=(Live(old, demo, busy), done, answers))
        worker.start()
        run(_expand(url))
        with running(new):
            nodes = [Live(old, demo, http), Live(new, demo, http)]
            tokens = [before, *(node.exchange() for node in nodes)]
            for node in nodes:
                for token in tokens:
                    assert node.me(token["access_token"]).status_code == 200
                    assert node.introspect(token["access_token"])["active"]
            # Each refreshes what the other gave, and a retry gets the same successor from both.
            for token in tokens:
                successors = {
                    node.refresh(token["refresh_token"]).json()["refresh_token"] for node in nodes
                }
                assert len(successors) == 1
        done.set()
        worker.join(30)
        # The old one may be started again on the newer schema.
        old.stop()
        old.start()
        assert Live(old, demo, http).me(before["access_token"]).status_code == 200
    assert answers
    assert set(answers) == {200}
