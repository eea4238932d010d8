"""One node: a whole service, called by ASGI, without a socket between."""

from __future__ import annotations

import json
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from keyturn.server import app as wiring
from keyturn.server.parts import Parts
from keyturn.server.settings import Settings


@dataclass(frozen=True)
class Answer:
    """Status and JSON of an answer; its text is never shown, since it may hold tokens."""

    status: int
    body: dict[str, Any] = field(repr=False)

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300

    @property
    def error(self) -> str:
        """OAuth's error code, or the problem's; empty for success."""
        return "" if self.ok else str(self.body.get("error") or self.body.get("code") or "")


class Node:
    """One process' worth of a service."""

    def __init__(self, name: str, settings: Settings, redis_user: str) -> None:
        self.name = name
        self.redis_user = redis_user
        self._settings = settings
        self._app: Any = None
        self._stack = AsyncExitStack()

    @property
    def parts(self) -> Parts:
        parts: Parts = self._app.state.service.parts
        return parts

    async def open(self) -> None:
        self._app = wiring.create_app(self._settings)
        await self._stack.enter_async_context(self._app.router.lifespan_context(self._app))

    async def close(self) -> None:
        await self._stack.aclose()

    async def call(
        self,
        method: str,
        path: str,
        *,
        form: dict[str, str] | None = None,
        body: object = None,
        bearer: str = "",
        tenant: str | None = None,
    ) -> Answer:
        """One request. What the application raises is raised here."""
        headers = [(b"host", b"testserver")]
        sent = b""
        if form is not None:
            sent = urlencode(form).encode()
            headers.append((b"content-type", b"application/x-www-form-urlencoded"))
        elif body is not None:
            sent = json.dumps(body).encode()
            headers.append((b"content-type", b"application/json"))
        if sent:
            headers.append((b"content-length", str(len(sent)).encode()))
        if bearer:
            headers.append((b"authorization", b"Bearer " + bearer.encode()))
        if tenant is not None:
            headers.append((b"x-tenant-id", tenant.encode()))
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "scheme": "http",
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": b"",
            "headers": headers,
            "client": ("127.0.0.1", 50_000),
            "server": ("testserver", 80),
        }
        status, received = 0, b""

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": sent, "more_body": False}

        async def send(message: dict[str, Any]) -> None:
            nonlocal status, received
            if message["type"] == "http.response.start":
                status = message["status"]
            else:
                received += message.get("body", b"")

        await self._app(scope, receive, send)
        return Answer(status, json.loads(received) if received else {})
