"""What is for everybody: the keys, the metadata, and the service's health."""

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from ..domain.errors import Unavailable
from .errors import NO_STORE, json_response
from .stopping import Stopping

#: Asks one thing the service depends on: `ok`, `degraded`, or raises Unavailable.
Check = Callable[[], Awaitable[str]]


class Published:
    """Answers without asking who calls."""

    def __init__(
        self,
        *,
        metadata: Callable[[], Mapping[str, Any]],
        jwks: Callable[[], Mapping[str, object]],
        jwks_max_age: int,
        checks: Mapping[str, Check],
        stopping: Stopping,
    ) -> None:
        """`jwks_max_age` in seconds: how long the documents may be cached."""
        self._metadata = metadata
        self._jwks = jwks
        self._max_age = jwks_max_age
        self._checks = checks
        self._stopping = stopping

    async def jwks(self, request: Request) -> Response:
        """The signing keys (RFC 7517)."""
        return self._cacheable(request, orjson.dumps(self._jwks()))

    async def metadata(self, request: Request) -> Response:
        """The metadata (RFC 8414, OpenID Connect Discovery)."""
        return self._cacheable(request, orjson.dumps(self._metadata()))

    async def live(self, request: Request) -> Response:
        """The process is up."""
        return json_response({"status": "ok"}, headers=NO_STORE)

    async def ready(self, request: Request) -> Response:
        """What it depends on answers, and it is not about to stop."""
        # Asked only when it matters: a balancer should hear of a stop at once.
        states = {} if self._stopping.begun else await self._states()
        down = self._stopping.begun or "unavailable" in states.values()
        headers = {**NO_STORE, "Retry-After": "1"} if down else dict(NO_STORE)
        body = {"status": self._status(set(states.values())), "checks": states}
        return json_response(body, 503 if down else 200, headers)

    async def _states(self) -> dict[str, str]:
        states: dict[str, str] = {}
        for name, check in self._checks.items():
            try:
                states[name] = await check()
            except Unavailable:
                states[name] = "unavailable"
        return states

    def _status(self, states: set[str]) -> str:
        if self._stopping.begun:
            return "stopping"
        if "unavailable" in states:
            return "unavailable"
        return "ok" if states <= {"ok"} else "degraded"

    def _cacheable(self, request: Request, body: bytes) -> Response:
        tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
        headers = {"ETag": tag, "Cache-Control": f"public, max-age={self._max_age}"}
        seen = {part.strip() for part in request.headers.get("if-none-match", "").split(",")}
        if seen & {tag, f"W/{tag}", "*"}:
            return Response(status_code=304, headers=headers)
        return Response(body, headers=headers, media_type="application/json")
