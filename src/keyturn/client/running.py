"""Takes steps: in threads with httpx.Client, in an event loop with httpx.AsyncClient."""

import asyncio
import functools
import ssl
import threading
import time
from dataclasses import dataclass, field
from typing import TypeVar

import httpx

from .errors import printable
from .steps import Answer, Fault, Pause, Send, Step, Steps, Wait

T = TypeVar("T")
_sleep = asyncio.sleep


@dataclass(frozen=True, slots=True)
class Network:
    """How the service is reached: what httpx takes under these names.

    `transport` must fit what it is used in: an httpx.AsyncBaseTransport for async calls. It is
    never closed. Without it the environment's proxies are used, as httpx does, but for plain http:
    what may be said on this machine in the clear may not be said to a proxy.
    """

    verify: ssl.SSLContext | bool = True
    proxy: str | None = field(default=None, repr=False)
    transport: httpx.BaseTransport | httpx.AsyncBaseTransport | None = None

    def __post_init__(self) -> None:
        if self.proxy is not None and self.transport is not None:
            raise ValueError("a transport has its own proxy")

    def client(self, url: str) -> httpx.Client:
        """A client for a service. Raises TypeError for a transport for async calls only."""
        transport = self.transport
        if transport is not None and not isinstance(transport, httpx.BaseTransport):
            raise TypeError("calls that are not async take an httpx.BaseTransport")
        return httpx.Client(
            verify=self._verify(url),
            proxy=self.proxy,
            transport=transport,
            trust_env=url.startswith("https:"),
            follow_redirects=False,
        )

    def async_client(self, url: str) -> httpx.AsyncClient:
        """The same for async calls."""
        transport = self.transport
        if transport is not None and not isinstance(transport, httpx.AsyncBaseTransport):
            raise TypeError("async calls take an httpx.AsyncBaseTransport")
        return httpx.AsyncClient(
            verify=self._verify(url),
            proxy=self.proxy,
            transport=transport,
            trust_env=url.startswith("https:"),
            follow_redirects=False,
        )

    def _verify(self, url: str) -> ssl.SSLContext | bool:
        if not url.startswith("https:") or self.transport is not None:
            return False  # there are no certificates, and to load the trusted ones takes long
        return _trusted() if self.verify is True else self.verify


@functools.cache
def _trusted() -> ssl.SSLContext:
    """The trusted certificates, loaded once: that takes longer than an exchange."""
    return httpx.create_ssl_context()


class Runner:
    """Takes steps in the calling thread. Its client is made when it is first needed."""

    def __init__(self, network: Network, url: str) -> None:
        self._network, self._url = network, url
        self._client: httpx.Client | None = None
        self._lock = threading.Lock()

    def _open(self) -> httpx.Client:
        with self._lock:
            if self._client is None:
                self._client = self._network.client(self._url)
            return self._client

    def close(self) -> None:
        """Ends the client's connections."""
        if self._client is not None and self._network.transport is None:
            self._client.close()

    def run(self, steps: Steps[T]) -> T:
        """Takes all steps, and gives what they come to."""
        outcome: object = None
        try:
            while True:
                try:
                    step = steps.send(outcome)
                except StopIteration as end:
                    result: T = end.value
                    return result
                outcome = self._take(step)
        finally:
            steps.close()

    def _take(self, step: Step) -> object:
        if isinstance(step, Send):
            return self._send(step)
        if isinstance(step, Wait):
            if step.leader == threading.get_ident():
                return Fault("the leader waits for this thread")
            try:
                return step.landing.result(max(0.0, step.seconds))
            except TimeoutError:
                return None
        time.sleep(step.seconds)
        return None

    def _send(self, step: Send) -> Answer | Fault:
        call, ends = step.call, time.monotonic() + step.seconds
        try:
            with self._open().stream(
                call.method,
                call.url,
                headers=call.headers,
                content=call.body,
                timeout=step.seconds,
            ) as response:
                if _is_packed(response):
                    return _answer(response, None)
                body = bytearray()
                for part in response.iter_bytes():
                    body += part
                    if len(body) > call.max_answer:
                        return _answer(response, None)
                    if time.monotonic() > ends:
                        return Fault("the answer took too long")
                return _answer(response, bytes(body))
        except (httpx.TransportError, OSError) as error:
            return _fault(error)


class AsyncRunner:
    """Takes steps in the running event loop, to which its client belongs."""

    def __init__(self, network: Network, url: str) -> None:
        self._network, self._url = network, url
        self._client: httpx.AsyncClient | None = None

    def _open(self) -> httpx.AsyncClient:
        if self._client is None:
            self._client = self._network.async_client(self._url)
        return self._client

    async def aclose(self) -> None:
        """Ends the client's connections."""
        if self._client is not None and self._network.transport is None:
            await self._client.aclose()

    async def run(self, steps: Steps[T]) -> T:
        """Takes all steps, and gives what they come to."""
        outcome: object = None
        try:
            while True:
                try:
                    step = steps.send(outcome)
                except StopIteration as end:
                    result: T = end.value
                    return result
                outcome = await self._take(step)
        finally:
            steps.close()

    async def _take(self, step: Step) -> object:
        if isinstance(step, Send):
            return await self._send(step)
        if isinstance(step, Pause):
            await _sleep(step.seconds)
            return None
        try:
            async with asyncio.timeout(step.seconds):
                # Cancelled with its task, it leaves the landing alone: that is running already.
                return await asyncio.wrap_future(step.landing)
        except TimeoutError:
            return None

    async def _send(self, step: Send) -> Answer | Fault:
        call = step.call
        try:
            async with (
                asyncio.timeout(step.seconds),
                self._open().stream(
                    call.method,
                    call.url,
                    headers=call.headers,
                    content=call.body,
                    timeout=step.seconds,
                ) as response,
            ):
                if _is_packed(response):
                    return _answer(response, None)
                body = bytearray()
                async for part in response.aiter_bytes():
                    body += part
                    if len(body) > call.max_answer:
                        return _answer(response, None)
                return _answer(response, bytes(body))
        except (httpx.TransportError, OSError) as error:  # TimeoutError is an OSError
            return _fault(error)


def _is_packed(response: httpx.Response) -> bool:
    # It was asked not to be, and what is packed could unpack to any size.
    return response.headers.get("content-encoding") not in (None, "identity")


def _answer(response: httpx.Response, body: bytes | None) -> Answer:
    return Answer(response.status_code, dict(response.headers), body)


def _fault(error: Exception) -> Fault:
    # Other texts may quote what was sent.
    told = str(error) if isinstance(error, httpx.ConnectError) else ""
    return Fault(printable(told) or type(error).__name__)
