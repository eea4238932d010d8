"""Reads the revocations in the service's own Redis, for resource servers beside it.

Needs the package `redis`, which is not installed with Keyturn's light package. The service writes

    {keyturn}:revoked:<kind>:<subject>   "<end, ms since 1970>:<epoch or nothing>"
    {keyturn}:revoked:complete           the run id of the Redis process that was filled

and a marker that is not the run id of the very connection that reads it means that entries may be
missing (a flush, a restart, a replica): then nothing is said at all. One address; neither Cluster
nor Sentinel. It holds no news of policies, so what roles permit is read anew every few seconds.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Any

from redis.asyncio import Connection, ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from .flights import Complaint
from .revocation import (
    TENANT,
    Entries,
    Entry,
    Presented,
    Stale,
    Verdict,
    aging_names,
    digest,
    fatal_names,
)
from .service import Fault

_PREFIX = "{keyturn}:revoked:"
_MARKER = _PREFIX + "complete"
#: How long Redis is left alone after a fault, in seconds.
PAUSE = 0.5


class RedisRevocations:
    """A source that asks Redis about every call, in one round trip.

    `url` as redis-py takes it (`redis://`, `rediss://`, `unix://`), or with `valkey` for `redis`;
    `timeout` in seconds, for the whole of an answer. Raises ValueError for what is no such URL;
    its text never quotes it.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout: float = 0.5,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        scheme, _, rest = url.partition(":")
        # No timeout, retry or reconnect of its own: they would not bound the whole, and a new
        # connection may be to another process.
        options: dict[str, Any] = {
            "socket_timeout": None,
            "socket_connect_timeout": timeout,
            "retry": Retry(NoBackoff(), 0),
            "health_check_interval": 0,
            "protocol": 2,
        }
        try:
            pool = ConnectionPool.from_url(f"{scheme.replace('valkey', 'redis')}:{rest}", **options)
        except (ValueError, TypeError):
            raise ValueError("the Redis URL cannot be used") from None
        self._pool = pool
        self._timeout = timeout
        self._clock = clock
        self._monotonic = monotonic
        self._turn = asyncio.Lock()
        self._connection: Connection | None = None
        self._run_id = b""
        self._down_until = -float("inf")
        self._complaint = Complaint("the revocations in Redis cannot be read")

    async def start(self) -> None:
        """Connects with the first question."""

    async def close(self) -> None:
        """Ends the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.disconnect(nowait=True)

    async def find(self, text: str, presented: Presented, tenant_id: str | None) -> Verdict:
        """What Redis holds of the token's subjects. Raises Stale."""
        token = presented.token
        names = [*fatal_names(token), *((kind, name) for kind, name, _ in aging_names(token))]
        tenants = (token.roles or ()) if tenant_id is None else (tenant_id,)
        names += [(TENANT, name) for name in tenants]
        values = await self._read([f"{_PREFIX}{kind}:{name}" for kind, name in names])
        found = Entries()
        try:
            for (kind, name), value in zip(names, values, strict=True):
                if value is not None:
                    end, _, epoch = value.decode().partition(":")
                    below = int(epoch) if epoch else None
                    found.merge(Entry(kind, digest(kind, name), below, int(end) / 1000))
        except (ValueError, AttributeError) as error:
            raise Stale("somebody else wrote to the keys in Redis") from error
        return found.verdict(presented.subjects, tenant_id, self._clock())

    async def _read(self, keys: list[str]) -> list[Any]:
        if self._monotonic() < self._down_until:
            raise Stale("Redis does not answer")
        try:
            async with asyncio.timeout(self._timeout), self._turn:
                connection = self._connection
                if connection is None or not connection.is_connected:
                    connection = await self._connect()
                try:
                    marker, *values = list[Any](await self._ask(connection, "MGET", _MARKER, *keys))
                except BaseException:
                    # Whatever interrupts, no late answer may be taken for another one's.
                    await self.close()
                    raise
        except Exception as error:
            self._down_until = self._monotonic() + PAUSE
            self._complaint.about(Fault(type(error).__name__))
            raise Stale(f"Redis: {type(error).__name__}") from error
        if marker != self._run_id:
            self._complaint.about(Fault("Redis may lack entries: it is not (yet) filled"))
            raise Stale("Redis may lack entries")
        self._complaint.settled()
        return values

    async def _connect(self) -> Connection:
        await self.close()
        connection = self._pool.make_connection()  # type: ignore[no-untyped-call]
        try:
            await connection.connect()
            about: bytes = await self._ask(connection, "INFO", "server")
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        lines = (line.partition(b":") for line in about.splitlines())
        self._run_id = next((value for name, _, value in lines if name == b"run_id"), b"")
        if not self._run_id:
            await connection.disconnect(nowait=True)
            raise Fault("its run id cannot be read")
        self._connection = connection
        return self._connection

    @staticmethod
    async def _ask(connection: Connection, *command: str) -> Any:
        await connection.send_command(*command)
        return await connection.read_response()
