"""Calls from web pages of other origins (CORS, the Fetch standard): off unless origins are named.

Without credentials: a page shows its own bearer token, and cookies mean nothing here. A preflight
is answered before anybody is authenticated, for it carries no token; and it is let through like any
other request, so that limits, ids and the access log know of it.
"""

from collections.abc import Collection

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_METHODS = b"GET, POST, PUT, PATCH, DELETE"
_ASKED = (
    b"Authorization, Content-Type, Idempotency-Key, If-Match, If-None-Match, X-Request-ID,"
    b" X-Tenant-ID"
)
_EXPOSED = (
    b"ETag, Location, RateLimit, RateLimit-Policy, Retry-After, WWW-Authenticate, X-Request-ID,"
    b" Idempotency-Replayed"
)
#: How long a browser may keep to the answer of a preflight, in seconds.
_MAX_AGE = b"600"

_VARY = (b"vary", b"Origin")

#: Stands at the root, where the API may stand as well.
_NO_API = ("/console/", "/health/", "/.well-known/")


class Preflights:
    """Answers what a browser asks before a call; all else is `app`'s. ASGI."""

    def __init__(self, app: ASGIApp, origins: Collection[str], base_path: str) -> None:
        self._app = app
        self._calls = Calls(app, origins, base_path)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "OPTIONS":
            await self._app(scope, receive, send)
            return
        asks = "access-control-request-method" in Headers(scope=scope)
        if not asks or self._calls.allowed(scope) is None:
            await self._app(scope, receive, send)
            return
        answer = Response(status_code=204, headers={"Cache-Control": "no-store"})
        answer.raw_headers += [
            (b"access-control-allow-methods", _METHODS),
            (b"access-control-allow-headers", _ASKED),
            (b"access-control-max-age", _MAX_AGE),
        ]
        await answer(scope, receive, send)


class Calls:
    """Tells browsers that pages of these origins may read the answers below `base_path`. ASGI.

    It stands around everything, so that refusals and faults can be read, too.
    """

    def __init__(self, app: ASGIApp, origins: Collection[str], base_path: str) -> None:
        self._app = app
        self._origins = frozenset(origin.encode() for origin in origins)
        self._below = f"{base_path}/"

    def allowed(self, scope: Scope) -> bytes | None:
        """The origin of a page that may read the answer; None for any other."""
        if not self._is_api(scope):
            return None
        # A browser sends it once. What is not a browser may send what it likes.
        given = [value for name, value in scope["headers"] if name == b"origin"]
        return given[0] if len(given) == 1 and given[0] in self._origins else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not self._is_api(scope):
            await self._app(scope, receive, send)
            return
        origin = self.allowed(scope)
        told = [_VARY]
        if origin is not None:
            told += [
                (b"access-control-allow-origin", origin),
                (b"access-control-expose-headers", _EXPOSED),
            ]

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] += told
            await send(message)

        await self._app(scope, receive, answer)

    def _is_api(self, scope: Scope) -> bool:
        path: str = scope["path"]
        return path.startswith(self._below) and not path.startswith(_NO_API)
