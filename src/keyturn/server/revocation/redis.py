"""Connections to the Redis or Valkey that holds the list.

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
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from redis.asyncio import Connection
from redis.exceptions import AuthenticationError, RedisError, ResponseError

from ..domain.model import Revocation
from ..domain.revocations import Subject
from ..reasons import unreachable
from .redis_addresses import connector
from .redis_entries import COMPLETE, MARKER, MERGE, PREFIX, decode, key, subject_of, writes

#: Most entries in one write; about 1 ms of Redis' time.
WRITTEN_AT_ONCE = 200
#: The longest wait for an answer while connecting and filling, if `timeout` is not longer
#: (seconds): nobody else waits for it, and a busy machine must not start it over and over.
BACKGROUND_PATIENCE = 1.0
#: A filling that takes longer than this does not count (milliseconds).
LONGEST_FILLING = 600_000


class RedisFault(Exception):
    """Redis did not do what it was asked in time. The text is fit for the log."""


def told(fault: RedisFault | TimeoutError) -> str:
    """What is wrong with Redis, in words for who set it up."""
    if isinstance(fault.__cause__, AuthenticationError):
        return "Redis refused the password"
    return unreachable("Redis", fault) or f"Redis: {fault}"


class RedisRefusal(RedisFault):
    """Redis is well enough to say that it will not do it."""


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
        try:
            self.run_id = (await self.info("server")).get("run_id", "")
        except RedisRefusal as refusal:
            await self.close()
            raise RedisFault("its user may not call INFO, which tells of restarts") from refusal
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
                except ResponseError:
                    raise  # an answer, and a whole one
                except BaseException:
                    # Whatever interrupts, no late answer may be taken for another one's.
                    await self._connection.disconnect(nowait=True)
                    raise
        except RedisFault:
            raise
        except Exception as error:
            # Never the text of a foreign error: it may quote a URL or a command.
            kind = RedisRefusal if isinstance(error, ResponseError) else RedisFault
            raise kind(type(error).__name__) from error

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
            make = await connector(url, max(timeout, BACKGROUND_PATIENCE))
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
                await self._put("EVAL", MERGE, len(keys), *keys, *values, timeout=timeout)

    async def begin_filling(self) -> str:
        """To be called before the entries are gathered. Raises `RedisFault`."""
        filling = PREFIX + "filling:" + secrets.token_hex(8)
        await self._put("SET", filling, 1, "PX", LONGEST_FILLING, timeout=self._writer.patience)
        return filling

    async def end_filling(self, filling: str) -> bool:
        """Writes the marker; False when Redis was flushed meanwhile. Raises `RedisFault`."""
        writer = self._writer
        command = ("EVAL", COMPLETE, 2, filling, MARKER, writer.run_id)
        done = await writer.ask(*command, timeout=writer.patience)
        return bool(done)

    async def _put(self, *command: str | bytes | int, timeout: float | None) -> None:
        """Writes. What Redis has no memory for, nobody may take for not being there.

        To remove takes no memory: without the marker all nodes ask the database.
        """
        try:
            await self._writer.ask(*command, timeout=timeout)
        except RedisRefusal:
            await self._reader.ask("DEL", MARKER)
            raise

    async def everything(self) -> list[Revocation]:
        """All entries that are there, whoever wrote them. Raises `RedisFault`."""
        found: list[Revocation] = []
        cursor = b"0"
        while True:
            cursor, names = await self._reader.ask(
                *("SCAN", cursor, "MATCH", f"{PREFIX}*", "COUNT", WRITTEN_AT_ONCE),
                timeout=self._reader.patience,
            )
            subjects = [one for name in names if (one := subject_of(name)) is not None]
            found += (await self.read(subjects)).found.values()
            if cursor == b"0":
                return found

    async def unmark(self) -> None:
        """Takes the marker away: nodes fill it before they trust it. Raises `RedisFault`."""
        await self._writer.ask("DEL", MARKER, timeout=self._writer.patience)

    async def get(self, name: str) -> str | None:
        """A key beside the list. Raises `RedisFault`."""
        value: bytes | None = await self._reader.ask("GET", name, timeout=self._reader.patience)
        return None if value is None else value.decode(errors="replace")

    async def set(self, name: str, value: str | None) -> None:
        """The same, written; None deletes it. Raises `RedisFault`."""
        command = ("DEL", name) if value is None else ("SET", name, value)
        await self._writer.ask(*command, timeout=self._writer.patience)

    async def eviction_policy(self) -> str:
        """`noeviction` is the one that keeps every entry; empty when it does not tell.

        Raises `RedisFault`.
        """
        try:
            return (await self._writer.info("memory")).get("maxmemory_policy", "")
        except RedisRefusal:
            return ""

    async def info(self, section: str) -> dict[str, str]:
        """What it tells of itself (INFO). Raises `RedisFault`, of it `RedisRefusal`."""
        return await self._writer.info(section)

    async def close(self) -> None:
        """Does not wait for Redis."""
        await self._reader.close()
        await self._writer.close()
        # The transports close in the event loop's next step.
        await asyncio.sleep(0)
