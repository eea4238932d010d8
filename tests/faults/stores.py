"""A PostgreSQL of the tests' own, to be crashed, made read-only, failed over and brought back."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import asyncpg

from tests.live_server import rows, run
from tests.servers import (
    PostgresServer,
    ServerError,
    bundled_postgres,
    die_with_parent,
    installed_postgres,
    start_postgres,
)

START_SECONDS = 30.0

# A crash of the process must lose nothing that was committed, and a replica must be able to start
# from what it left. Only the machine may not crash.
_SETTINGS = {"synchronous_commit": "on", "wal_level": "replica"}


class PostgresProcess:
    """One address and one cluster; processes come and go. Never the one the environment names."""

    def __init__(self, **settings: str) -> None:
        binaries = [*installed_postgres(), *bundled_postgres()]
        self._server = start_postgres(binaries, {**_SETTINGS, **settings})
        self.url = self._server.url
        process = self._server._process
        assert process is not None
        assert self._server.directory is not None
        self._process = process
        self._data = self._server.directory / "data"
        self._command: list[str | Path] = list(process.args)  # type: ignore[arg-type]

    @property
    def running(self) -> bool:
        """Whether there is a process."""
        return self._process.poll() is None

    def stop_immediately(self) -> None:
        """`pg_ctl stop -m immediate`: no checkpoint, no farewell."""
        self._process.send_signal(signal.SIGQUIT)
        self._process.wait(START_SECONDS)

    def shut_down(self) -> None:
        """`pg_ctl stop -m fast`: what it leaves needs no recovery."""
        self._process.send_signal(signal.SIGINT)
        self._process.wait(START_SECONDS)

    def kill(self) -> None:
        """SIGKILL for all of its processes, as an out-of-memory killer or a pulled plug has it.

        Without the one that watches over them, the others would go on answering for a moment.
        """
        pid = self._process.pid
        watched = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        self._process.kill()
        for child in watched:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(child), signal.SIGKILL)
        self._process.wait()

    def start(self) -> None:
        """Starts it with its data, on its port, and waits until it takes connections."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            process = self._process = self._server._process = self._spawn()
            # It ends at once as long as processes of the killed one hold the shared memory.
            while process.poll() is None and time.monotonic() < deadline:
                if self._ready():
                    return
                time.sleep(0.02)
            time.sleep(0.1)
        raise ServerError("PostgreSQL does not start again")

    def start_as_replica(self) -> None:
        """Starts it as the replica of a primary that is gone: it answers, and takes no writes."""
        sign = self._data / "standby.signal"
        sign.touch()
        owner = self._data.stat()
        os.chown(sign, owner.st_uid, owner.st_gid)
        self.start()

    def promote(self) -> None:
        """The end of `start_as_replica`: it is the primary, of a timeline of its own."""
        assert self.fetch("SELECT pg_promote(true, 30) AS done") == [{"done": True}]

    def refuse_writes(self, refused: bool = True) -> None:
        """All transactions that begin from now on are read-only, those of old connections, too."""
        value = "on" if refused else "off"
        self.execute(f"ALTER SYSTEM SET default_transaction_read_only = {value}")
        self.execute("SELECT pg_reload_conf()")
        # The signal takes a moment; a new connection learns of it last.
        deadline = time.monotonic() + START_SECONDS
        while self._writable() == refused:
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def end_connections(self) -> int:
        """`pg_terminate_backend` for every connection of Keyturn. Gives how many there were."""
        done = self.fetch(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = 'keyturn'"
        )
        return len(done)

    def connections(self) -> int:
        """How many connections Keyturn has."""
        [row] = self.fetch(
            "SELECT count(*) AS n FROM pg_stat_activity WHERE application_name = 'keyturn'"
        )
        return int(row["n"])

    def heal(self) -> None:
        """Makes it what it was at first, with the data that it has now."""
        if not self.running:
            self.start()
        if self.fetch("SELECT pg_is_in_recovery() AS yes") == [{"yes": True}]:
            self.promote()
        if not self._writable():
            self.refuse_writes(False)

    def execute(self, statement: str) -> None:
        """Runs one statement, whatever new transactions are by default."""

        async def work() -> None:
            connection = await self.connect()
            try:
                await connection.execute(statement)
            finally:
                await connection.close()

        run(work())

    def fetch(self, query: str, *parameters: object) -> list[dict[str, Any]]:
        """The rows of one query."""
        return rows(self.url, query, *parameters)

    async def connect(self) -> asyncpg.Connection[asyncpg.Record]:
        """A connection to look and to break things with."""
        return await asyncpg.connect(self.url)

    def close(self) -> None:
        """Ends it for good."""
        self._server.stop()

    def _writable(self) -> bool:
        return self.fetch("SHOW transaction_read_only") == [{"transaction_read_only": "off"}]

    def _ready(self) -> bool:
        try:
            lines = (self._data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        # A replica says "standby".
        states = {"ready", "standby"}
        return len(lines) >= 8 and lines[0] == str(self._process.pid) and lines[7].strip() in states

    def _spawn(self) -> subprocess.Popen[bytes]:
        binary, directory = self._server.binary, self._server.directory
        assert binary is not None
        assert directory is not None
        owner = self._data.stat()
        account = (
            {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": []}
            if not os.geteuid()
            else {}
        )
        with (directory / "server.log").open("ab") as log:
            process: subprocess.Popen[bytes] = subprocess.Popen(
                self._command,
                env={**os.environ, **binary.env},
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=die_with_parent(PostgresServer.stop_signal),  # noqa: PLW1509
                **account,  # type: ignore[call-overload]
            )
        return process
