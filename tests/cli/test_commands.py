"""`version`, `settings`, `migrate`, `bootstrap`, `serve`: output, one-line errors, exit codes."""

import json
import secrets
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from typer.testing import CliRunner

import keyturn
from keyturn.cli.root import app
from tests.cli.conftest import PATIENCE, Run
from tests.servers import PostgresServer, free_port
from tests.unit.revocation.redis_process import RedisProcess

HEAVY = ("typer", "rich", "starlette", "sqlalchemy", "uvicorn", "pydantic", "authlib")


def one_line(text: str) -> str:
    [line] = text.splitlines()
    assert line.startswith("keyturn: ")
    return line


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, str]:
    return {
        "database_url": f"sqlite:///{tmp_path}/x.db",
        "master_secret": secrets.token_urlsafe(32),
        "metrics_port": "0",  # tests run side by side
    }


class TestVersion:
    def test_0(self, run: Run) -> None:
        assert run("version").stdout == f"keyturn {keyturn.__version__}\n"
        assert json.loads(run("version", "--json").stdout)["version"] == keyturn.__version__

    def test_in_process(self) -> None:
        result = CliRunner().invoke(app, ["version"])
        assert (result.exit_code, result.stdout) == (0, f"keyturn {keyturn.__version__}\n")

    def test_imports_nothing_heavy(self, environment: dict[str, str]) -> None:
        code = (
            "import sys; sys.argv = ['keyturn', 'version']; import keyturn.cli; keyturn.cli.main();"
            f"print([name for name in {HEAVY!r} if name in sys.modules])"
        )
        out = subprocess.check_output([sys.executable, "-c", code], env=environment, text=True)
        assert out.splitlines()[1] == "[]"


class TestLightPackage:
    def test_1_says_what_to_install(self, environment: dict[str, str]) -> None:
        code = (
            "import sys; sys.modules['typer'] = None; sys.argv = ['keyturn', 'dev'];"
            "import keyturn.cli; keyturn.cli.main()"
        )
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 1
        assert "pip install 'keyturn[server]'" in one_line(done.stderr)


class TestUsage:
    @pytest.mark.parametrize(
        "arguments", [["nope"], ["dev", "--prt", "1"], ["bootstrap"], ["dev", "--port", "x"]]
    )
    def test_2_one_line(self, run: Run, arguments: list[str]) -> None:
        done = run(*arguments)
        assert (done.returncode, done.stdout) == (2, "")
        assert "--help" in one_line(done.stderr)

    @pytest.mark.parametrize("command", ["dev", "serve", "migrate", "bootstrap", "settings"])
    def test_help_has_examples(self, command: str) -> None:
        text = CliRunner().invoke(app, [command, "--help"]).stdout
        assert f"\n    {'KEYTURN_DATABASE_URL=' if command == 'migrate' else 'keyturn'}" in text

    def test_help_lists_exit_codes(self) -> None:
        text = CliRunner().invoke(app, ["--help"]).stdout
        assert "3  a store or the service is unavailable" in text

    @pytest.mark.parametrize(
        ("arguments", "meant"),
        [(["sesion"], "session"), (["srve"], "serve"), (["tenant", "sho"], "show")],
    )
    def test_2_suggests_what_was_meant(self, run: Run, arguments: list[str], meant: str) -> None:
        done = run(*arguments)
        assert done.returncode == 2
        line = one_line(done.stderr)
        assert "Did you mean" in line
        assert f"'{meant}'" in line
        assert line.count("Did you mean") == 1


