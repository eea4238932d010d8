"""A Redis of a test's own, to be killed, frozen, flushed, starved and brought back."""

import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import redis
from redis.asyncio import Redis

from tests.servers import (
    ServerError,
    bundled_redis,
    die_with_parent,
    free_port,
    installed_redis,
)

START_SECONDS = 30.0


class RedisProcess:
    """One address; processes come and go. Only ever signals the process it started."""

    def __init__(self, directory: Path, *options: str) -> None:
        self._directory = directory
        self._options = options
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts it and waits until it answers."""
        errors = []
        for binary in (*bundled_redis(), *installed_redis()):
            try:
                return self._start(str(binary.path))
            except (OSError, ServerError) as error:
                errors.append(f"{binary}: {error}")
        raise ServerError("\n".join(errors))

    def client(self) -> Redis:
        """A connection to look and to break things with."""
        return Redis.from_url(self.url, protocol=2)

    def do(self, *command: str | bytes | int) -> Any:
        """The answer to one command."""
        with redis.Redis.from_url(self.url, protocol=2) as client:
            return client.execute_command(*command)

    def heal(self) -> None:
        """Makes it what it was at first, with what it holds now."""
        if self._process is None:
            self.forget()
            self.start()
        self.go_on()
        self.do("CONFIG", "SET", "maxmemory", 0, "maxmemory-policy", "noeviction")
        self.do("REPLICAOF", "NO", "ONE")

    def kill(self) -> None:
        """SIGKILL: no farewell, no snapshot."""
        if self._process is not None:
            self.go_on()
            self._process.kill()
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """SIGSTOP: connections stay, nothing answers."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        """The end of `freeze`."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGCONT)

    def keep_snapshot(self) -> None:
        """Sets the snapshot aside."""
        shutil.copy(self._directory / "dump.rdb", self._directory / "old.rdb")

    def restore_snapshot(self) -> None:
        """The next process starts from what was set aside."""
        shutil.copy(self._directory / "old.rdb", self._directory / "dump.rdb")

    def forget(self) -> None:
        """The next process starts empty."""
        (self._directory / "dump.rdb").unlink(missing_ok=True)

    def _start(self, binary: str) -> None:
        with (self._directory / "redis.log").open("ab") as log:
            process = subprocess.Popen(
                self._command(binary),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._directory,
                # Not SIGTERM: it may be frozen.
                preexec_fn=die_with_parent(signal.SIGKILL),  # noqa: PLW1509
            )
        started = time.monotonic()
        while time.monotonic() - started < START_SECONDS and process.poll() is None:
            if self._answers():
                self._process = process
                return
            time.sleep(0.01)
        process.kill()
        process.wait()
        raise ServerError("it did not start: see redis.log")

    def _command(self, binary: str) -> list[str]:
        command = [binary, "--port", str(self.port), "--bind", "127.0.0.1", "--save", ""]
        return [*command, "--dir", str(self._directory), *self._options]

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1) as link:
                link.sendall(b"PING\r\n")
                return link.recv(7) == b"+PONG\r\n"
        except OSError:
            return False
