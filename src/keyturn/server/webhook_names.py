"""Names of hosts looked up, which blocks a thread for as long as somebody else's servers like."""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from weakref import WeakValueDictionary

#: Names looked up at once; and of one owner, for whom further ones wait.
LOOKUPS, EACH = 16, 2

Resolve = Callable[[str, int], Sequence[str]]

# There is no such name, or it has no address: whoever gave it can mend that. Nothing else is.
_UNKNOWN = {socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)}


class LookupFailed(Exception):
    """The resolver has no answer now. `begun` is False for a lookup that had to wait too long."""

    def __init__(self, *, begun: bool) -> None:
        super().__init__("a name could not be looked up")
        self.begun = begun


class Names:
    """Looks names up in threads of its own. Each owner has few of them, however slow its names."""

    def __init__(self, resolve: Resolve, purpose: str) -> None:
        self._resolve = resolve
        self._pool = ThreadPoolExecutor(LOOKUPS, thread_name_prefix=f"webhook-names-{purpose}")
        # Kept by whoever waits for one, or has one.
        self._places: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    async def addresses(self, host: str, port: int, *, owner: str, timeout: float) -> Sequence[str]:
        """All of them, none for a name that there is not. Raises LookupFailed.

        `timeout`, in seconds, is for all of it.
        """
        lookup: Future[Sequence[str]] | None = None
        try:
            async with asyncio.timeout(timeout):
                places = self._places.setdefault(owner, asyncio.Semaphore(EACH))
                await places.acquire()
                lookup = self._begun(places, host, port)
                return await asyncio.wrap_future(lookup)
        except TimeoutError:
            raise LookupFailed(begun=lookup is not None and not lookup.cancel()) from None
        except socket.gaierror as error:
            if error.errno in _UNKNOWN:
                return ()
            raise LookupFailed(begun=True) from None
        except OSError:
            raise LookupFailed(begun=True) from None
        except UnicodeError:
            return ()

    def close(self) -> None:
        """Waits for no lookup."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _begun(self, places: asyncio.Semaphore, host: str, port: int) -> Future[Sequence[str]]:
        loop = asyncio.get_running_loop()
        lookup = self._pool.submit(self._resolve, host, port)

        # When the thread is free, not when nobody waits for it any more.
        def ended(_: object) -> None:
            with contextlib.suppress(RuntimeError):  # the loop ended before
                loop.call_soon_threadsafe(places.release)

        lookup.add_done_callback(ended)
        return lookup
