"""The revocation list (promise P4): a fast copy of the revocations, never an answer from doubt.

    find ──> local copy ──> Redis, if configured and trusted ──> the database (the truth)

| module | what |
|---|---|
| `memory` | the local copy that every node keeps |
| `follower` | keeps it in step with the database: a tail every half second, and when woken |
| `redis`, `redis_addresses`, `redis_entries` | connections, where to, and what is kept there |
| `shared` | when this node trusts Redis, and how it fills it |
| `gathering` | many small questions at once, asked as few large ones |
| `feed` | what this node knows in order, for resource servers to follow |
| `facts` | what a Redis says of itself, for `keyturn doctor` |
| `lists` | the port itself: who is asked, and whose answer counts |

How soon is a revocation known? The node that publishes it refuses with its next request. The
others do, too, with Redis, and whenever they ask the database: because Redis is down, or because
they could not read it for `follower.FRESH_FOR` seconds. Without Redis they hear of it by their
tail, within a second; PostgreSQL's NOTIFY has them read it at once, where it works.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ..domain.errors import StorageNotReady
from ..services.counts import Counts
from ..services.ports import Clock, Store
from .feed import Feed, digest
from .follower import Follower
from .gathering import end
from .lists import KeptList, State, Truth
from .memory import LocalCopy

if TYPE_CHECKING:
    from .facts import RedisFacts

__all__ = [
    "KeptList",
    "State",
    "digest",
    "open_revocation_list",
    "redis_facts",
    "require_no_eviction",
]

#: The slowest tail with which "within a second" holds for every node (seconds).
SLOWEST_TAIL = 0.5
#: How long opening waits for the first fillings (seconds); they go on afterwards.
OPENING_PATIENCE = 5.0


def _now() -> datetime:
    return datetime.now(UTC)


@asynccontextmanager
async def open_revocation_list(
    store: Store,
    *,
    redis_url: str | None,
    redis_timeout: float = 0.1,
    allow_eviction: bool = False,
    tail_interval: float = SLOWEST_TAIL,
    database_timeout: float = 2.0,
    clock: Clock = _now,
    counts: Counts | None = None,
) -> AsyncGenerator[KeptList]:
    """A node's revocation list, kept up to date in the background until the block ends.

    Without `redis_url` the node keeps the list in its memory. `redis_timeout` is the longest
    wait for Redis (seconds), after which the database is asked; `tail_interval` is how often the
    database is read (seconds, 0.5 at most); `database_timeout` is the longest a `find` waits for
    the database before it raises `Unavailable` (seconds).

    Neither the database nor Redis need be there: the list then says so (`state()`), refuses to
    answer (`Unavailable`) what it cannot know, and recovers by itself. A replica that is started
    while the database fails over thus needs nobody's help.

    Raises ValueError when a time is out of its range, and StorageNotReady for a Redis that drops
    entries when its memory is full, unless `allow_eviction`. One that begins to do so later is
    reported (`state()`), and the database asked whenever that could matter.
    """
    if not 0 < tail_interval <= SLOWEST_TAIL:
        raise ValueError(f"tail_interval must be above 0 and at most {SLOWEST_TAIL} s")
    if redis_timeout <= 0 or database_timeout <= 0:
        raise ValueError("timeouts must be above 0 s")
    if redis_url and not allow_eviction:
        await require_no_eviction(redis_url, timeout=redis_timeout)
    async with AsyncExitStack() as stack:
        local = LocalCopy(clock)
        follower = Follower(store, local, interval=tail_interval, clock=clock, counts=counts)
        feed = Feed(local, follower)
        truth = Truth(store, patience=database_timeout)
        stack.push_async_callback(truth.close)
        shared = None
        if redis_url:
            from .shared import SharedCopy  # Redis's library is large: not for who has none

            shared = SharedCopy(
                redis_url,
                timeout=redis_timeout,
                local=local,
                clock=clock,
                catch_up=follower.catch_up,
            )
            stack.push_async_callback(shared.close)
            follower.on_news = shared.write_later
        stack.push_async_callback(end, asyncio.create_task(follower.follow(), name="tail"))
        hearing = asyncio.create_task(store.listen(follower.wake), name="notifications")
        stack.push_async_callback(end, hearing)
        firsts = [follower.tried]
        if shared is not None:
            stack.push_async_callback(end, asyncio.create_task(shared.keep(), name="redis"))
            firsts.append(shared.tried)
        await _opened(firsts)
        yield KeptList(local, follower, truth, shared, feed)


async def require_no_eviction(redis_url: str, *, timeout: float = 0.1) -> None:
    """Raises StorageNotReady when Redis is there and may drop entries that still count.

    A Redis that is away or does not tell is no reason not to start: without it, all is slower and
    as correct. Raises ValueError for a URL that is none of a Redis.
    """
    # Not for who has no Redis: the library is large.
    from .redis import Link, RedisFault
    from .redis_addresses import check_url
    from .shared import may_evict

    check_url(redis_url)
    policy = ""
    try:
        async with asyncio.timeout(OPENING_PATIENCE):
            link = await Link.open(redis_url, timeout)
            try:
                policy = await link.eviction_policy()
            finally:
                await link.close()
    except (RedisFault, TimeoutError):
        pass
    if may_evict(policy):
        raise StorageNotReady(
            f"Redis drops revocations when its memory is full (maxmemory-policy {policy}): set it "
            "to noeviction, or allow that by KEYTURN_REDIS_ALLOW_EVICTION=true"
        )


async def redis_facts(redis_url: str, *, timeout: float, patience: float) -> "RedisFacts":
    """What a Redis says of itself (see `facts`). Raises Unavailable."""
    from . import facts  # not for who has no Redis: the library is large

    return await facts.redis_facts(redis_url, timeout=timeout, patience=patience)


async def _opened(firsts: list[asyncio.Event]) -> None:
    try:
        async with asyncio.timeout(OPENING_PATIENCE):
            for first in firsts:
                await first.wait()
    except TimeoutError:
        pass
