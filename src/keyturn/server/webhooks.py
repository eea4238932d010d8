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
from collections.abc import Mapping, Sequence
from email.utils import parsedate_to_datetime

from .domain.errors import Refusal, Unavailable
from .domain.webhook_addresses import Network, Target, need_reachable, target_of
from .services.ports import Answered
from .webhook_calls import BadAnswer, Head, connect
from .webhook_names import LookupFailed, Names, Resolve

log = logging.getLogger(__name__)

#: Seconds for one try, all of it.
TIMEOUT = 10.0
#: Of these, as a share, for the lookup of the name.
LOOKUP = 0.5
#: Seconds to connect to one of a host's addresses, and how many of them are tried.
CONNECT, ADDRESSES = 4.0, 3


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
        self._context = context
        self._timeout = timeout
        # Whoever waits for an answer does not wait for deliveries, and the other way round.
        self._asked = Names(resolve, "asked")
        self._called = Names(resolve, "called")

    async def check(self, url: str, owner: str) -> None:
        """Looks up its host."""
        target = target_of(url)
        try:
            found = await self._asked.addresses(
                target.host, target.port, owner=owner, timeout=self._timeout
            )
        except LookupFailed as failed:
            raise Unavailable(str(failed)) from None
        need_reachable(target, found, self._networks)

    async def post(self, url: str, headers: Mapping[str, str], body: bytes, owner: str) -> Answered:
        """One try. A host that has come to lead elsewhere is not called."""
        try:
            async with asyncio.timeout(self._timeout):
                return await self._post(url, headers, body, owner)
        except TimeoutError:
            return Answered(None, "timeout")

    async def close(self) -> None:
        """Waits for no lookup."""
        self._asked.close()
        self._called.close()

    async def _post(
        self, url: str, headers: Mapping[str, str], body: bytes, owner: str
    ) -> Answered:
        try:
            target = target_of(url)
            addresses = await self._called.addresses(
                target.host, target.port, owner=owner, timeout=self._timeout * LOOKUP
            )
            need_reachable(target, addresses, self._networks)
        except Refusal:
            return Answered(None, "address_not_allowed")
        except LookupFailed as failed:
            return Answered(None, "name_lookup_failed", begun=failed.begun)
        error = "connection_failed"
        for address in addresses[:ADDRESSES]:
            try:
                async with asyncio.timeout(CONNECT):
                    connection = await connect(target, address, self._context_for(target))
            except TimeoutError:
                error = "timeout"
                continue
            except ssl.SSLError:
                error = "tls_failed"
                continue
            except OSError:
                error = "connection_failed"
                continue
            except Exception as odd:  # noqa: BLE001 - whatever it is, it is this webhook's alone
                return _failed(odd)
            # What follows comes after something was sent, which may have been read: the next try
            # is a later one's.
            try:
                return _answered(await connection.post(target, url, headers, body))
            except BadAnswer:
                return Answered(None, "answer_unreadable")
            except TimeoutError:
                return Answered(None, "timeout")
            except (OSError, EOFError):
                return Answered(None, "connection_lost")
            except Exception as odd:  # noqa: BLE001 - as above
                return _failed(odd)
            finally:
                connection.close()
        return Answered(None, error)

    def _context_for(self, target: Target) -> ssl.SSLContext | None:
        if not target.secure:
            return None
        if self._context is None:  # read when it is needed: a node without webhooks need not
            self._context = ssl.create_default_context()
            self._context.set_alpn_protocols(["http/1.1"])
        return self._context


def _answered(head: Head) -> Answered:
    return Answered(head.status, None, _seconds(head.retry_after))


def _failed(odd: Exception) -> Answered:
    log.warning("a webhook could not be called: %s", type(odd).__name__)
    return Answered(None, "failed")


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
