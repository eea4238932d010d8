"""Checks tokens before a pure ASGI application: Starlette, FastAPI, Litestar, or none of them."""

from collections.abc import Awaitable, Callable, Iterable, MutableMapping, Sequence
from typing import Any
from urllib.parse import quote

from .callers import Caller
from .errors import Answer, ResourceError, answer
from .gate import Arrival, Gate
from .verifier import TokenVerifier

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]

#: RFC 6455, 7.4.1: what a websocket that is refused is closed with where no answer can be sent.
POLICY_VIOLATION = 1008


class TokenMiddleware:
    """Lets calls through whose token is good, with the `Caller` in `scope["keyturn.caller"]`.

        app.add_middleware(TokenMiddleware, verifier=verifier)

    `request.state.caller` is the same; None on `public` paths (exact, or `/docs/*`) and, with
    `optional`, without a token. The verifier starts and stops with the application's lifespan, or
    starts with the first call. Websockets are handled the same way, as GET; a refused one gets the
    HTTP answer where the server can send it (`websocket.http.response`), and is closed with 1008
    before it is accepted (403) elsewhere. One is judged when it opens: who keeps it open for long
    asks `verifier.verify` again. Errors of this package that the application raises are answered.
    Paths of the catalogue include the server's root path.

    `uncatalogued` paths are not looked up in the catalogue. `tenant_required`: calls need
    `x-tenant-id`. `optional`: those without a token are let through, with no caller. `resource` is
    this resource server's identifier (RFC 9728), by default its audience if that is a URL of its
    own; its metadata is published, and named in refusals.
    """

    def __init__(
        self,
        app: ASGIApp,
        verifier: TokenVerifier,
        *,
        public: Sequence[str] = (),
        uncatalogued: Sequence[str] = (),
        tenant_required: bool = True,
        optional: bool = False,
        resource: str | None = None,
    ) -> None:
        self._app = app
        self._verifier = verifier
        self._gate = Gate(
            verifier,
            public=public,
            uncatalogued=uncatalogued,
            tenant_required=tenant_required,
            optional=optional,
            resource=resource,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            async with self._verifier:
                await self._app(scope, receive, send)
        elif scope["type"] in {"http", "websocket"}:
            await self._call(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _call(self, scope: Scope, receive: Receive, send: Send) -> None:
        arrival = _arrival(scope)
        if scope["type"] == "http":
            metadata = self._gate.published(arrival.method, arrival.path)
            if metadata is not None:
                await _answer(metadata, scope, send)
                return
        begun = False

        async def watching(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            if not self._verifier.started:
                await self._verifier.start()
            caller = await self._gate.admit(arrival)
            await self._app(self._with(scope, caller), receive, watching)
        except ResourceError as error:
            if begun:
                raise
            refusal = answer(
                error,
                resource_metadata=self._gate.resource_metadata,
                request_id=scope.get("keyturn.request_id"),
                call=str(arrival),
            )
            await _answer(refusal, scope, send)

    def _with(self, scope: Scope, caller: Caller | None) -> Scope:
        return {
            **scope,
            "keyturn.caller": caller,
            "keyturn.resource_metadata": self._gate.resource_metadata,
            "state": {**(scope.get("state") or {}), "caller": caller},
        }


def _arrival(scope: Scope) -> Arrival:
    headers: Iterable[tuple[bytes, bytes]] = scope["headers"]
    authorization, tenant = [], []
    for name, value in headers:
        if name == b"authorization":
            authorization.append(value.decode("latin-1"))
        elif name == b"x-tenant-id":
            tenant.append(value.decode("latin-1"))
    path: str = scope["path"]
    raw: bytes | None = scope.get("raw_path")
    # Some servers leave the query in it, some give no raw path at all.
    raw_path = raw.partition(b"?")[0].decode("latin-1") if raw else quote(path)
    return Arrival(scope.get("method", "GET"), path, raw_path, authorization, tenant)


async def _answer(given: Answer, scope: Scope, send: Send) -> None:
    prefix = "http.response"
    if scope["type"] == "websocket":
        if "websocket.http.response" not in (scope.get("extensions") or {}):
            await send({"type": "websocket.close", "code": POLICY_VIOLATION, "reason": ""})
            return
        prefix = "websocket.http.response"
    headers = [(name.lower().encode(), value.encode()) for name, value in given.headers]
    await send({"type": f"{prefix}.start", "status": given.status, "headers": headers})
    await send({"type": f"{prefix}.body", "body": given.body})
