"""Keyturn as it runs in production: `keyturn serve` in processes of its own, on free ports.

`live` is one server, on SQLite with the list in process and on PostgreSQL with Redis. `LiveServer`
starts any other arrangement; `tests.faults.nodes` has one of several nodes. All log at DEBUG into
`log_dir`, which is searched for secrets when the session ends.
"""

from __future__ import annotations

import asyncio
import atexit
import itertools
import os
import secrets
import signal
import sqlite3
import ssl
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import asyncpg
import httpx
import pytest

import keyturn
from keyturn.server.app import migrate
from keyturn.server.domain.ids import SECRET_LETTERS, base62
from keyturn.server.parts import open_parts
from keyturn.server.services.bootstrap import make_demo
from keyturn.server.settings import Settings
from tests.databases import database, dump_postgres, dump_sqlite
from tests.servers import PostgresServer, RedisServer, die_with_parent, end_process, free_port
from tests.unlimited import UNLIMITED

T = TypeVar("T")

START_SECONDS = 60.0
PORT_TRIES = 3

#: The issuer of several nodes that are one service. `.localhost` may be plain http.
SHARED_ISSUER = "http://keyturn.localhost"

_counter = itertools.count(1)


@dataclass(frozen=True)
class Demo:
    """What the demo made, and the master secret it was made under."""

    username: str
    api_key: str
    admin_username: str
    admin_api_key: str
    tenants: tuple[str, ...]
    master_secret: str

    @property
    def key_id(self) -> str:
        """The public part of the API key."""
        return self.api_key.split("_")[1]

    def __repr__(self) -> str:
        # A failing assertion prints its operands.
        return f"Demo({self.username!r})"


def new_master_secret() -> str:
    """A master secret for one database; none stands in the code."""
    return secrets.token_urlsafe(36)


def prepare(
    database_url: str, master_secret: str | None = None, signing_algorithm: str = "ES256"
) -> Demo:
    """Migrates a database and makes the demo in it, and a signing key of that algorithm."""
    secret = master_secret or new_master_secret()
    settings = Settings(
        database_url=database_url, master_secret=secret, signing_algorithm=signing_algorithm
    )

    async def make() -> Demo:
        await migrate(settings)
        async with open_parts(settings) as parts:
            made = await make_demo(parts.store, parts.key_format)
        return Demo(
            username=made.user.username,
            api_key=made.key.text,
            admin_username=made.platform.user.username,
            admin_api_key=made.platform.key.text,
            tenants=tuple(tenant.id for tenant in made.tenants),
            master_secret=secret,
        )

    return run(make())


def forged_key(api_key: str) -> str:
    """A key that is right in its id and its checksum, and wrong in its secret."""
    secret = base62(secrets.randbits(256), SECRET_LETTERS)
    body = f"kt_{api_key.split('_')[1]}_{secret}"
    return f"{body}_{base62(zlib.crc32(body.encode()), 6)}"


def run(work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, in an event loop and a thread of its own."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()


def dump(database_url: str) -> str:
    """Every row of every table as text."""
    if database_url.startswith("sqlite:///"):
        return dump_sqlite(Path(database_url.removeprefix("sqlite:///")))
    return run(dump_postgres(database_url))


def rows(database_url: str, query: str, *parameters: object) -> list[dict[str, Any]]:
    """The rows of one query. Parameters are PostgreSQL's."""

    async def fetch() -> list[dict[str, Any]]:
        connection = await asyncpg.connect(database_url)
        try:
            return [dict(row) for row in await connection.fetch(query, *parameters)]
        finally:
            await connection.close()

    if not database_url.startswith("sqlite:///"):
        return run(fetch())
    with closing(sqlite3.connect(database_url.removeprefix("sqlite:///"))) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute(query)]


def eventually(check: Callable[[], bool], seconds: float) -> float:
    """How many seconds it took until `check` held. Fails after `seconds`."""
    started = time.monotonic()
    while not check():
        if time.monotonic() - started > seconds:
            pytest.fail(f"it did not become true within {seconds} s")
        time.sleep(0.02)
    return time.monotonic() - started


