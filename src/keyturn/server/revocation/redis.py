"""Connections to the Redis or Valkey that holds the list. The only importer of redis.

Why the marker holds a run id. Redis draws a new run id whenever its process starts, and a process
that starts makes every connection new. Each connection reads the run id once, when it is made; a
marker that says something else was written for another process: Redis has been restarted from a
snapshot of any age, or this is a replica that was promoted. A flush takes the marker with it. So
"the marker is the run id of this very connection" means that all entries are there that were
written since the process was filled, and costs no round trip of its own. (A proxy that keeps its
clients' connections while Redis restarts would break this: connect to Redis itself.)

Why there is a key while filling. The marker is written last, and only if that key is still there:
a flush in the middle of the filling takes the key along, and the marker is not written.

A Redis database belongs to one installation: another's marker would vouch for its entries only.

Every wait is bounded, for the whole of an answer: redis-py's own timeouts bound one read, so they
are off, its retries are off, and so are its answers to maintenance announcements, which prolong
timeouts to 10 s. There are two connections, for reading and for writing, so that filling does not
hold up reading, and no pool: questions are gathered (`gathering.py`), which carries more than a
pool does: over 10,000 finds a second, 100 at once, on one core.
"""

import asyncio
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from redis.asyncio import Connection, ConnectionPool, Sentinel
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import MovedError, RedisError

from ..domain.model import Revocation
from ..domain.revocations import Subject
from .redis_entries import COMPLETE, MARKER, MERGE, PREFIX, decode, key, writes

#: Most entries in one write; about 1 ms of Redis' time.
WRITTEN_AT_ONCE = 200
#: The longest wait for an answer while connecting and filling, if `timeout` is not longer
#: (seconds): nobody else waits for it, and a busy machine must not start it over and over.
BACKGROUND_PATIENCE = 1.0
#: A filling that takes longer than this does not count (milliseconds).
LONGEST_FILLING = 600_000
#: How often a Cluster may point to another node while connecting.
MOST_REDIRECTIONS = 3
#: The port of a Sentinel whose address names none.
SENTINEL_PORT = 26379


class RedisFault(Exception):
    """Redis did not do what it was asked in time. The text is fit for the log."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What one read found. `complete`: what was not found is not there."""

    complete: bool
    found: dict[Subject, Revocation]


class _Wire:
    """One connection: one question at a time, all of it within `timeout` seconds."""

    def __init__(self, connection: Connection, timeout: float) -> None:
        self._connection = connection
        self._timeout = timeout
        self.patience = max(timeout, BACKGROUND_PATIENCE)
        self._turn = asyncio.Lock()
        self.run_id = ""

    async def connect(self) -> None:
        async with asyncio.timeout(self.patience):
            await self._connection.connect()  # type: ignore[no-untyped-call]
        # Read on this connection, before anything else is.
        self.run_id = (await self.info("server")).get("run_id", "")
        if not self.run_id:
            await self.close()
            raise RedisFault("its run id cannot be read")

    async def ask(self, *command: str | bytes | int, timeout: float | None = None) -> Any:
        try:
            async with asyncio.timeout(timeout or self._timeout), self._turn:
                # redis-py would connect anew without a word, perhaps to another process.
                if not self._connection.is_connected:
                    raise RedisFault("the connection is lost")
                try:
                    await self._connection.send_command(*command)
                    return await self._connection.read_response()
                except BaseException:
                    # Whatever interrupts, no late answer may be taken for another one's.
                    await self._connection.disconnect(nowait=True)
                    raise
        except RedisFault:
            raise
        except Exception as error:
            # Never the text of a foreign error: it may quote a URL or a command.
            raise RedisFault(type(error).__name__) from error

    async def info(self, section: str) -> dict[str, str]:
        text: bytes = await self.ask("INFO", section, timeout=self.patience)
        pairs = (line.split(":", 1) for line in text.decode().splitlines() if ":" in line)
        return {name: value.strip() for name, value in pairs}

    async def close(self) -> None:
        await self._connection.disconnect(nowait=True)


