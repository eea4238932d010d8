"""Around every request: an id, a limit on work in flight, the answer to what went wrong, and the
access log. Pure ASGI, and in the place of Starlette's own middleware, which does less at twice the
cost.
"""

import itertools
import logging
import re
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .. import logs, spans
from ..domain.errors import Unavailable
from ..services.counts import Counts
from ..spans import TraceParent, Tracer, read_traceparent
from .caller import headers_once
from .errors import ErrorAnswers
from .protection import OWN_POLICY, protection
from .stopping import Stopping

log = logging.getLogger("keyturn.access")

_GIVEN_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")


#: In the place of a route, for paths that nothing answers.
NO_ROUTE = "none"


class RequestFrame:
    """Gives each request its id, and says afterwards what became of it.

    When too much is in flight it answers 503 at once, so that nothing piles up (promise P5).
    Who waits for a body is not in flight: a slow client takes nobody's place; nor is who waits
    for news (`scope["keyturn.aside"]`). Health is let through.

    When the process is to stop, and when there are too many connections, each answer
    is its connection's last.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        access_log: str,
        max_in_flight: int,
        answers: ErrorAnswers,
        stopping: Stopping,
        counts: Counts | None = None,
        https: bool = False,
        from_proxy: Callable[[Scope], bool] = lambda _: False,
    ) -> None:
        """`access_log`: `off`, `errors` (status 400 and above), or `all`.

        `https`: browsers are told to use nothing else. `from_proxy`: whether a request comes from
        whom one believes which traces are to be recorded. Anybody else could have all of them.
        """
        self._app = app
        self._least_status = {"off": 1000, "errors": 400, "all": 0}[access_log]
        self._max_in_flight = max_in_flight
        self._counts = counts or Counts()
        #: Traces requests, where there is a collector.
        self.tracer: Tracer | None = None
        self._from_proxy = from_proxy
        self._in_flight = 0
        self._answers = answers
        self._stopping = stopping
        self._protection, self._protection_of_pages = protection(https=https)
        # Of this process and run; the number of the request comes behind it.
        run = secrets.token_hex(8)
        self._ids = (f"{run}-{number:x}" for number in itertools.count(1))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        named = headers_once(scope)
        if named is None:  # another header may well be repeated: X-Forwarded-For is
            named = dict(scope["headers"])
        given = named.get(b"x-request-id")
        if given is None or not _GIVEN_ID.fullmatch(given):
            request_id = next(self._ids)
        else:
            request_id = given.decode()
        scope["keyturn.request_id"] = request_id
        scope["keyturn.aside"] = self._aside
        bound = logs.request_id.set(request_id)
        parent = _parent(scope) if b"traceparent" in named else None
        tracer = self.tracer
        span = None
        if tracer is not None:
            if parent is not None and not self._from_proxy(scope):
                parent = replace(parent, sampled=None)
            span = tracer.begin(scope["method"], parent)
        if span is not None:
            spans.current.set(span)
            logs.trace_id.set(span.trace_id)
        elif parent is not None:
            logs.trace_id.set(parent.trace_id)
        started, status = time.perf_counter(), 0
        bounded = not scope["path"].startswith("/health/")
        crowded = "keyturn.crowded" in scope  # says BoundedHttp

        async def arriving() -> Message:
            # Not by `_aside`: every exchange comes through here.
            self._in_flight -= 1
            try:
                message = await receive()
            finally:
                self._in_flight += 1
            if bounded and self._in_flight > self._max_in_flight:
                raise _too_many()
            return message

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = message["headers"]
                headers += self._protection_of_pages if OWN_POLICY in scope else self._protection
                headers.append((b"x-request-id", request_id.encode()))
                if crowded or self._stopping.begun:
                    headers.append((b"connection", b"close"))
            await send(message)

        self._in_flight += 1
        try:
            if bounded and crowded:
                raise Unavailable("too many connections")
            if bounded and self._in_flight > self._max_in_flight:
                raise _too_many()
            await self._app(scope, arriving, answer)
        except Exception as error:
            if status:  # half an answer is out, and cannot become another one
                raise
            response = self._answers.of(Request(scope), error)
            await response(scope, receive, answer)
            if response.status_code == 500:
                raise  # the server logs it, redacted
        finally:
            self._in_flight -= 1
            route = scope.get("keyturn.route", NO_ROUTE)
            self._counts.request(route, status or 500, time.perf_counter() - started)
            if span is not None:
                span.end(route, status or 500)
                spans.current.set(None)
            if (status or 500) >= self._least_status:
                self._log(scope, status or 500, started)
            logs.request_id.reset(bound)
            if span is not None or parent is not None:
                logs.trace_id.set(None)

    @property
    def in_flight(self) -> int:
        """Requests that are being answered now."""
        return self._in_flight

    @contextmanager
    def _aside(self) -> Iterator[None]:
        """For as long as a request only waits: it is not in flight."""
        self._in_flight -= 1
        try:
            yield
        finally:
            self._in_flight += 1

    def _log(self, scope: Scope, status: int, started: float) -> None:
        client = scope.get("client")
        log.info(
            "request",
            extra={
                "fields": {
                    "method": scope["method"],
                    "path": scope["path"][:200],
                    "status": status,
                    "ms": round((time.perf_counter() - started) * 1000, 2),
                    "peer": client[0] if client else None,
                }
            },
        )


def _too_many() -> Unavailable:
    return Unavailable("too many requests in flight")


def _parent(scope: Scope) -> TraceParent | None:
    return read_traceparent([value for name, value in scope["headers"] if name == b"traceparent"])
