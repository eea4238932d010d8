"""Errors to HTTP, in this one place: RFC 6749 on OAuth routes, pages where
browsers look at them, RFC 9457 elsewhere (P8).
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from ..domain.errors import Code, Refusal, Throttled, Unavailable
from .body import Malformed

log = logging.getLogger(__name__)

STATUS = {
    Code.INVALID_REQUEST: 400,
    Code.INVALID_CLIENT: 401,
    Code.INVALID_GRANT: 400,
    Code.INVALID_SCOPE: 400,
    Code.INVALID_TARGET: 400,
    Code.UNAUTHORIZED_CLIENT: 400,
    Code.UNSUPPORTED_GRANT_TYPE: 400,
    Code.ACCESS_DENIED: 403,
    Code.INVALID_TOKEN: 401,
    Code.MISSING_TOKEN: 401,
    Code.INSUFFICIENT_SCOPE: 403,
    Code.NOT_FOUND: 404,
    Code.METHOD_NOT_ALLOWED: 405,
    Code.BODY_TOO_LARGE: 413,
    Code.UNSUPPORTED_MEDIA_TYPE: 415,
    Code.CONFLICT: 409,
    Code.STALE: 412,
    Code.KEY_REUSED: 422,
}

# RFC 6749 has no names of its own for these; the status tells.
_OAUTH_NAMES = {
    Code.NOT_FOUND: "invalid_request",
    Code.METHOD_NOT_ALLOWED: "invalid_request",
    Code.BODY_TOO_LARGE: "invalid_request",
    Code.UNSUPPORTED_MEDIA_TYPE: "invalid_request",
    Code.CONFLICT: "invalid_request",
}

NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}
_RAW_NO_STORE = [(name.lower().encode(), value.encode()) for name, value in NO_STORE.items()]
_REALM = 'realm="keyturn"'


def json_response(
    content: object,
    status: int = 200,
    headers: dict[str, str] | None = None,
    media_type: str = "application/json",
) -> Response:
    """A response whose body is `content` as JSON."""
    body = orjson.dumps(content)
    if headers is NO_STORE and media_type == "application/json":
        return _Json(body, status)
    return Response(body, status, headers, media_type)


class _Json(Response):
    """JSON that nobody may keep: most answers. Starlette would encode its headers each time."""

    def __init__(self, body: bytes, status: int) -> None:
        self.status_code = status
        self.background = None
        self.body = body
        length = (b"content-length", b"%d" % len(body))
        self.raw_headers = [*_RAW_NO_STORE, length, (b"content-type", b"application/json")]


@dataclass(frozen=True, slots=True)
class Fault:
    """What is told of a request that failed: `headers` belong to the answer, in whatever form."""

    status: int
    text: str
    headers: Mapping[str, str]


#: A page about a fault; None where the caller is no browser. It must not raise.
FaultPage = Callable[[Request, Fault], Response | None]


class ErrorAnswers:
    """Turns refusals and faults into responses."""

    def __init__(self, oauth_paths: frozenset[str], page: FaultPage | None = None) -> None:
        """`oauth_paths`: where RFC 6749's form of errors is spoken. `page`: where HTML is."""
        self._oauth_paths = oauth_paths
        self._page = page

    def of(self, request: Request, error: Exception) -> Response:
        """The answer to a request that ended in `error`."""
        if isinstance(error, Refusal):
            return self._refused(request, error)
        if isinstance(error, Unavailable):
            return self._unavailable(request, error)
        if isinstance(error, Throttled):
            return self._throttled(request, error)
        if isinstance(error, HTTPException):
            return self._routing(request, error)
        if isinstance(error, ClientDisconnect):
            return Response(status_code=400)  # nobody is left to read it
        text = "Something failed on our side."
        return self._answer(request, 500, "server_error", text, dict(NO_STORE))

    def _refused(self, request: Request, error: Refusal) -> Response:
        if error.detail:
            log.info("refused: %s (%s)", error.code, error.detail)
        headers = dict(NO_STORE)
        challenge = _challenge(error)
        if challenge:
            headers["WWW-Authenticate"] = challenge
        faults = [(error.field, error.public)] if error.field is not None else []
        if isinstance(error, Malformed):
            faults = error.faults
        return self._answer(request, STATUS[error.code], error.code, error.public, headers, faults)

    def _unavailable(self, request: Request, error: Unavailable) -> Response:
        """A fault of ours or of a store's: 503, to be tried again."""
        log.warning("unavailable: %s", error.detail)
        headers = {**NO_STORE, "Retry-After": str(error.retry_after)}
        text = "The service cannot answer now. Try again."
        return self._answer(request, 503, "temporarily_unavailable", text, headers)

    def _throttled(self, request: Request, error: Throttled) -> Response:
        """A limit is reached (RFC 6585, 4), with what draft-ietf-httpapi-ratelimit-headers has."""
        headers = {
            **NO_STORE,
            "Retry-After": str(error.retry_after),
            "RateLimit-Policy": f'"{error.limit}";q={error.quota};w={error.window}',
            "RateLimit": f'"{error.limit}";r=0;t={error.retry_after}',
        }
        # RFC 6749 has no word for it; other services have this one.
        text = "Too many requests. Try again later."
        return self._answer(request, 429, "too_many_requests", text, headers)

    def _routing(self, request: Request, error: HTTPException) -> Response:
        codes = {404: Code.NOT_FOUND, 405: Code.METHOD_NOT_ALLOWED, 413: Code.BODY_TOO_LARGE}
        code = codes.get(error.status_code, Code.INVALID_REQUEST)
        text = HTTPStatus(error.status_code).phrase + "."
        return self._answer(
            request, error.status_code, code, text, {**NO_STORE, **(error.headers or {})}
        )

    def _answer(
        self,
        request: Request,
        status: int,
        code: str,
        text: str,
        headers: dict[str, str],
        faults: Sequence[tuple[str, str]] = (),
    ) -> Response:
        if request.url.path in self._oauth_paths:
            name = _OAUTH_NAMES[Code(code)] if code in _OAUTH_NAMES else str(code)
            body: dict[str, object] = {"error": name, "error_description": text}
            return json_response(body, status, headers)
        if self._page is not None:
            shown = self._page(request, Fault(status, text, headers))
            if shown is not None:
                return shown
        body = {
            "type": f"urn:keyturn:error:{code}",
            "title": HTTPStatus(status).phrase,
            "status": status,
            "detail": text,
        }
        if faults:
            body["errors"] = [{"field": name, "detail": detail} for name, detail in faults]
        request_id = request.scope.get("keyturn.request_id")
        if request_id:
            body["request_id"] = request_id
        return json_response(body, status, headers, "application/problem+json")


def _challenge(error: Refusal) -> str | None:
    """The WWW-Authenticate header (RFC 6749, 5.2; RFC 6750, 3)."""
    if error.code is Code.INVALID_CLIENT:
        return f"Basic {_REALM}"
    if error.code is Code.MISSING_TOKEN:
        return f"Bearer {_REALM}"
    if error.code in (Code.INVALID_TOKEN, Code.INSUFFICIENT_SCOPE):
        return f'Bearer {_REALM}, error="{error.code}", error_description="{error.public}"'
    return None
