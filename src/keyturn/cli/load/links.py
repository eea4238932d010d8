"""Keep-alive connections, and just enough HTTP to find an answer's end.

Blocking sockets: an asyncio protocol would cost the generator more than all of that together, and
the generator must not be the limit.
"""

from __future__ import annotations

import socket
import ssl
import time

#: Seconds that a connection may take, and an answer that is still missing at the end.
PATIENCE = 5.0
_BODILESS = (b"204", b"304")


class Link:
    """One connection with at most one request on its way.

    `next` is what it sends; `fresh`: that opens a chain of refresh tokens, and is not measured.
    Raises OSError for a connection that ended, or speaks something else.
    """

    __slots__ = ("_context", "_got", "_host", "_port", "closing", "fresh", "next", "sent", "sock")

    def __init__(self, host: str, port: int, context: ssl.SSLContext | None) -> None:
        self._host, self._port, self._context = host, port, context
        self._got = b""
        self.next = b""
        self.fresh = False
        self.sent = 0.0
        self.closing = False
        self.sock: socket.socket

    def open(self, patience: float = PATIENCE) -> None:
        """Connects, within so many seconds. Requests then wait for their answers as long."""
        sock = socket.create_connection((self._host, self._port), patience)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._context is not None:
                sock = self._context.wrap_socket(sock, server_hostname=self._host)
        except BaseException:
            sock.close()
            raise
        self.sock, self._got, self.closing = sock, b"", False

    def close(self) -> None:
        """Ends the connection, if there is one."""
        if hasattr(self, "sock"):
            self.sock.close()

    def wait_elsewhere(self) -> None:
        """From now on a selector waits, which spares a poll before each receive.

        TLS has messages of its own: what can be received may be no part of an answer.
        """
        self.sock.setblocking(self._context is None)

    def send(self) -> None:
        """Sends the next request."""
        self.sent = time.perf_counter()
        self.sock.sendall(self.next)

    def receive(self) -> bytes | None:
        """The answer, once all of it is there."""
        try:
            data = self.sock.recv(65_536)
        except ssl.SSLWantReadError:
            return None
        if not data:
            raise ConnectionError("the connection was closed")
        if self._got:
            data = self._got + data
        end = data.find(b"\r\n\r\n")
        if end >= 0:
            head = data[:end].lower()
            at = head.find(b"\r\ncontent-length:")
            if at < 0:
                answer = _of_unknown_length(head, data, end)
            else:
                length = int(head[at + 17 :].split(b"\r\n", 1)[0])
                answer = data if len(data) >= end + 4 + length else None
            if answer is not None:
                self._got = b""
                self.closing = b"\r\nconnection: close" in head
                return answer
        self._got = data
        return None

    def ask(self, request: bytes) -> bytes:
        """Sends one request and waits for its answer."""
        self.next = request
        self.send()
        while (answer := self.receive()) is None:
            pass
        return answer


def _of_unknown_length(head: bytes, data: bytes, end: int) -> bytes | None:
    """An answer without Content-Length: one without a body, or in chunks (RFC 9112, 7.1)."""
    if head[9:12] in _BODILESS:
        return data
    if b"\r\ntransfer-encoding: chunked" not in head:
        raise ConnectionError("an answer without a length: no HTTP/1.1")
    found, at = [data[: end + 4]], end + 4
    while (stop := data.find(b"\r\n", at)) >= 0:
        size = int(data[at:stop].split(b";", 1)[0], 16)
        at = stop + 2 + size + 2
        if len(data) < at:
            return None
        if size == 0:
            return b"".join(found)
        found.append(data[stop + 2 : at - 2])
    return None
