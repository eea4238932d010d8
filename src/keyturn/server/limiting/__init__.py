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
#: How much more often one person's sign-in may be tried from everywhere than from one address.
FROM_ANYWHERE = 10


@contextlib.asynccontextmanager
async def open_counters(
    rates: Mapping[str, Rate | None], *, redis_url: str | None = None, timeout: float = 0.1
) -> AsyncIterator[Counters]:
    """One counter a limit of `rates`, by the names of `Counters`; shared by `redis_url`, if given.

    `timeout` (seconds) is for one answer of Redis.
    """
    wanted = {name: rate for name, rate in rates.items() if rate is not None}
    if address := rates.get("failures_per_address"):
        wanted["failures_per_proxy"] = Rate(OF_PROXIES * address.amount, address.window)
    if username := rates.get("failures_per_username"):
        everywhere = Rate(FROM_ANYWHERE * username.amount, username.window)
        wanted["failures_per_username_anywhere"] = everywhere
    if redis_url is None or not wanted:
        yield Counters(**{name: Windows(rate) for name, rate in wanted.items()})
        return
    # Not for who counts in memory.
    from .redis import open_storage
    from .shared import SharedWindows, shared

    counting = {name: SharedWindows(rate) for name, rate in wanted.items()}
    async with (
        open_storage(redis_url, timeout) as storage,
        shared(storage, counting, timeout=10 * timeout),
    ):
        yield Counters(**counting)


__all__ = ["open_counters", "read_rate"]
