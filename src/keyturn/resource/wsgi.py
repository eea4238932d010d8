"""Checks tokens before a WSGI application: Flask, Django and the like."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterable, Sequence
from http import HTTPStatus
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

from .errors import Answer, InvalidRequest, ResourceError, Unavailable, answer
from .gate import Arrival, Gate
from .verifier import TokenVerifier

T = TypeVar("T")
Environ = dict[str, Any]
StartResponse = Callable[..., Any]
WSGIApp = Callable[[Environ, StartResponse], Iterable[bytes]]

#: The longest that a call waits for a decision, in seconds.
PATIENCE = 15.0


class TokenMiddleware:
    """Lets calls through whose token is good, with the `Caller` in `environ["keyturn.caller"]`.

    The outcomes are those of the ASGI middleware, whose arguments it takes. The verifier lives in
    an event loop of its own, in a daemon thread that starts with the first call (so after a fork).
    A server joins repeated headers with a comma; such a value is refused as repeated.
    """

    def __init__(
        self,
        app: WSGIApp,
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
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        arrival = _arrival(environ)
        published = self._gate.published(arrival.method, arrival.path)
        if published is not None:
            return _answered(published, start_response)
        try:
            if any("," in value for value in arrival.authorization):
                raise InvalidRequest("The header Authorization is repeated.")
            environ["keyturn.caller"] = self._run(self._gate.admit(arrival))
        except ResourceError as error:
            metadata = self._gate.resource_metadata
            return _answered(answer(error, resource_metadata=metadata), start_response)
        return self._app(environ, start_response)

    def close(self) -> None:
        """Stops the verifier and its thread; another call starts them again."""
        with self._lock:
            loop, self._loop = self._loop, None
        if loop is not None:
            asyncio.run_coroutine_threadsafe(self._verifier.close(), loop).result(PATIENCE)
            loop.call_soon_threadsafe(loop.stop)
            self._thread.join(PATIENCE)

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        future = asyncio.run_coroutine_threadsafe(work, self._started())
        try:
            return future.result(PATIENCE)
        except TimeoutError:
            future.cancel()
            raise Unavailable("no decision in time") from None

    def _started(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                loop = asyncio.new_event_loop()
                self._thread = threading.Thread(
                    target=_turn, args=(loop,), name="keyturn verifier", daemon=True
                )
                self._thread.start()
                asyncio.run_coroutine_threadsafe(self._verifier.start(), loop).result(PATIENCE)
                self._loop = loop
            return self._loop


def _turn(loop: asyncio.AbstractEventLoop) -> None:
    try:
        loop.run_forever()
    finally:
        loop.close()


def _arrival(environ: Environ) -> Arrival:
    path = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
    # PEP 3333: bytes in the guise of latin-1. Servers that keep what was sent have it in these.
    decoded = path.encode("latin-1").decode("utf-8", "replace")
    sent = environ.get("RAW_URI") or environ.get("REQUEST_URI")
    raw_path = urlsplit(sent).path if sent else quote(path.encode("latin-1"))
    one = {name: [environ[name]] if name in environ else [] for name in _HEADERS}
    return Arrival(environ["REQUEST_METHOD"], decoded, raw_path, *(one[name] for name in _HEADERS))


_HEADERS = ("HTTP_AUTHORIZATION", "HTTP_X_TENANT_ID")


def _answered(given: Answer, start_response: StartResponse) -> list[bytes]:
    start_response(f"{given.status} {HTTPStatus(given.status).phrase}", list(given.headers))
    return [given.body]
