"""`keyturn doctor`: what is well is said to be, what is not is found, and no secret is shown."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import socket
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import respx
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from keyturn.server import storage
from keyturn.server.domain.ids import new_id
from keyturn.server.examining import Level, asked_for, counted, examine
from keyturn.server.examining import database as examining_database
from keyturn.server.parts import open_memory, open_parts
from keyturn.server.settings import Settings
from keyturn.server.storage import facts as facts_module
from keyturn.server.storage.engine import connect_postgres
from keyturn.server.storage.facts import DatabaseClock, DatabaseFacts
from tests.cli.conftest import Done, Run
from tests.databases import database
from tests.http.leaks import Scanner, document
from tests.live_server import Live, live, new_master_secret, prepare
from tests.live_server import run as finish
from tests.servers import PostgresServer, RedisServer, free_port

__all__ = ["live"]

Seen = dict[str, tuple[str, str]]


def seen(done: Done) -> Seen:
    """The worst level and the text of each check."""
    order = [level.value for level in Level]
    found: Seen = {}
    for one in json.loads(done.stdout)["findings"]:
        before = found.get(one["check"], ("ok", ""))
        level = max(before[0], one["level"], key=order.index)
        found[one["check"]] = (level, f"{before[1]} {one['seen']} {one['advice']}".strip())
    return found


def settings_of(server: Live) -> dict[str, str]:
    given = {name: str(value) for name, value in server.server._settings.items() if value != ""}
    return {**given, "port": str(server.server.port), "public_url": server.server.base_url}


class TestALiveService:
    def test_0_and_all_is_well(self, live: Live, run: Run) -> None:
        done = run("doctor", "--json", "--strict", **settings_of(live))
        found = seen(done)
        assert {name: text for name, (level, text) in found.items() if level != "ok"} == {}
        assert done.returncode == 0
        assert {"database_schema", "master_secret", "signing_keys", "issuer", "jwks"} <= set(found)
        if not live.server.database_url.startswith("sqlite"):
            assert {"redis", "redis_list", "redis_eviction", "database_connections"} <= set(found)

    def test_1_the_issuer_is_compared_to_the_letter(self, live: Live, run: Run) -> None:
        given = {**settings_of(live), "issuer": live.server.base_url.replace("127.0.0.1", "[::1]")}
        # Asked where the issuer leads; nobody listens there.
        assert run("doctor", "--json", **given).returncode == 1
        given["issuer"] = live.server.base_url.replace("127.0.0.1", "localhost")
        level, text = seen(run("doctor", "--json", **given))["issuer"]
        assert level == "problem"
        assert "names another issuer" in text

    def test_1_another_master_secret(self, live: Live, run: Run) -> None:
        given = {**settings_of(live), "master_secret": new_master_secret()}
        found = seen(run("doctor", "--json", **given))
        assert found["master_secret"][0] == "problem"
        assert found["issuer"][0] == "ok"

    def test_1_another_installations_keys(self, live: Live, run: Run, tmp_path: Path) -> None:
        url = f"sqlite:///{tmp_path}/other.db"
        demo = prepare(url)
        given = {**settings_of(live), "database_url": url, "master_secret": demo.master_secret}
        given.pop("redis_url", None)
        level, text = seen(run("doctor", "--json", **given))["jwks"]
        assert level == "problem"
        assert "lack the current one" in text

    def test_lines_for_people(self, live: Live, run: Run) -> None:
        done = run("doctor", "--offline", **settings_of(live))
        assert done.stdout.splitlines()[0].startswith("ok       settings")
        assert " 0 problems" in done.stderr


class TestWhatIsWrong:
    def test_2_the_settings(self, run: Run) -> None:
        done = run("doctor", database_url="sqlite:///x.db", master_secret="short")
        assert (done.returncode, done.stdout) == (2, "")

    def test_each_is_found_and_none_stops_another(self, run: Run, tmp_path: Path) -> None:
        secret = tmp_path / "secret"
        secret.write_text(new_master_secret())
        secret.chmod(0o644)
        done = run(
            "doctor",
            "--json",
            database_url=f"postgresql://ada:hunter2secret@127.0.0.1:{free_port()}/x",
            redis_url=f"redis://:hunter2secret@127.0.0.1:{free_port()}/0",
            smtp_url=f"smtp://ada:hunter2secret@127.0.0.1:{free_port()}",
            mail_from="iam@example.org",
            master_secret_file=str(secret),
            trusted_proxies="0.0.0.0/0",
            public_url=f"http://127.0.0.1:{free_port()}",
            databse_url="x",
        )
        found = seen(done)
        assert done.returncode == 1
        assert {name for name, (level, _) in found.items() if level == "problem"} == {
            *("files", "proxies", "database", "redis", "mail", "issuer")
        }
        assert found["settings"][0] == "warning"
        assert "KEYTURN_DATABASE_URL" in found["settings"][1]
        for name in ("database", "redis", "mail", "issuer"):
            assert "refuses connections" in found[name][1]
        assert "hunter2secret" not in done.stdout + done.stderr

    def test_reasons_are_words(self, run: Run, sqlite_url: str, redis_server: RedisServer) -> None:
        given = {"database_url": sqlite_url, "master_secret": prepare(sqlite_url).master_secret}
        nobody = f"nowhere.invalid:{free_port()}"
        given |= {"public_url": f"https://{nobody}", "mail_from": "iam@example.org"}
        given |= {"smtp_url": f"smtp://{nobody}", "redis_url": f"redis://{nobody}/0"}
        done = run("doctor", "--json", **given)
        found = seen(done)
        for name in ("redis", "mail", "issuer", "public_tls"):
            assert "no address is known of" in found[name][1]
        assert "Error" not in done.stdout
        where = urlsplit(redis_server.url)
        given["redis_url"] = f"redis://:hunter2@{where.hostname}:{where.port}/9"
        found = seen(run("doctor", "--json", "--offline", **given))
        assert found["redis"][0] == "problem"
        assert found["redis"][1].startswith("Redis refused the password")

    def test_a_warning_fails_with_strict_only(self, run: Run, tmp_path: Path) -> None:
        url = f"sqlite:///{tmp_path}/k.db"
        given = {"database_url": url, "master_secret": prepare(url).master_secret, "typo": "x"}
        assert run("doctor", "--offline", **given).returncode == 0
        assert run("doctor", "--offline", "--strict", **given).returncode == 1

    async def test_what_never_answers_is_given_up(self) -> None:
        with closing(socket.create_server(("127.0.0.1", 0))) as silent:
            where = f"127.0.0.1:{silent.getsockname()[1]}"
            settings = Settings(
                database_url=f"postgresql://{where}/x",
                master_secret=new_master_secret(),
                redis_url=f"redis://{where}/0",
                public_url=f"http://{where}",
            )
            found = await examine(settings, patience=1.0)
        problems = {one.check for one in found if one.level is Level.PROBLEM}
        # A busy machine may not get through with the others either.
        assert problems >= {"database", "redis", "issuer"}

    def test_schema_and_keys(self, run: Run, tmp_path: Path) -> None:
        path = tmp_path / "k.db"
        url = f"sqlite:///{path}"
        given = {"database_url": url, "master_secret": prepare(url).master_secret}
        past = (datetime.now(UTC) - timedelta(days=200)).strftime("%Y-%m-%d %H:%M:%S.000000")
        soon = (datetime.now(UTC) + timedelta(days=3)).strftime("%Y-%m-%d %H:%M:%S.000000")
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("UPDATE api_keys SET created_at = ? WHERE name = 'demo'", (past,))
            connection.execute(
                "UPDATE api_keys SET expires_at = ? WHERE name = 'first key'", (soon,)
            )
            connection.execute("DELETE FROM signing_keys WHERE slot = 'next'")
        found = seen(run("doctor", "--json", "--offline", **given))
        assert "1 expires within 14 days: first key (" in found["api_keys"][1]
        assert "1 unused for 90 days: demo (" in found["api_keys"][1]
        assert found["signing_keys"][0] == "warning"
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("UPDATE alembic_version SET version_num = '0001'")
        found = seen(run("doctor", "--json", "--offline", **given))
        assert found["database_schema"][0] == "problem"
        assert "master_secret" not in found


class TestTheInstallation:
    def test_1_migrated_and_not_set_up(self, run: Run, sqlite_url: str) -> None:
        given = {"database_url": sqlite_url, "master_secret": new_master_secret()}
        done = run("doctor", "--json", "--offline", **given)
        assert done.returncode == 1
        level, text = seen(done)["installation"]
        assert level == "problem"
        assert "keyturn bootstrap" in text

    @pytest.mark.parametrize("on_redis", [False, True])
    def test_1_a_copy_that_no_node_starts_on(
        self, run: Run, sqlite_url: str, redis_server: RedisServer, on_redis: bool
    ) -> None:
        given = {"database_url": sqlite_url, "master_secret": prepare(sqlite_url).master_secret}
        if on_redis:
            given["redis_url"] = urlsplit(redis_server.url)._replace(path="/9").geturl()
        assert seen(run("doctor", "--json", "--offline", **given))["installation"][0] == "ok"
        # As after the restore of a copy: an event is remembered that the database lacks.
        finish(_remember(Settings(**given), new_id()))
        done = run("doctor", "--json", "--offline", **given)
        level, text = seen(done)["installation"]
        assert (done.returncode, level) == (1, "problem")
        assert "keyturn restored" in text

    def test_nobody_tells_while_redis_is_away(self, run: Run, sqlite_url: str) -> None:
        given = {"database_url": sqlite_url, "master_secret": prepare(sqlite_url).master_secret}
        given["redis_url"] = f"redis://127.0.0.1:{free_port()}/0"
        found = seen(run("doctor", "--json", "--offline", **given))
        assert found["installation"][0] == "warning"
        assert "nothing tells whether" in found["installation"][1]


async def _remember(settings: Settings, event_id: str) -> None:
    memory = open_memory(settings)
    assert memory is not None
    async with open_parts(settings) as parts, parts.store.transaction() as tx:
        root = await tx.tenants.root()
    assert root is not None
    await memory.keep(root.id, event_id)


class TestTraces:
    def test_a_collector_that_takes_connections(self, run: Run, sqlite_url: str) -> None:
        with closing(socket.create_server(("127.0.0.1", 0))) as collector:
            found = _optional(run, sqlite_url, otlp_endpoint=_at(collector))
        assert found["traces"][0] == "ok"

    def test_a_warning_for_nobody_there(self, run: Run, sqlite_url: str) -> None:
        where = f"127.0.0.1:{free_port()}"
        level, text = _optional(run, sqlite_url, otlp_endpoint=f"http://{where}")["traces"]
        assert level == "warning"
        assert text.startswith(f"{where} refuses connections")

    def test_1_without_what_sends_them(
        self, run: Run, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        find = importlib.util.find_spec

        def missing(name: str, package: str | None = None) -> Any:
            if name.startswith("opentelemetry"):
                raise ModuleNotFoundError(name)
            return find(name, package)

        monkeypatch.setattr(importlib.util, "find_spec", missing)
        found = _optional(run, sqlite_url, otlp_endpoint="http://127.0.0.1:4318")
        assert found["traces"][0] == "problem"
        assert "pip install 'keyturn[tracing]'" in found["traces"][1]

    def test_nothing_where_none_are_asked_for(self, run: Run, sqlite_url: str) -> None:
        assert not {"traces", "leak_keys"} & set(_optional(run, sqlite_url))


class TestLeakKeys:
    def test_a_file(self, run: Run, sqlite_url: str, tmp_path: Path) -> None:
        file = tmp_path / "keys.json"
        file.write_text(json.dumps(document(Scanner("one"))))
        found = _optional(run, sqlite_url, leak_keys_file=str(file))
        assert found["leak_keys"] == ("ok", f"{file} has 1 key")
        file.write_text('{"public_keys": [{"key_identifier": "x", "key": "none"}]}')
        level, text = _optional(run, sqlite_url, leak_keys_file=str(file))["leak_keys"]
        assert level == "warning"
        assert "no key on P-256" in text

    def test_a_url_that_cannot_be_read(self, run: Run, sqlite_url: str) -> None:
        url = f"http://127.0.0.1:{free_port()}/keys"
        given = {"database_url": sqlite_url, "master_secret": prepare(sqlite_url).master_secret}
        level, text = seen(run("doctor", "--json", leak_keys_url=url, **given))["leak_keys"]
        assert level == "warning"
        assert text.startswith(f"{url} refuses connections")
        assert "leak_keys" not in _optional(run, sqlite_url, leak_keys_url=url)

    @pytest.mark.parametrize(
        ("answer", "level", "said"),
        [
            (httpx.Response(404), "warning", "another answer than the keys"),
            (httpx.Response(200, content=b"<html>"), "warning", "no JSON"),
            (httpx.ReadTimeout("ada"), "warning", "cannot be read"),
        ],
    )
    @respx.mock
    async def test_what_is_no_document_of_keys(
        self, answer: httpx.Response | Exception, level: str, said: str
    ) -> None:
        respx.get("https://keys.example/keys").mock(side_effect=[answer])
        settings = Settings(
            database_url="sqlite:///x.db",
            master_secret=new_master_secret(),
            leak_keys_url="https://keys.example/keys",
        )
        found = await asked_for.leak_keys_url(settings)
        assert [(one.level.value, said in one.seen) for one in found] == [(level, True)]


def _optional(run: Run, url: str, **more: str) -> Seen:
    secret = new_master_secret()
    return seen(
        run("doctor", "--json", "--offline", database_url=url, master_secret=secret, **more)
    )


def _at(listener: socket.socket) -> str:
    return f"http://127.0.0.1:{listener.getsockname()[1]}"


class TestTheClock:
    @pytest.mark.parametrize(
        ("ahead", "unsure", "level", "said"),
        [
            (0.003, 0.004, "ok", "this machine's, to 4.0 ms"),
            (-0.5, 0.004, "ok", "0.500 s behind"),
            (3.0, 0.1, "warning", "3.000 s ahead"),
            (3.0, 1.5, "ok", "3.000 s ahead"),
            (-31.0, 0.1, "problem", "31.000 s behind"),
            (31.0, 2.0, "warning", "31.000 s ahead"),
        ],
    )
    async def test_only_what_is_beyond_half_the_round_trip_counts(
        self,
        monkeypatch: pytest.MonkeyPatch,
        ahead: float,
        unsure: float,
        level: str,
        said: str,
    ) -> None:
        facts = DatabaseFacts(
            "PostgreSQL", (17, 1), storage.REVISIONS[-1], clock=DatabaseClock(ahead, unsure)
        )

        async def told(_: str) -> DatabaseFacts:
            return facts

        monkeypatch.setattr(storage, "database_facts", told)
        settings = Settings(database_url="postgresql://h/x", master_secret=new_master_secret())
        clock = next(
            one for one in await examining_database.server(settings) if one.check == "clock"
        )
        assert clock.level.value == level
        assert said in clock.seen

    async def test_sqlite_has_this_machines(self, sqlite_url: str) -> None:
        assert (await storage.database_facts(sqlite_url)).clock is None

    async def test_the_time_of_connecting_is_no_skew(
        self, postgres_url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        connect = connect_postgres

        async def slowly(*args: Any, **more: Any) -> Any:
            await asyncio.sleep(0.3)
            return await connect(*args, **more)

        monkeypatch.setattr(facts_module, "connect_postgres", slowly)
        clock = (await storage.database_facts(postgres_url)).clock
        assert clock is not None
        # Both are one machine's.
        assert abs(clock.ahead) <= clock.unsure < 0.15


@pytest.mark.parametrize(
    ("number", "said"), [(0, "0 problems"), (1, "1 problem"), (2, "2 problems")]
)
def test_one_is_singular(number: int, said: str) -> None:
    assert counted(number, "problem") == said


def test_a_new_installation_in_words(run: Run, sqlite_url: str) -> None:
    given = {"database_url": sqlite_url, "master_secret": prepare(sqlite_url).master_secret}
    done = run("doctor", "--offline", typo="x", **given)
    assert "1 warning, " in done.stderr
    assert "signs since today" in done.stdout
    assert "1 file with secrets" in done.stdout
    assert "have expired" not in done.stdout
    assert "clock" not in done.stdout


class TestPostgres:
    def test_connections_and_writes(
        self, run: Run, postgres_server: PostgresServer, tmp_path: Path
    ) -> None:
        with database(postgres_server.url, "keyturn_doctor") as url:
            given = {"database_url": url, "master_secret": prepare(url).master_secret}
            more = {"database_pool_size": "100", "workers": "2"}
            found = seen(run("doctor", "--json", "--offline", **given, **more))
            assert found["database_connections"][0] == "problem"
            assert "602 at most" in found["database_connections"][1]
            only = f"{url}?default_transaction_read_only=on"
            found = seen(run("doctor", "--json", "--offline", **{**given, "database_url": only}))
            assert found["database_writable"][0] == "problem"


class TestRedis:
    def test_eviction(self, run: Run, redis_server: RedisServer, tmp_path: Path) -> None:
        url = f"sqlite:///{tmp_path}/k.db"
        given = {"database_url": url, "master_secret": prepare(url).master_secret}
        given["redis_url"] = urlsplit(redis_server.url)._replace(path="/9").geturl()
        _policy(redis_server.url, "allkeys-lru")
        try:
            found = seen(run("doctor", "--json", "--offline", **given))
        finally:
            _policy(redis_server.url, "noeviction")
        assert found["redis_eviction"][0] == "problem"
        assert found["redis_list"][0] == "warning"


def _policy(url: str, policy: str) -> None:
    where = urlsplit(url)
    with socket.create_connection((str(where.hostname), where.port or 6379), 5) as link:
        link.sendall(f"CONFIG SET maxmemory-policy {policy}\r\n".encode())
        assert link.recv(5) == b"+OK\r\n"


@pytest.mark.parametrize(
    ("host", "days", "level"),
    [("localhost", 90, "ok"), ("localhost", 3, "warning"), ("localhost", -1, "problem"),
     ("elsewhere.example", 90, "problem")],
)  # fmt: skip
def test_the_certificate(run: Run, tmp_path: Path, host: str, days: int, level: str) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.now(UTC)
    built: Any = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=200))
        .not_valid_after(now + timedelta(days=days, hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (tmp_path / "cert.pem").write_bytes(built.public_bytes(serialization.Encoding.PEM))
    private = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    pem = key.private_bytes(serialization.Encoding.PEM, *private)
    descriptor = os.open(tmp_path / "key.pem", os.O_CREAT | os.O_WRONLY, 0o600)
    os.write(descriptor, pem)
    os.close(descriptor)
    url = f"sqlite:///{tmp_path}/k.db"
    done = run(
        "doctor",
        "--json",
        "--offline",
        database_url=url,
        master_secret=prepare(url).master_secret,
        tls_cert_file=str(tmp_path / "cert.pem"),
        tls_key_file=str(tmp_path / "key.pem"),
        public_url="https://localhost:8443",
    )
    assert seen(done)["tls"][0] == level
