"""Calls to webhooks over HTTP: to addresses that somebody else chose, one try at a time.

The host is resolved here, its addresses are checked, and the connection goes to one that was:
nobody answers the check with one address and the call with another. Redirects are not followed,
the environment's proxies not used, and of an answer nothing but its head is read.
"""

import asyncio
import logging
import socket
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from .domain.errors import Refusal
from .domain.webhook_addresses import Network, Target, need_reachable, target_of
from .services.ports import Answered

if TYPE_CHECKING:
    import httpx

log = logging.getLogger(__name__)

#: Seconds for one try, all of it.
TIMEOUT = 10.0
#: Seconds to connect to one of a host's addresses, and how many of them are tried.
CONNECT, ADDRESSES = 4.0, 3
#: Names looked up at once.
LOOKUPS = 8

Resolve = Callable[[str, int], Sequence[str]]


def resolved(host: str, port: int) -> Sequence[str]:
    """All addresses of a host, the best one first. Blocks. Raises OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


class HttpWebhooks:
    """Implements the port `WebhookSender`.

    `networks` may be called though they are not public. `timeout`, in seconds, is for one try.
    """

    def __init__(
        self,
        networks: Sequence[Network] = (),
        *,
        resolve: Resolve = resolved,
        context: ssl.SSLContext | None = None,
        timeout: float = TIMEOUT,
    ) -> None:
        self._networks = networks
        self._resolve = resolve
        self._context = context
        self._timeout = timeout
        self._pool = ThreadPoolExecutor(LOOKUPS, thread_name_prefix="webhook-names")
        self._client: httpx.AsyncClient | None = None

    async def check(self, url: str) -> None:
        """Looks up its host."""
        target = target_of(url)
        try:
            async with asyncio.timeout(self._timeout):
                await self._addresses(target)
        except TimeoutError:
            need_reachable(target, (), self._networks)

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answered:
        """One try. A host that has come to lead elsewhere is not called."""
        try:
            async with asyncio.timeout(self._timeout):
                return await self._post(url, headers, body)
        except TimeoutError:
            return Answered(None, "timeout")

    async def close(self) -> None:
        """Ends connections. Waits for no lookup."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        if self._client is not None:
            await self._client.aclose()

    async def _post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answered:
        import httpx

        try:
            target = target_of(url)
            addresses = await self._addresses(target)
        except Refusal:
            return Answered(None, "address_not_allowed")
        error = "connection_failed"
        for address in addresses[:ADDRESSES]:
            try:
                return await self._send(target, address, url, headers, body)
            except httpx.ConnectTimeout:
                error = "timeout"
            except httpx.ConnectError as failed:
                error = "tls_failed" if _by_tls(failed) else "connection_failed"
            # What follows comes after something was sent, which may have been read: the next try
            # is a later one's.
            except httpx.TimeoutException:
                return Answered(None, "timeout")
            except httpx.HTTPError:
                return Answered(None, "connection_lost")
            except Exception as odd:  # noqa: BLE001 - whatever it is, it is this webhook's alone
                log.warning("a webhook could not be called: %s", type(odd).__name__)
                return Answered(None, "failed")
        return Answered(None, error)

    async def _send(
        self, target: Target, address: str, url: str, headers: Mapping[str, str], body: bytes
    ) -> Answered:
        import httpx

        request = self._opened().build_request(
            "POST",
            httpx.URL(url).copy_with(host=address),
            content=body,
            headers={**headers, "Host": target.authority},
            extensions={"sni_hostname": target.host},
        )
        answer = await self._opened().send(request, stream=True)
        await answer.aclose()
        return Answered(answer.status_code, None, _seconds(answer.headers.get("retry-after")))

    async def _addresses(self, target: Target) -> Sequence[str]:
        """Of a host that may be called. Raises Refusal."""
        loop = asyncio.get_running_loop()
        try:
            found = await loop.run_in_executor(self._pool, self._resolve, target.host, target.port)
        except (OSError, UnicodeError):
            found = ()
        need_reachable(target, found, self._networks)
        return found

    def _opened(self) -> "httpx.AsyncClient":
        if self._client is None:
            import httpx  # a tenth of a second, which a node without webhooks need not spend

            self._client = httpx.AsyncClient(
                verify=self._context or ssl.create_default_context(),
                trust_env=False,
                follow_redirects=False,
                timeout=httpx.Timeout(self._timeout, connect=CONNECT),
                # One connection a call: a kept one belongs to an address, not to a host, and was
                # made for another name, perhaps.
                limits=httpx.Limits(max_keepalive_connections=0),
            )
        return self._client


def _by_tls(error: BaseException | None) -> bool:
    """Whether the other side could not show that it is the host."""
    while error is not None:
        if isinstance(error, ssl.SSLError):
            return True
        error = error.__cause__ or error.__context__
    return False


def _seconds(text: str | None) -> int | None:
    """RFC 9110, 10.2.3: seconds, or a date."""
    if text is None or len(text) > 64:
        return None
    if text.isascii() and text.isdigit():
        return int(text[:9])
    try:
        return max(0, int(parsedate_to_datetime(text).timestamp() - time.time()))
    except (ValueError, OverflowError):
        return None
