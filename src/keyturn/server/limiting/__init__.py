"""How often what may be done: the only importer of `limits`, which reads rates and counts in Redis.

It has no token bucket; its nearest is the sliding window of two counters, which `memory` has for
this process, bounded, and `shared` brings together for all.
"""

import contextlib
from collections.abc import AsyncIterator, Mapping

from ..services.ports import Counters, Rate
from .memory import Windows
from .notation import read_rate

#: How much more often a proxy that nobody has declared may bring failures than one address.
OF_PROXIES = 10


@contextlib.asynccontextmanager
async def open_counters(
    rates: Mapping[str, Rate | None], *, redis_url: str | None = None, timeout: float = 0.1
) -> AsyncIterator[Counters]:
    """One counter a limit of `rates`, by the names of `Counters`; shared by `redis_url`, if given.

    `timeout` (seconds) is for one answer of Redis.
    """
    counting = {name: Windows(rate) for name, rate in rates.items() if rate is not None}
    if address := rates.get("failures_per_address"):
        many = Rate(OF_PROXIES * address.amount, address.window)
        counting["failures_per_proxy"] = Windows(many)
    async with contextlib.AsyncExitStack() as stack:
        if redis_url is not None and counting:
            # Not for who counts in memory.
            from .redis import open_storage
            from .shared import shared

            storage = await stack.enter_async_context(open_storage(redis_url, timeout))
            await stack.enter_async_context(shared(storage, counting, timeout=10 * timeout))
        yield Counters(**counting)


__all__ = ["open_counters", "read_rate"]