class LiveServer:
    """One `keyturn serve`. It keeps its port, so it can be stopped and started again."""

    #: What is run, and of which checkout.
    module = "keyturn.cli"
    root = Path(keyturn.__file__).parents[2]
    #: How it is reached, and which certificates are trusted then.
    scheme = "http"
    verify: ssl.SSLContext | bool = True

    def __init__(
        self,
        log_dir: Path,
        database_url: str,
        master_secret: str,
        *,
        redis_url: str | None = None,
        **settings: object,
    ) -> None:
        """`settings` become environment variables: `refresh_grace=0` is `KEYTURN_REFRESH_GRACE`."""
        self.database_url = database_url
        self.log = log_dir / f"keyturn-{next(_counter)}.log"
        self.port = free_port()
        self._settings = {
            "database_url": database_url,
            "redis_url": redis_url or "",
            "master_secret": master_secret,
            "log_level": "debug",
            "access_log": "all",
            "shutdown_drain": 0,
            "metrics_port": 0,  # many run at once
            **UNLIMITED,
            **settings,
        }
        self._process: subprocess.Popen[bytes] | None = None
        atexit.register(self.kill)

    @property
    def base_url(self) -> str:
        """Where it answers. Also its public URL, and its issuer unless the settings say other."""
        return f"{self.scheme}://127.0.0.1:{self.port}"

    @property
    def token_url(self) -> str:
        return f"{self.base_url}/iam/auth/token"

    @property
    def revoke_url(self) -> str:
        return f"{self.base_url}/iam/auth/revoke"

    @property
    def introspect_url(self) -> str:
        return f"{self.base_url}/iam/auth/introspect"

    @property
    def me_url(self) -> str:
        return f"{self.base_url}/iam/users/me"

    @property
    def jwks_url(self) -> str:
        return f"{self.base_url}/.well-known/jwks.json"

    @property
    def alive(self) -> bool:
        """Whether its process runs."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The process id. Raises AssertionError when it does not run."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> LiveServer:
        """Starts it and waits until it is ready."""
        for attempt in range(1, PORT_TRIES + 1):
            self.launch()
            try:
                self.wait_until_ready()
            except RuntimeError as error:
                if "in use" not in str(error) or attempt == PORT_TRIES:
                    raise
                self.port = free_port()
            else:
                break
        return self

    def launch(self) -> None:
        """Starts the process and does not wait."""
        assert self._process is None
        self._process = self.command("serve")

    def command(self, *words: str) -> subprocess.Popen[bytes]:
        """`keyturn` with those words and this server's settings, its output in the server's log."""
        settings = {"public_url": self.base_url, **self._settings, "port": self.port}
        env = {name: value for name, value in os.environ.items() if not name.startswith("KEYTURN_")}
        env |= {f"KEYTURN_{name.upper()}": str(value) for name, value in settings.items()}
        # For a checkout that is not installed.
        env["PYTHONPATH"] = str(self.root / "src")
        with self.log.open("ab") as output:
            return subprocess.Popen(
                [sys.executable, "-m", self.module, *words],
                env=env,
                cwd=self.root,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=die_with_parent(signal.SIGTERM),  # noqa: PLW1509
            )

    def wait_until_ready(self) -> None:
        """Raises RuntimeError when it ends instead, or takes too long."""
        assert self._process is not None
        deadline = time.monotonic() + START_SECONDS
        # One client: each would read all certificates that this machine trusts.
        with httpx.Client(timeout=5, verify=self.verify) as client:
            while self._process.poll() is None and time.monotonic() < deadline:
                try:
                    if client.get(f"{self.base_url}/health/ready").status_code == 200:
                        return
                except httpx.TransportError:
                    pass
                time.sleep(0.05)
        state = self._process.poll()
        self.kill()
        said = self.log.read_text(errors="replace")[-2000:]
        raise RuntimeError(f"keyturn serve is not ready (exit status {state}): {said}")

    def freeze(self) -> None:
        """SIGSTOP: it keeps what it holds and does nothing. Only `kill` ends it then."""
        os.kill(self.pid, signal.SIGSTOP)

    def stop(self) -> int:
        """Ends it with SIGTERM, harder if need be. Gives the exit status."""
        process, self._process = self._process, None
        if process is None:
            return 0
        end_process(process, signal.SIGTERM)
        return process.returncode

    def kill(self) -> None:
        """Ends it with SIGKILL: it can do nothing about it."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()


