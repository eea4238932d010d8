"""The port on which metrics are served. It is for one reader who asks every few seconds.

Whatever comes here must not be felt by those who want tokens: few connections, one request each,
short times, and the text is made in a thread, at most a few times a second. Who is silent has a
place until somebody else comes.
"""

import asyncio
import contextlib
import logging
import socket
import time
from collections.abc import AsyncGenerator, Awaitable, Callable

from .exposition import CONTENT_TYPE, text
from .reading import Reading

log = logging.getLogger(__name__)

#: Connections at once. For one more the oldest that is not being answered is closed.
MOST = 16
#: Seconds for its request.
HEAD_WAIT = 2.0
#: Seconds for all of one: request, answer, and its being read.
PATIENCE = 5.0
#: Bytes of a request.
MAX_HEAD = 8_192
#: For how long a text is given again, in seconds.
SAME_FOR = 0.2

_PLAIN = b"text/plain; charset=utf-8"


class Door:
    """Answers GET and HEAD of /metrics and /health/live, one request a connection."""

    def __init__(self, read: Callable[[], Awaitable[Reading]]) -> None:
        self._read = read
        self._open: set[asyncio.StreamWriter] = set()
        # Those of them that are not being answered, oldest first.
        self._idle: dict[asyncio.StreamWriter, None] = {}
        self._text = b""
        self._made = float("-inf")
        self._making = asyncio.Lock()

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, from its beginning to its end."""
        if len(self._open) >= MOST:
            if not self._idle:
                writer.transport.abort()
                return
            self._end(next(iter(self._idle)))
        self._open.add(writer)
        self._idle[writer] = None
        try:
            async with asyncio.timeout(PATIENCE):
                async with asyncio.timeout(HEAD_WAIT):
                    head = await reader.readuntil(b"\r\n\r\n")
                self._idle.pop(writer, None)
                status, kind, body = await self._answer_to(head)
                is_head = head.startswith(b"HEAD ")
                writer.write(_head(status, kind, len(body)) + (b"" if is_head else body))
                writer.write_eof()
                self._idle[writer] = None
                # Until the reader has closed: to close sooner could lose what it did not read.
                await reader.read(MAX_HEAD)
        except (TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, OSError):
            pass  # too slow, too long, or gone
        except Exception:
            log.exception("the metrics could not be told")
        finally:
            self._end(writer)

    def _end(self, writer: asyncio.StreamWriter) -> None:
        self._open.discard(writer)
        self._idle.pop(writer, None)
        writer.transport.abort()

    async def _answer_to(self, head: bytes) -> tuple[bytes, bytes, bytes]:
        method, _, rest = head.partition(b" ")
        path = rest.partition(b" ")[0].partition(b"?")[0]
        if path not in (b"/metrics", b"/health/live"):
            return b"404 Not Found", _PLAIN, b"not found\n"
        if method not in (b"GET", b"HEAD"):
            return b"405 Method Not Allowed\r\nAllow: GET, HEAD", _PLAIN, b"GET or HEAD\n"
        if path == b"/health/live":
            return b"200 OK", b"application/json", b'{"status":"ok"}'
        return b"200 OK", CONTENT_TYPE, await self._metrics()

    async def _metrics(self) -> bytes:
        async with self._making:
            if time.monotonic() - self._made > SAME_FOR:
                self._text = await asyncio.to_thread(text, await self._read())
                self._made = time.monotonic()
            return self._text


def _head(status: bytes, kind: bytes, length: int) -> bytes:
    return (
        b"HTTP/1.1 %b\r\nContent-Type: %b\r\nContent-Length: %d\r\n"
        b"Cache-Control: no-store\r\nConnection: close\r\n\r\n" % (status, kind, length)
    )


@contextlib.asynccontextmanager
async def served(
    listener: socket.socket, read: Callable[[], Awaitable[Reading]]
) -> AsyncGenerator[None]:
    """Serves on a socket that listens, which is closed in the end."""
    server = await asyncio.start_server(Door(read).answer, sock=listener, limit=MAX_HEAD)
    try:
        yield
    finally:
        # Not waited for: nobody's scrape may hold up the end.
        server.close()
