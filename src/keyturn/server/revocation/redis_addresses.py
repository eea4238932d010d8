"""Where the Redis or Valkey is that holds the list: alone, in a Cluster, behind Sentinels."""

import asyncio
from collections.abc import Callable
from typing import Any
from urllib.parse import SplitResult, urlsplit, urlunsplit

from redis.asyncio import Connection, ConnectionPool, Sentinel
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import MovedError, RedisError

from .redis_entries import MARKER

#: How often a Cluster may point to another node while connecting.
MOST_REDIRECTIONS = 3
#: The port of a Sentinel whose address names none.
SENTINEL_PORT = 26379


def check_url(url: str) -> None:
    """Raises ValueError for what cannot be an address. Never quotes it: it may hold a password.

    `redis://` and `valkey://` (TLS: `rediss://`, `valkeys://`), `unix://`. A Cluster's
    redirections are followed, with `+cluster` or without; `redis+cluster://host,host:7001` takes
    the first of its nodes that answers. `redis+sentinel://host,host:26379/name` asks Sentinels for
    the primary of that name; user, password and options are the primary's.
    """
    plain, kind = _plain(url)
    try:
        parts = urlsplit(plain)
        if kind == "sentinel":
            usable = bool(parts.path.strip("/")) and bool(_sentinels(parts))
        else:
            usable = kind in {"", "cluster"}
            for one in _nodes(plain, kind):
                ConnectionPool.from_url(one)
    except (ValueError, TypeError):
        usable = False
    if not usable:
        raise ValueError("the Redis URL cannot be used")


async def connector(url: str, timeout: float) -> Callable[[], Connection]:
    """How to make a connection to the process that holds the keys now.

    `timeout` is for each that is asked (seconds). Raises RedisError, OSError or TimeoutError.
    """
    plain, kind = _plain(url)
    options: dict[str, Any] = {
        "socket_timeout": None,
        "socket_connect_timeout": timeout,
        "retry": Retry(NoBackoff(), 0),
        "retry_on_error": [],
        "health_check_interval": 0,
        # Version 3 would switch maintenance announcements on.
        "protocol": 2,
    }
    if kind == "sentinel":
        plain = await _primary(urlsplit(plain), {**options, "socket_timeout": timeout})
    nodes = _nodes(plain, kind)
    for number, node in enumerate(nodes, 1):
        try:
            return await _follow(ConnectionPool.from_url(node, **options), timeout)
        except (RedisError, OSError, TimeoutError):
            if number == len(nodes):
                raise
    raise AssertionError("a URL has an address")


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


async def _primary(parts: SplitResult, options: dict[str, Any]) -> str:
    """The URL of the process that the Sentinels call the primary."""
    credentials, at, _ = parts.netloc.rpartition("@")
    name, _, database = parts.path.strip("/").partition("/")
    sentinel = Sentinel(  # type: ignore[no-untyped-call]
        _sentinels(parts), sentinel_kwargs=options
    )
    try:
        host, port = await sentinel.discover_master(name)
    finally:
        for client in sentinel.sentinels:
            await client.aclose()
    host = f"[{host}]" if ":" in host else host
    netloc = f"{credentials}{at}{host}:{port}"
    return urlunsplit(parts._replace(netloc=netloc, path=f"/{database or 0}"))


def _plain(url: str) -> tuple[str, str]:
    """The URL in redis-py's words, and what stands behind the + in its scheme."""
    scheme, _, rest = url.partition(":")
    scheme, _, kind = scheme.partition("+")
    return f"{scheme.replace('valkey', 'redis')}:{rest}", kind


def _nodes(url: str, kind: str) -> list[str]:
    """A URL for each address in a Cluster's; any other stays as it is."""
    if kind != "cluster":
        return [url]
    parts = urlsplit(url)
    credentials, at, addresses = parts.netloc.rpartition("@")
    return [
        urlunsplit(parts._replace(netloc=f"{credentials}{at}{address}"))
        for address in addresses.split(",")
    ]


def _sentinels(parts: SplitResult) -> list[tuple[str, int]]:
    found = []
    for address in parts.netloc.rpartition("@")[2].split(","):
        one = urlsplit(f"//{address}")
        if not one.hostname:
            raise ValueError("a Sentinel's address is missing")
        found.append((one.hostname, one.port or SENTINEL_PORT))
    return found
