"""Drives an ASGI application: its lifespan, HTTP, and one websocket's handshake."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx

Messages = list[dict[str, Any]]


@asynccontextmanager
async def client_of(app: Any, *, lifespan: bool = True) -> AsyncIterator[httpx.AsyncClient]:
    """A client, while the application's lifespan lasts."""
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="https://assets") as client:
        if not lifespan:
            yield client
            return
        coming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        told: asyncio.Queue[Any] = asyncio.Queue()
        task = asyncio.create_task(app({"type": "lifespan", "state": {}}, coming.get, told.put))
        await coming.put({"type": "lifespan.startup"})
        assert (await asyncio.wait_for(told.get(), 5))["type"] == "lifespan.startup.complete"
        try:
            yield client
        finally:
            await coming.put({"type": "lifespan.shutdown"})
            await asyncio.wait_for(task, 5)


async def websocket(app: Any, path: str, headers: Mapping[str, str], **scope: Any) -> Messages:
    """What the application sends to a websocket that connects."""
    sent: Messages = []

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(dict(message))

    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    full = {"type": "websocket", "path": path, "headers": raw, "query_string": b"", **scope}
    await app(full, receive, send)
    return sent
