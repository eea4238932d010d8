"""A PostgreSQL primary and a streaming replica, which knows every commit before it is acknowledged.

The replica begins as a copy of the primary's data directory, made while the primary is down: that
needs no program but the server itself.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

from tests.faults.stores import PostgresProcess
from tests.servers import PostgresServer, free_port

#: What the primary calls the replica.
NAME = "keyturn_replica"
CATCH_UP_SECONDS = 30.0


class Replica(PostgresProcess):
    """The replica of a primary, which must be running. It is asked by its own `url`."""

    def __init__(self, primary: PostgresProcess) -> None:
        home = primary._server.directory
        assert home is not None
        source, directory, port = primary._data, home / "replica", free_port()
        primary.shut_down()
        owner = source.stat()
        self._data = directory / "data"
        shutil.copytree(source, self._data)
        at = urlsplit(primary.url)
        with (self._data / "postgresql.auto.conf").open("a") as settings:
            settings.write(
                f"primary_conninfo = 'host={at.hostname} port={at.port} user={at.username}"
                f" application_name={NAME}'\n"
            )
        (self._data / "standby.signal").touch()
        for path in (directory, *directory.rglob("*")):
            os.chown(path, owner.st_uid, owner.st_gid)
        self._data.chmod(0o700)
        swapped = {str(source): str(self._data), f"port={at.port}": f"port={port}"}
        self._command = [swapped.get(str(word), word) for word in primary._command]
        self.url = f"postgresql://postgres@127.0.0.1:{port}/postgres"
        self._server = PostgresServer(self.url, None, directory, primary._server.binary)
        primary.start()
        self.start()


@dataclass
class Pair:
    """A primary whose commits wait for its replica."""

    primary: PostgresProcess
    replica: Replica

    def until_synchronous(self) -> None:
        """From now on, what is acknowledged is on the replica's disk as well."""
        self.primary.execute(f"ALTER SYSTEM SET synchronous_standby_names = '{NAME}'")
        self.primary.execute("SELECT pg_reload_conf()")
        deadline = time.monotonic() + CATCH_UP_SECONDS
        query = "SELECT sync_state FROM pg_stat_replication"
        while self.primary.fetch(query) != [{"sync_state": "sync"}]:
            assert time.monotonic() < deadline
            time.sleep(0.05)


@contextmanager
def replicated() -> Iterator[Pair]:
    """A pair with an empty database; it stops at the end."""
    with ExitStack() as stack:
        primary = PostgresProcess(max_wal_senders="4")
        stack.callback(primary.close)
        replica = Replica(primary)
        stack.callback(replica.close)
        pair = Pair(primary, replica)
        pair.until_synchronous()
        yield pair
