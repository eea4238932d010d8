"""uvicorn's HTTP protocol with limits on what comes before a request is one (promise P5).

httptools gathers headers without end, and uvicorn waits for them without end: one connection
could fill the memory, and many silent ones all places.
"""

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

#: Bytes of one request's line and headers. What arrives together with their end is not counted.
MAX_HEAD = 32_768
#: Seconds from a connection's start, or a request's first byte, to the end of its headers.
HEAD_WAIT = 10.0


class BoundedHttp(HttpToolsProtocol):
    """Ends connections whose request line and headers are too long, or too long in coming."""

    _in_head = True
    _completed = False
    _head = 0
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A connection must begin its first request in time."""
        super().connection_made(transport)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is waited for any more."""
        self._head_is_here()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Counts while a head is incomplete; between requests uvicorn's keep-alive limit holds."""
        if self._in_head and self._deadline is None:
            self._expect_head()
        # What ends a body is not part of a head, though a head is expected after it.
        self._completed = not self._in_head
        super().data_received(data)
        if self._in_head and not self._completed and not self.transport.is_closing():
            self._head += len(data)
            if self._head > MAX_HEAD:
                self.send_400_response("The request's headers are too long.")

    def on_headers_complete(self) -> None:
        """Called by the parser."""
        self._in_head, self._completed = False, True
        self._head = 0
        self._head_is_here()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Called by the parser: another request may follow."""
        self._in_head = True
        super().on_message_complete()

    def _expect_head(self) -> None:
        self._deadline = self.loop.call_later(HEAD_WAIT, self._give_up)

    def _head_is_here(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _give_up(self) -> None:
        self._deadline = None
        if not self.transport.is_closing():
            self.transport.close()
