"""A receiver of webhooks on this machine: answers as it is told to, and keeps what came."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Got:
    """One call."""

    line: str
    headers: dict[str, str]
    body: bytes

    @property
    def event(self) -> dict[str, Any]:
        event: dict[str, Any] = json.loads(self.body)
        return event

    def signed_by(self, secret: str) -> bool:
        """As a receiver finds out (Standard Webhooks): one signature that fits is enough."""
        key = base64.b64decode(secret.removeprefix("whsec_"))
        head = f"{self.headers['webhook-id']}.{self.headers['webhook-timestamp']}."
        digest = hmac.digest(key, head.encode() + self.body, hashlib.sha256)
        wanted = f"v1,{base64.b64encode(digest).decode()}"
        return wanted in self.headers["webhook-signature"].split(" ")


@dataclass
class Receiver:
    """`answers` are used one a call, then `usual`; each is what is sent, b"" hangs."""

    port: int = 0
    answers: list[bytes] = field(default_factory=list)
    usual: bytes = b"HTTP/1.1 204 No Content\r\n\r\n"
    got: list[Got] = field(default_factory=list)
    came: asyncio.Event = field(default_factory=asyncio.Event)
    secure: bool = False

    @property
    def url(self) -> str:
        scheme = "https" if self.secure else "http"
        return f"{scheme}://127.0.0.1:{self.port}/hooks?key=1"

    async def calls(self, count: int) -> list[Got]:
        """Waits until so many have come."""
        async with asyncio.timeout(20):
            while len(self.got) < count:
                self.came.clear()
                await self.came.wait()
        return self.got

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            pairs = [line.partition(": ") for line in head[1:] if line]
            headers = {name.lower(): value for name, _, value in pairs}
            body = await reader.readexactly(int(headers["content-length"]))
            self.got.append(Got(head[0], headers, body))
            said = self.answers.pop(0) if self.answers else self.usual
            self.came.set()
            if not said:
                await reader.read()  # until the other side gives up
            writer.write(said)
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


def status(code: int, *headers: str) -> bytes:
    """An answer without a body."""
    lines = [f"HTTP/1.1 {code} X", "Content-Length: 0", *headers, "", ""]
    return "\r\n".join(lines).encode()


@asynccontextmanager
async def receiving(context: ssl.SSLContext | None = None) -> AsyncIterator[Receiver]:
    """A receiver at work."""
    receiver = Receiver(secure=context is not None)
    server = await asyncio.start_server(receiver.answer, "127.0.0.1", 0, ssl=context)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()
