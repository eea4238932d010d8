"""Checks tokens before a WSGI application: Flask, Django and the like."""

import asyncio
import logging
import threading
from collections.abc import Callable, Coroutine, Iterable, Sequence
from concurrent.futures import CancelledError
from http import HTTPStatus
from typing import Any, TypeVar
from urllib.parse import quote, unquote_to_bytes

from .errors import Answer, InvalidRequest, ResourceError, Unavailable, answer
from .gate import Arrival, Gate
from .verifier import TokenVerifier

log = logging.getLogger("keyturn.resource")

T = TypeVar("T")
Environ = dict[str, Any]
StartResponse = Callable[..., Any]
WSGIApp = Callable[[Environ, StartResponse], Iterable[bytes]]

#: The longest that a call waits for a start, for a stop and for a decision each, in seconds.
PATIENCE = 15.0
#: How long the tasks of an event loop, and then the verifier, have for their end, in seconds.
_LAST_WORDS = 5.0


class TokenMiddleware:
    """Lets calls through whose token is good, with the `Caller` in `environ["keyturn.caller"]`.

    The outcomes are those of the ASGI middleware, whose arguments it takes. The verifier lives in
    an event loop of its own, in a daemon thread that starts with the first call (so after a fork).
    A server joins repeated headers with a comma; such a value is refused as repeated. Where it
    also tells the path as it was sent (RAW_URI, REQUEST_URI) and that is another one than the
    application sees, nothing of the catalogue is hit.

        app.wsgi_app = TokenMiddleware(app.wsgi_app, verifier)       # Flask's
        app.register_error_handler(ResourceError, refused)

        @app.get("/assets")
        def assets():
            request.environ["keyturn.caller"].need("assets:read")
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
            given = answer(error, resource_metadata=metadata, call=str(arrival))
            return _answered(given, start_response)
        return self._app(environ, start_response)

    def close(self) -> None:
        """Stops the verifier and its thread; another call starts them again.

        Calls that wait for a decision get 503.
        """
        with self._lock:
            loop, self._loop = self._loop, None
            if loop is not None:
                self._end(loop)

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        try:
            future = asyncio.run_coroutine_threadsafe(work, self._started())
        except (ResourceError, RuntimeError) as error:
            work.close()
            if isinstance(error, ResourceError):
                raise
            raise Unavailable("it has just been closed") from error
        try:
            return future.result(PATIENCE)
        except CancelledError:
            raise Unavailable("it was closed meanwhile") from None
        except TimeoutError:
            future.cancel()
            raise Unavailable("no decision in time") from None

    def _started(self) -> asyncio.AbstractEventLoop:
        loop = self._loop
        if loop is not None:
            return loop
        if not self._lock.acquire(timeout=PATIENCE):
            raise Unavailable("the verifier is being started or stopped")
        try:
            if self._loop is None:
                self._loop = self._begun()
            return self._loop
        finally:
            self._lock.release()

    def _begun(self) -> asyncio.AbstractEventLoop:
        """An event loop in a thread, with the verifier started in it; or nothing is left of it."""
        loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=_turn, args=(loop, self._verifier), name="keyturn verifier", daemon=True
        )
        self._thread.start()
        try:
            asyncio.run_coroutine_threadsafe(self._verifier.start(), loop).result(PATIENCE)
        except TimeoutError:
            self._end(loop)
            raise Unavailable("the verifier does not start in time") from None
        except BaseException:
            self._end(loop)
            raise
        return loop

    def _end(self, loop: asyncio.AbstractEventLoop) -> None:
        loop.call_soon_threadsafe(loop.stop)
        self._thread.join(PATIENCE)


def refused(error: Exception) -> tuple[bytes, int, list[tuple[str, str]]]:
    """What a Flask view answers for an error of this package; others are raised again."""
    if not isinstance(error, ResourceError):
        raise error
    given = answer(error)
    return given.body, given.status, list(given.headers)


def _turn(loop: asyncio.AbstractEventLoop, verifier: TokenVerifier) -> None:
    """Runs the loop until it is stopped, and ends all that is in it: nothing is left half done."""
    try:
        loop.run_forever()
        loop.run_until_complete(_ended(verifier))
    finally:
        loop.close()


async def _ended(verifier: TokenVerifier) -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    if others:
        await asyncio.wait(others, timeout=_LAST_WORDS)
    try:
        await asyncio.wait_for(verifier.close(), _LAST_WORDS)
    except Exception as error:  # noqa: BLE001 - whatever it is, the loop ends
        log.warning("the verifier did not close well: %s", type(error).__name__)


def _arrival(environ: Environ) -> Arrival:
    # PEP 3333: bytes in the guise of latin-1. Servers that keep what was sent have it in these.
    path = (environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")).encode("latin-1")
    raw_path = _path_in(environ.get("RAW_URI") or environ.get("REQUEST_URI") or "") or quote(path)
    if unquote_to_bytes(raw_path.encode("latin-1", "replace")) != path:
        # The application does not see what was sent: without a slash at its start it hits nothing.
        raw_path = f"unlike {raw_path}"
    one = {name: [environ[name]] if name in environ else [] for name in _HEADERS}
    return Arrival(
        environ["REQUEST_METHOD"],
        path.decode("utf-8", "replace"),
        raw_path,
        *(one[name] for name in _HEADERS),
    )


def _path_in(target: str) -> str:
    """The path of a request target (RFC 9112, 3.2); two slashes at its start are no host."""
    sent = target.partition("?")[0]
    if sent.startswith("/"):
        return sent
    _, _, behind = sent.partition("://")
    return "/" + behind.partition("/")[2] if behind else sent


_HEADERS = ("HTTP_AUTHORIZATION", "HTTP_X_TENANT_ID")


def _answered(given: Answer, start_response: StartResponse) -> list[bytes]:
    start_response(f"{given.status} {HTTPStatus(given.status).phrase}", list(given.headers))
    return [given.body]
