"""What a start imports: each module costs time at every start, and memory in every worker.

Nor may it be imported later, by a request that then waits for it: see tests/http/test_hot_path.py.
"""

import subprocess
import sys
from pathlib import Path

from tests.cli.conftest import plain_environment
from tests.servers import free_port

#: Runs the command line that it is given, a service only until it has started. The last line on
#: stdout is what was imported.
_RUN = """
import sys
from keyturn.cli import main

if "serve" in sys.argv:
    import uvicorn

    async def on_tick(self, counter):
        return True

    uvicorn.Server.on_tick = on_tick
try:
    main()
except SystemExit as error:
    assert not error.code, error.code
print(*sys.modules)
"""

#: What is of use only to who set it up, or once in a schema's life.
SELDOM = {
    *("alembic", "httpx", "opentelemetry", "prometheus_client", "pydantic_settings", "redis"),
    *("rich", "smtplib", "structlog"),
}


def imported(directory: Path, *arguments: str, **settings: str) -> set[str]:
    """The modules of a command's process at its end."""
    given = {f"KEYTURN_{name.upper()}": value for name, value in settings.items()}
    done = subprocess.run(
        [sys.executable, "-c", _RUN, *arguments],
        cwd=directory,
        env={**plain_environment(), **given},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split())


def test_version_imports_nothing_but_itself(tmp_path: Path) -> None:
    modules = imported(tmp_path, "version")
    ours = {name for name in modules if name.startswith("keyturn.")}
    assert ours == {"keyturn.cli", "keyturn.cli.version"}
    assert not modules & {"asyncio", "json", "platform", "re", "typer"}


def test_a_worker_imports_what_its_stores_need(database_url: str, tmp_path: Path) -> None:
    modules = imported(
        tmp_path,
        "serve",
        port=str(free_port()),
        database_url=database_url,
        master_secret="not much of a secret: 0123456789",
        metrics_port="0",
    )
    assert "keyturn.server.wiring" in modules
    drivers = {"aiosqlite", "asyncpg"}
    theirs = "aiosqlite" if database_url.startswith("sqlite") else "asyncpg"
    assert modules & drivers == {theirs}
    assert not modules & SELDOM


def test_migrating_what_is_migrated_imports_no_alembic(sqlite_url: str, tmp_path: Path) -> None:
    modules = imported(tmp_path, "migrate", database_url=sqlite_url)
    assert "keyturn.server.storage.migration" in modules
    assert not modules & {*SELDOM, "asyncpg"}
