"""uvicorn's HTTP protocol with limits on what comes before a request is one (promise P5).

httptools gathers headers without end, and uvicorn waits for them without end: one connection
could fill the memory, and many silent ones all places. And who does not read their answer would
hold their connection for ever.
"""

import asyncio
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

#: Bytes of one request's line and headers. What arrives together with their end is not counted.
MAX_HEAD = 32_768
#: Seconds from a connection's start, or a request's first byte, to the end of its headers.
HEAD_WAIT = 10.0
#: The same for a connection that has seen no request when the server stops.
LAST_WAIT = 1.0
#: Seconds that a closed connection is still read from, so that its last answer arrives.
LINGER = 2.0
#: Seconds for which a client may leave unread what it was sent.
UNREAD_WAIT = 30.0
#: Connections beyond the limit that are told so. More are closed without a word.
SPARE = 128

_MALFORMED = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n"
    b"Content-Length: %d\r\nCache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n"
    b"Connection: close\r\n\r\n%b"
)


class BoundedHttp(HttpToolsProtocol):
    """Ends connections whose request line and headers are too long, or too long in coming.

    Beyond `max_connections` a new connection's request is marked `keyturn.crowded`, for
    RequestFrame to refuse; one that is all here is marked `keyturn.whole`.
    """

    _used = False
    _in_head = True
    _completed = False
    _head = 0
    _deadline: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None
    _crowded = False
    _lingering: "Lingering"

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        max_connections: int,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._max_connections = max_connections

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A connection must begin its first request in time."""
        self._lingering = Lingering(transport, self.loop)
        super().connection_made(self._lingering)
        beyond = len(self.connections) - self._max_connections
        self._crowded = beyond > 0
        if beyond > SPARE:
            transport.close()
        else:
            self._expect_head(HEAD_WAIT)

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is waited for any more."""
        self._head_is_here()
        self._is_read()
        self._lingering.lost()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Counts while a head is incomplete; between requests uvicorn's keep-alive limit holds."""
        if self.transport.is_closing():
            return
        # What ends a body is not part of a head, though a head is expected after it.
        self._completed = not self._in_head
        super().data_received(data)
        if self._in_head and not self._completed and not self.transport.is_closing():
            if self._deadline is None:
                self._expect_head(HEAD_WAIT)
            self._head += len(data)
            if self._head > MAX_HEAD:
                self.send_400_response("The request's headers are too long.")

    def send_400_response(self, msg: str) -> None:
        """Uvicorn's answer to what is no request. It is none of the application's."""
        self.transport.write(_MALFORMED % (len(msg), msg.encode("ascii")))
        self.transport.close()

    def eof_received(self) -> None:
        """The client says no more, and listens still: what was answered it is to get."""
        self._lingering.send_held()
        super().eof_received()

    def on_message_begin(self) -> None:
        """Called by the parser."""
        super().on_message_begin()
        if self._crowded:
            self.scope["keyturn.crowded"] = True  # type: ignore[typeddict-unknown-key]

    def on_headers_complete(self) -> None:
        """Called by the parser."""
        self._in_head, self._completed = False, True
        self._head = 0
        self._head_is_here()
        super().on_headers_complete()
        self._used = True

    def on_message_complete(self) -> None:
        """Called by the parser: another request may follow."""
        self._in_head = True
        # Most bodies come with their head. Who reads them then need not watch the clock.
        self.scope["keyturn.whole"] = True  # type: ignore[typeddict-unknown-key]
        super().on_message_complete()

    def pause_writing(self) -> None:
        """Called by the transport: much of what was sent is unread."""
        super().pause_writing()
        self._unread = self.loop.call_later(UNREAD_WAIT, self._lingering.abort)

    def resume_writing(self) -> None:
        """Called by the transport: most of it is read."""
        self._is_read()
        super().resume_writing()

    def shutdown(self) -> None:
        """Called once, when the server stops: ends the connection as soon as it is idle."""
        if self._used and not self.cycle.response_complete:
            super().shutdown()
        elif self._head:
            pass  # a request is arriving, and has its deadline
        elif not self._used:
            self._expect_head(LAST_WAIT)
        elif self._in_head:
            self._lingering.end()
        else:  # answered before its body was all here
            self.transport.close()

    def _expect_head(self, wait: float) -> None:
        self._head_is_here()
        self._deadline = self.loop.call_later(wait, self._give_up)

    def _head_is_here(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _is_read(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def _give_up(self) -> None:
        self._deadline = None
        if not self.transport.is_closing():
            self.transport.close()


class Lingering(asyncio.Transport):
    """A transport that closes in two steps (RFC 9112, 9.6).

    To close a socket with unread input resets the connection, and what was written last may be
    lost with it: the answer to a body that is too large, for one. So `close` ends our side only,
    until the client has ended its own. What it sends meanwhile is to be thrown away.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._transport = transport
        self._loop = loop
        self._timers: list[asyncio.TimerHandle] = []
        self._held: bytes | bytearray | memoryview | None = None
        self._sending: asyncio.Handle | None = None

    def close(self) -> None:
        """Ends it when all is sent, and either the client has closed or LINGER is over."""
        if self.is_closing():
            return
        self.send_held()
        self._timers = [
            self._loop.call_later(LINGER, self._transport.close),
            self._loop.call_later(UNREAD_WAIT, self._transport.abort),
        ]
        if self._transport.can_write_eof():
            self._transport.write_eof()
            self._transport.resume_reading()
        else:  # TLS has a farewell of its own
            self._transport.close()

    def end(self) -> None:
        """Closes it in one step: nothing is on its way."""
        self.send_held()
        self._transport.close()

    def lost(self) -> None:
        """The connection is no more."""
        self._unhold()
        for timer in self._timers:
            timer.cancel()

    def is_closing(self) -> bool:
        """Whether no more may be sent."""
        return bool(self._timers) or self._transport.is_closing()

    def abort(self) -> None:
        """Ends it at once, whatever is unsent."""
        self._unhold()
        self._transport.abort()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Sends. A head is held for its body, which is written in the same moment: both go out by
        one system call, not by two.
        """
        if self.is_closing():
            return
        if self._held is None:
            self._held, self._sending = data, self._loop.call_soon(self.send_held)
        else:
            held = self._unhold()
            self._transport.write(held + bytes(data))

    def send_held(self) -> None:
        """What was held, if nothing followed it."""
        held = self._unhold()
        if held and not self._transport.is_closing():
            self._transport.write(held)

    def _unhold(self) -> bytes:
        held, self._held = self._held, None
        if self._sending is not None:
            self._sending.cancel()
            self._sending = None
        return b"" if held is None else bytes(held)

    def pause_reading(self) -> None:
        """Until `resume_reading`."""
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Reads on."""
        self._transport.resume_reading()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Addresses, and TLS."""
        return self._transport.get_extra_info(name, default)
