"""One HTTP/1.1 request to somebody else's server, and the head of its answer.

The server may send whatever it likes, for as long as it likes: what is read of it has a limit, in
bytes and in interim answers, and nothing behind the head is read at all. So no receiver takes more
of this process than a small one does.
"""

import asyncio
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from .domain.webhook_addresses import Target

#: Of an answer, in bytes: all that comes before its body, interim answers included.
MAX_HEAD = 16 * 1024
#: Interim answers (RFC 9110, 15.2) before the answer.
MAX_INTERIM = 5

# RFC 9112, 4. HTTP/1.0 servers there are, too.
_STATUS = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2})(?: [^\r\n]*)?")
_END = b"\r\n\r\n"


class BadAnswer(Exception):
    """What came is no answer, or more than is read of one."""


@dataclass(frozen=True, slots=True)
class Head:
    """Of an answer. `retry_after` as it stands there."""

    status: int
    retry_after: str | None


@dataclass(frozen=True, slots=True)
class Connection:
    """To a server, for one request."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def post(self, target: Target, url: str, headers: Mapping[str, str], body: bytes) -> Head:
        """Raises BadAnswer, EOFError for an end before the answer's, OSError."""
        parts = urlsplit(url)
        query = f"?{parts.query}" if parts.query else ""
        lines = [f"POST {parts.path or '/'}{query} HTTP/1.1", f"host: {target.authority}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        lines += [f"content-length: {len(body)}", "connection: close", "", ""]
        self.writer.write("\r\n".join(lines).encode("ascii") + body)
        await self.writer.drain()
        return await self._head()

    def close(self) -> None:
        """At once, and without a good-bye that the other side could put off."""
        self.writer.transport.abort()

    async def _head(self) -> Head:
        left = MAX_HEAD
        for _ in range(MAX_INTERIM + 1):
            try:
                block = await self.reader.readuntil(_END)
            except asyncio.LimitOverrunError:
                raise BadAnswer from None
            left -= len(block)
            lines = block[: -len(_END)].split(b"\r\n")
            found = _STATUS.fullmatch(lines[0])
            if found is None or left < 0:
                raise BadAnswer
            if (status := int(found[1])) >= 200:
                return Head(status, _retry_after(lines[1:]))
        raise BadAnswer


async def connect(target: Target, address: str, context: ssl.SSLContext | None) -> Connection:
    """To that address of the target, as the target's host. `context` is None for plain HTTP.

    Raises OSError; among them ssl.SSLError when the other side cannot show that it is the host.
    """
    name = None if context is None else target.host
    reader, writer = await asyncio.open_connection(
        address, target.port, ssl=context, server_hostname=name, limit=MAX_HEAD
    )
    return Connection(reader, writer)


def _retry_after(lines: list[bytes]) -> str | None:
    for line in lines:
        name, _, value = line.partition(b":")
        if name.lower() == b"retry-after":
            return value.strip().decode("latin-1")
    return None