@dataclass
class Live:
    """A running service, the demo in it, and the four calls that every test makes."""

    server: LiveServer
    demo: Demo
    http: httpx.Client = field(repr=False)

    def exchange(self, **fields: str) -> dict[str, Any]:
        """New tokens for the demo's service user."""
        given = {"username": self.demo.username, "password": self.demo.api_key, **fields}
        answer = self.http.post(self.server.token_url, json=given)
        assert answer.status_code == 200, answer.text
        body: dict[str, Any] = answer.json()
        return body

    def refresh(self, refresh_token: str) -> httpx.Response:
        """The answer to a refresh, whatever it is."""
        return self.http.post(
            self.server.token_url,
            data={"grant_type": "refresh_token", "refresh_token": refresh_token},
        )

    def revoke(self, token: str) -> None:
        """Revokes as the holder of the token."""
        answer = self.http.post(self.server.revoke_url, data={"token": token})
        assert answer.status_code == 200

    def introspect(self, token: str) -> dict[str, Any]:
        """What the token is worth, asked as the administrator."""
        answer = self.http.post(
            self.server.introspect_url,
            data={"token": token},
            auth=(self.demo.admin_username, self.demo.admin_api_key),
        )
        assert answer.status_code == 200
        body: dict[str, Any] = answer.json()
        return body

    def me(self, access_token: str) -> httpx.Response:
        """The answer of `/users/me`."""
        headers = {"authorization": f"Bearer {access_token}"}
        return self.http.get(self.server.me_url, headers=headers)


@contextmanager
def running(*servers: LiveServer) -> Iterator[None]:
    """Starts all at the same time, and stops them at the end."""
    with ExitStack() as stack:
        for server in servers:
            stack.callback(server.stop)
            server.launch()
        for server in servers:
            server.wait_until_ready()
        yield


@contextmanager
def live_service(
    log_dir: Path, database_url: str, redis_url: str | None = None, **settings: object
) -> Iterator[Live]:
    """A server with the demo, on a database that is empty or just migrated."""
    demo = prepare(database_url, signing_algorithm=str(settings.get("signing_algorithm", "ES256")))
    server = LiveServer(
        log_dir, database_url, demo.master_secret, redis_url=redis_url, **settings
    ).start()
    try:
        with httpx.Client(timeout=20) as client:
            yield Live(server, demo, client)
    finally:
        server.stop()


@contextmanager
def postgres_database(server: PostgresServer) -> Iterator[str]:
    """An empty database of its own, for fixtures that live longer than a test."""
    with database(server.url, f"keyturn_live_{secrets.token_hex(4)}") as url:
        yield url


def redis_database(server: RedisServer) -> str:
    """The database that live servers use; other tests have 0."""
    return urlsplit(server.url)._replace(path="/5").geturl()


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def live(
    request: pytest.FixtureRequest, log_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Live]:
    """A running service: on SQLite with the list in process, and on PostgreSQL with Redis."""
    with ExitStack() as stack:
        if request.param == "sqlite":
            url, redis_url = f"sqlite:///{tmp_path_factory.mktemp('live')}/keyturn.db", None
        else:
            url = stack.enter_context(postgres_database(request.getfixturevalue("postgres_server")))
            redis_url = redis_database(request.getfixturevalue("redis_server"))
        yield stack.enter_context(live_service(log_dir, url, redis_url))
