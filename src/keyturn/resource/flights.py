"""Two manners towards a service in trouble: to ask it once for many, and to complain once."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Hashable, Iterator
from typing import Generic, TypeVar

log = logging.getLogger("keyturn.resource")

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


class SingleFlight(Generic[K, T]):
    """Whoever wants what is being fetched already waits for that, within one event loop."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: dict[K, asyncio.Task[T]] = {}

    def __contains__(self, key: K) -> bool:
        return key in self._here()

    def __iter__(self) -> Iterator[K]:
        return iter(self._here())

    def __len__(self) -> int:
        return len(self._here())

    async def run(self, key: K, make: Callable[[], Awaitable[T]]) -> T:
        """The outcome of `make`. It goes on when who waits for it is cancelled."""
        tasks = self._here()
        task = tasks.get(key)
        if task is None:
            task = tasks[key] = asyncio.ensure_future(_awaited(make))

            def ended(task: asyncio.Task[T]) -> None:
                del tasks[key]
                if not task.cancelled():
                    task.exception()  # taken note of, even if nobody waits any more

            task.add_done_callback(ended)
        return await asyncio.shield(task)

    def _here(self) -> dict[K, asyncio.Task[T]]:
        """Those of the running loop: what another one left behind never lands."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._loop, self._tasks = loop, {}
        return self._tasks


async def _awaited(make: Callable[[], Awaitable[T]]) -> T:
    return await make()


class Complaint:
    """Says once, and not with every call, that the service refuses this resource server."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._said = ""

    def about(self, fault: Exception) -> None:
        """Logs what is new about it."""
        text = str(fault)
        if text == self._said:
            return
        self._said = text
        if getattr(fault, "credentials_refused", False):
            log.error(
                "%s: the service refuses this resource server's own credentials (%s); it needs a "
                "valid API key and the permission tokens:introspect in the tenant it asks about",
                self._what,
                text,
            )
        else:
            log.warning("%s: %s", self._what, text)

    def settled(self) -> None:
        """It works again."""
        if self._said:
            log.info("no more: %s", self._what)
        self._said = ""
