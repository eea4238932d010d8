"""What can be seen of a Redis from outside."""

import asyncio
import time
from dataclasses import dataclass

from ..domain.errors import Unavailable
from .redis import Link, RedisFault, RedisRefusal, told
from .redis_addresses import check_url

#: How often it is asked something small, to know how long it takes.
ASKED = 5


@dataclass(frozen=True, slots=True)
class RedisFacts:
    """What a Redis says of itself.

    `marked`: a node has filled it since it was started. `latency` is the longest of a few round
    trips, in seconds. What it does not tell is empty.
    """

    product: str
    version: tuple[int, ...]
    role: str
    policy: str
    maxmemory: int
    persists: bool
    refuses_writes: bool
    marked: bool
    latency: float


async def redis_facts(url: str, *, timeout: float, patience: float) -> RedisFacts:
    """`timeout` is the setting's, `patience` the longest it all may take (seconds).

    Raises Unavailable, and ValueError for a URL that is none of a Redis.
    """
    check_url(url)
    try:
        async with asyncio.timeout(patience):
            link = await Link.open(url, timeout)
            try:
                return await _looked_at(link)
            finally:
                await link.close()
    except (RedisFault, TimeoutError) as fault:
        raise Unavailable(told(fault)) from fault


async def _looked_at(link: Link) -> RedisFacts:
    server = await link.info("server")
    memory = await _told(link, "memory")
    persistence = await _told(link, "persistence")
    longest, marked = 0.0, False
    for _ in range(ASKED):
        started = time.perf_counter()
        marked = (await link.read(())).complete
        longest = max(longest, time.perf_counter() - started)
    valkey = server.get("valkey_version", "")
    number = valkey or server.get("redis_version", "")
    saved = persistence.get("rdb_last_bgsave_status", "ok") == "ok"
    logged = persistence.get("aof_last_write_status", "ok") == "ok"
    return RedisFacts(
        product="Valkey" if valkey else "Redis",
        version=tuple(int(part) for part in number.split(".") if part.isdigit()),
        role=(await _told(link, "replication")).get("role", ""),
        policy=memory.get("maxmemory_policy", ""),
        maxmemory=int(memory.get("maxmemory", "0")),
        persists=persistence.get("aof_enabled") == "1",
        refuses_writes=not (saved and logged),
        marked=marked,
        latency=longest,
    )


async def _told(link: Link, section: str) -> dict[str, str]:
    try:
        return await link.info(section)
    except RedisRefusal:
        return {}