class Link:
    """Two connections to one Redis process."""

    def __init__(self, reader: _Wire, writer: _Wire) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, url: str, timeout: float) -> "Link":
        """Connects. Raises `RedisFault`."""
        wires: list[_Wire] = []
        try:
            make = await _address(url, max(timeout, BACKGROUND_PATIENCE))
            for _ in range(2):
                wires.append(_Wire(make(), timeout))
                await wires[-1].connect()
            if wires[0].run_id != wires[1].run_id:
                raise RedisFault("its address leads to several processes")
            return cls(*wires)
        except BaseException as error:
            for wire in wires:
                await wire.close()
            if isinstance(error, RedisError | OSError | TimeoutError):
                raise RedisFault(type(error).__name__) from error
            raise

    async def read(self, subjects: Sequence[Subject]) -> Reading:
        """Marker and entries in one round trip. Raises `RedisFault`."""
        values = await self._reader.ask("MGET", MARKER, *map(key, subjects))
        try:
            found = {
                subject: decode(subject, value)
                for subject, value in zip(subjects, values[1:], strict=True)
                if value is not None
            }
        except (ValueError, TypeError, OverflowError) as error:
            raise RedisFault("somebody else wrote to its keys") from error
        return Reading(values[0] == self._reader.run_id.encode(), found)

    async def write(self, entries: Sequence[Revocation], now: datetime) -> None:
        """Merges entries into what is there; removes lifted ones. Raises `RedisFault`."""
        await self._write(entries, now, None)

    async def fill(self, entries: Sequence[Revocation], now: datetime) -> None:
        """Like `write`, for all there are, and more patient. Raises `RedisFault`."""
        await self._write(entries, now, self._writer.patience)

    async def _write(
        self, entries: Sequence[Revocation], now: datetime, timeout: float | None
    ) -> None:
        for start in range(0, len(entries), WRITTEN_AT_ONCE):
            some = [
                write
                for entry in entries[start : start + WRITTEN_AT_ONCE]
                for write in writes(entry, now)
            ]
            keys = [write.key for write in some]
            values = [value for write in some for value in (write.end, write.epoch, write.keep)]
            if some:
                await self._writer.ask("EVAL", MERGE, len(keys), *keys, *values, timeout=timeout)

    async def begin_filling(self) -> str:
        """To be called before the entries are gathered. Raises `RedisFault`."""
        filling = PREFIX + "filling:" + secrets.token_hex(8)
        await self._writer.ask(
            "SET", filling, 1, "PX", LONGEST_FILLING, timeout=self._writer.patience
        )
        return filling

    async def end_filling(self, filling: str) -> bool:
        """Writes the marker; False when Redis was flushed meanwhile. Raises `RedisFault`."""
        writer = self._writer
        command = ("EVAL", COMPLETE, 2, filling, MARKER, writer.run_id)
        done = await writer.ask(*command, timeout=writer.patience)
        return bool(done)

    async def eviction_policy(self) -> str:
        """`noeviction` is the one that keeps every entry. Raises `RedisFault`."""
        return (await self._writer.info("memory")).get("maxmemory_policy", "noeviction")

    async def close(self) -> None:
        """Does not wait for Redis."""
        await self._reader.close()
        await self._writer.close()
        # The transports close in the event loop's next step.
        await asyncio.sleep(0)


# --- addresses ----------------------------------------------------------------------------


def check_url(url: str) -> None:
    """Raises ValueError for what cannot be an address. Never quotes it: it may hold a password.

    `redis://` and `valkey://` (TLS: `rediss://`, `valkeys://`), `unix://`. A Cluster's
    redirections are followed, with `+cluster` or without. `redis+sentinel://host,host:26379/name`
    asks Sentinels for the primary of that name; user, password and options are the primary's.
    """
    plain, kind = _plain(url)
    try:
        parts = urlsplit(plain)
        if kind == "sentinel":
            usable = bool(parts.path.strip("/")) and bool(_sentinels(parts.netloc))
        else:
            usable = kind in {"", "cluster"}
            ConnectionPool.from_url(plain)
    except (ValueError, TypeError):
        usable = False
    if not usable:
        raise ValueError("the Redis URL cannot be used")


def _plain(url: str) -> tuple[str, str]:
    """The URL in redis-py's words, and what stands behind the + in its scheme."""
    scheme, _, rest = url.partition(":")
    scheme, _, kind = scheme.partition("+")
    return f"{scheme.replace('valkey', 'redis')}:{rest}", kind


async def _address(url: str, timeout: float) -> Callable[[], Connection]:
    """How to make a connection to the process that holds the keys now."""
    plain, kind = _plain(url)
    options: dict[str, Any] = {
        "socket_timeout": None,
        "socket_connect_timeout": timeout,
        "retry": Retry(NoBackoff(), 0),
        "retry_on_timeout": False,
        "retry_on_error": [],
        "health_check_interval": 0,
        # Version 3 would switch maintenance announcements on.
        "protocol": 2,
    }
    if kind == "sentinel":
        plain = await _primary(plain, {**options, "socket_timeout": timeout})
    return await _follow(ConnectionPool.from_url(plain, **options), timeout)


async def _follow(pool: ConnectionPool, timeout: float) -> Callable[[], Connection]:
    """Where a Cluster's redirections lead. One slot holds all keys, so one address is enough."""
    for _ in range(MOST_REDIRECTIONS):
        probe = pool.make_connection()  # type: ignore[no-untyped-call]
        try:
            async with asyncio.timeout(timeout):
                await probe.connect()
                await probe.send_command("EXISTS", MARKER)
                await probe.read_response()
            break
        except MovedError as error:
            # No host: the one that said so.
            host = error.host or pool.connection_kwargs.get("host")
            pool.connection_kwargs.update(host=host, port=error.port)
        finally:
            await probe.disconnect(nowait=True)
    return pool.make_connection


async def _primary(url: str, options: dict[str, Any]) -> str:
    """The URL of the process that the Sentinels call the primary."""
    parts = urlsplit(url)
    credentials, at, _ = parts.netloc.rpartition("@")
    name, _, database = parts.path.strip("/").partition("/")
    sentinel = Sentinel(  # type: ignore[no-untyped-call]
        _sentinels(parts.netloc), sentinel_kwargs=options
    )
    try:
        host, port = await sentinel.discover_master(name)
    finally:
        for client in sentinel.sentinels:
            await client.aclose()
    host = f"[{host}]" if ":" in host else host
    netloc = f"{credentials}{at}{host}:{port}"
    return urlunsplit(parts._replace(netloc=netloc, path=f"/{database or 0}"))


def _sentinels(netloc: str) -> list[tuple[str, int]]:
    found = []
    for address in netloc.rpartition("@")[2].split(","):
        parts = urlsplit(f"//{address}")
        if not parts.hostname:
            raise ValueError("a Sentinel's address is missing")
        found.append((parts.hostname, parts.port or SENTINEL_PORT))
    return found