class TestUnknownVariables:
    def test_0_warned_of_in_one_line(self, run: Run, settings: dict[str, str]) -> None:
        mistyped = {"databse_wait": "secret-value", "quite_another_thing": "x"}
        known = {"url": "http://x", "profile": "x", "tenant": "x", "service_host": "10.0.0.1"}
        done = run("settings", "--json", **settings, **mistyped, **known)
        assert done.returncode == 0
        assert one_line(done.stderr) == (
            "keyturn: not a setting, and ignored: KEYTURN_DATABSE_WAIT (did you mean"
            " KEYTURN_DATABASE_WAIT?), KEYTURN_QUITE_ANOTHER_THING"
        )

    def test_0_nothing_is_said_of_those_that_are(
        self, run: Run, settings: dict[str, str], tmp_path: Path
    ) -> None:
        (tmp_path / "x.toml").write_text("port = 9000\n")
        (tmp_path / "secret").write_text(settings.pop("master_secret"))
        (tmp_path / "secret").chmod(0o600)
        more = {"master_secret_file": str(tmp_path / "secret"), "port_8080_tcp": "x"}
        done = run("settings", config=str(tmp_path / "x.toml"), **settings, **more)
        assert (done.returncode, done.stderr) == (0, "")


class TestSettings:
    def test_0_masked(self, run: Run, settings: dict[str, str]) -> None:
        password, redis = secrets.token_urlsafe(), secrets.token_urlsafe()
        settings |= {
            "database_url": f"postgresql://ada:{password}@db:5433/keyturn?password={password}",
            "redis_url": f"redis://:{redis}@cache/1",
        }
        for arguments in (["settings"], ["settings", "--json"]):
            out = run(*arguments, **settings).stdout
            assert not [s for s in (password, redis, settings["master_secret"]) if s in out]
        shown = json.loads(out)
        assert shown["database_url"] == "postgresql://ada:***@db:5433/keyturn"
        assert shown["redis_url"] == "redis://:***@cache/1"
        assert shown["master_secret"] == "***"
        assert shown["access_token_lifetime"] == 300

    def test_2_names_the_variable(self, run: Run) -> None:
        done = run("settings")
        assert (done.returncode, done.stdout) == (2, "")
        assert one_line(done.stderr).startswith("keyturn: KEYTURN_DATABASE_URL ")

    def test_markdown_needs_no_settings(self, run: Run) -> None:
        assert "| `KEYTURN_ISSUER` |" in run("settings", "--markdown").stdout


class TestMigrateAndBootstrap:
    def test_0_then_1(self, run: Run, settings: dict[str, str]) -> None:
        # A migration needs no master secret: whoever runs it need not have it.
        for said in ("made a new schema in the database: 0", "nothing to do: the schema is 0"):
            done = run("migrate", database_url=settings["database_url"])
            assert done.returncode == 0
            assert said in one_line(done.stderr)
        done = run("bootstrap", "--username", "ada", "--json", **settings)
        assert done.returncode == 0, done.stderr
        made = json.loads(done.stdout)
        assert made["username"] == "ada"
        assert made["tenant_name"] == "platform"
        assert made["api_key"].startswith("kt_")
        again = run("bootstrap", "--username", "eve", **settings)
        assert (again.returncode, again.stdout) == (1, "")
        assert "set up already" in one_line(again.stderr)

    def test_1_without_a_schema(self, run: Run, settings: dict[str, str]) -> None:
        done = run("bootstrap", "--username", "ada", **settings)
        assert done.returncode == 1
        assert "keyturn migrate" in one_line(done.stderr)

    def test_3_without_a_server(self, run: Run, settings: dict[str, str]) -> None:
        password = secrets.token_urlsafe()
        settings["database_url"] = f"postgresql://ada:{password}@127.0.0.1:1/keyturn"
        for arguments in (["migrate"], ["bootstrap", "--username", "ada"]):
            done = run(*arguments, **settings)
            assert done.returncode == 3, done.stderr
            line = one_line(done.stderr)
            assert line == "keyturn: a store is unavailable: 127.0.0.1:1 refuses connections"

    def test_3_without_the_database(self, run: Run, postgres_server: PostgresServer) -> None:
        password = secrets.token_urlsafe()
        url = urlsplit(postgres_server.url)
        assert url.username
        netloc = f"{url.username}:{password}@{url.hostname}:{url.port}"
        missing = url._replace(netloc=netloc, path="/not_there").geturl()
        done = run("migrate", database_url=missing)
        assert done.returncode == 3, done.stderr
        line = one_line(done.stderr)
        assert f'the database "not_there" does not exist on {url.hostname}:{url.port}' in line
        assert "createdb not_there" in line
        assert password not in line

    def test_0_a_newer_schema_is_left_alone(self, run: Run, settings: dict[str, str]) -> None:
        assert run("migrate", **settings).returncode == 0
        path = settings["database_url"].removeprefix("sqlite:///")
        with closing(sqlite3.connect(path)) as database, database:
            database.execute("UPDATE alembic_version SET version_num = '9999'")
        done = run("migrate", **settings)
        assert done.returncode == 0
        assert "9999, is of a newer version" in one_line(done.stderr)


