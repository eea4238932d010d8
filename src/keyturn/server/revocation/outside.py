"""Redis as one that knows what the database has forgotten: after the restore of a copy.

Its keys beside the list: `{keyturn}:recorded:<root tenant's id>`, the id of an event of the audit
trail that the database had (services.continuity).
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ..domain.errors import Unavailable
from ..domain.model import Revocation, RevocationKind
from .redis import Link, RedisFault, told
from .redis_addresses import check_url

_RECORDED = "{keyturn}:recorded:"
#: The longest for one of these, in seconds; and for reading a whole list.
PATIENCE, WHOLE_PATIENCE = 3.0, 60.0


class RedisMemory:
    """Implements `ports.Memory`, and gives the list. Connects anew each time: it is used seldom."""

    def __init__(self, url: str, timeout: float) -> None:
        """`timeout` as the setting. Raises ValueError for a URL that is none of a Redis."""
        check_url(url)
        self._url = url
        self._timeout = timeout

    async def recall(self, installation: str) -> str | None:
        """See `ports.Memory`."""
        async with self._linked() as link:
            return await link.get(_RECORDED + installation)

    async def keep(self, installation: str, event_id: str) -> None:
        """See `ports.Memory`."""
        async with self._linked() as link:
            await link.set(_RECORDED + installation, event_id)

    async def forget(self, installation: str) -> None:
        """The list is filled anew, too: nodes trust it no more as it is."""
        async with self._linked() as link:
            await link.unmark()
            await link.set(_RECORDED + installation, None)

    async def entries(self) -> tuple[Revocation, ...]:
        """The whole list, but for what revokes nothing. Raises Unavailable."""
        async with self._linked(WHOLE_PATIENCE) as link:
            found = await link.everything()
        return tuple(entry for entry in found if entry.kind is not RevocationKind.POLICY)

    @asynccontextmanager
    async def _linked(self, patience: float = PATIENCE) -> AsyncIterator[Link]:
        try:
            async with asyncio.timeout(patience):
                link = await Link.open(self._url, self._timeout)
                try:
                    yield link
                finally:
                    await link.close()
        except (RedisFault, TimeoutError) as fault:
            raise Unavailable(told(fault)) from fault