class TestServe:
    def test_2_contradiction(self, run: Run, settings: dict[str, str]) -> None:
        done = run("serve", "--workers", "2", **settings)
        assert done.returncode == 2
        assert "KEYTURN_WORKERS" in one_line(done.stderr)

    def test_1_port_in_use(self, run: Run, settings: dict[str, str]) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = str(taken.getsockname()[1])
            done = run("serve", "--port", port, **settings)
        assert done.returncode == 1
        assert port in one_line(done.stderr)

    def test_1_without_a_schema(self, run: Run, settings: dict[str, str]) -> None:
        done = run("serve", "--port", str(free_port()), **settings)
        assert done.returncode == 1
        assert "keyturn migrate" in one_line(done.stderr)

    @pytest.mark.parametrize("workers", ["1", "2"])
    def test_3_without_a_server(self, run: Run, settings: dict[str, str], workers: str) -> None:
        settings["database_url"] = "postgresql://ada@127.0.0.1:1/keyturn"
        done = run("serve", "--port", str(free_port()), "--workers", workers, **settings)
        assert done.returncode == 3
        one_line(done.stderr)

    def test_1_redis_that_drops_entries(
        self, run: Run, settings: dict[str, str], tmp_path: Path
    ) -> None:
        assert run("migrate", **settings).returncode == 0
        redis = RedisProcess(tmp_path, "--maxmemory-policy", "allkeys-lru")
        redis.start()
        try:
            port = str(free_port())
            done = run("serve", "--port", port, redis_url=redis.url, **settings)
        finally:
            redis.kill()
        assert done.returncode == 1
        assert "maxmemory-policy allkeys-lru" in one_line(done.stderr)
        assert "KEYTURN_REDIS_ALLOW_EVICTION" in done.stderr

    def test_0_on_sigterm(
        self,
        run: Run,
        settings: dict[str, str],
        tmp_path: Path,
        environment: dict[str, str],
        log_dir: Path,
    ) -> None:
        assert run("migrate", **settings).returncode == 0
        port = free_port()
        config = tmp_path / "keyturn.toml"
        config.write_text(
            f'database_url = "{settings["database_url"]}"\nport = {port}\nhost = "127.0.0.1"\n'
            "metrics_port = 0\n"
        )
        with (log_dir / "serve.log").open("w") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "keyturn.cli", "serve", "--config", "keyturn.toml"],
                cwd=tmp_path,
                env={**environment, "KEYTURN_MASTER_SECRET": settings["master_secret"]},
                stdout=log,
                stderr=log,
            )
        try:
            _wait_for(f"http://127.0.0.1:{port}/health/live", process)
        finally:
            process.send_signal(signal.SIGTERM)
            code = process.wait(PATIENCE)
        assert code == 0
        for line in (log_dir / "serve.log").read_text().splitlines():
            assert json.loads(line)["level"] in {"info", "warning"}


def _wait_for(url: str, process: "subprocess.Popen[bytes]") -> None:
    until = time.monotonic() + PATIENCE
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                assert answer.status == 200
                assert "server" not in answer.headers
                return
        except OSError:
            assert process.poll() is None, "serve stopped"
            assert time.monotonic() < until
            time.sleep(0.1)
