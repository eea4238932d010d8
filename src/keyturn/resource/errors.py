"""What is answered instead of letting a call through, in one tree.

ResourceError
├── MissingToken       401, without an error code (RFC 6750, 3.1)
├── InvalidToken       401 `invalid_token`
├── InvalidRequest     400 `invalid_request`
├── InsufficientScope  403 `insufficient_scope`, with the scope that would do
├── WrongTenant        403 `access_denied`, the same whether the tenant exists or not
└── Unavailable        503: our fault or the service's, to be tried again

An error's `public` text is fixed: nothing of the request or of a token is ever put into it. Its
`detail` is for the log only, and never holds a token either.
"""

import json
import logging
import re
from collections.abc import Iterable
from dataclasses import dataclass
from http import HTTPStatus
from typing import ClassVar

log = logging.getLogger("keyturn.resource")

# RFC 6749, 3.3: what a scope may be made of.
_SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+")


class ResourceError(Exception):
    """Root of what this package refuses with. `detail` is for the log only."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "server_error"
    public: str = "Something failed on our side."

    def __init__(self, detail: str = "") -> None:
        super().__init__(detail or self.public)
        self.detail = detail

    def challenge(self, resource_metadata: str | None) -> str | None:
        """The WWW-Authenticate header (RFC 6750, 3; RFC 9728, 5.1), or None for none."""
        return None


class _Challenging(ResourceError):
    """Says how to do better."""

    def challenge(self, resource_metadata: str | None) -> str | None:
        """The WWW-Authenticate header (RFC 6750, 3; RFC 9728, 5.1)."""
        parts = ['realm="keyturn"', *self._attributes()]
        if resource_metadata:
            parts.append(f'resource_metadata="{resource_metadata}"')
        return "Bearer " + ", ".join(parts)

    def _attributes(self) -> Iterable[str]:
        return (f'error="{self.code}"', f'error_description="{self.public}"')


class MissingToken(_Challenging):
    """The call shows no access token (RFC 6750, 3.1: no error code is shown)."""

    status = 401
    code = "missing_token"
    public = "This call needs an access token."

    def _attributes(self) -> Iterable[str]:
        return ()


class InvalidToken(_Challenging):
    """The token is expired, revoked, malformed or otherwise not valid (RFC 6750, 3.1)."""

    status = 401
    code = "invalid_token"
    public = "The access token is not valid."


class InvalidRequest(_Challenging):
    """The call itself is malformed (RFC 6750, 3.1). `public` is one of a few fixed texts."""

    status = 400
    code = "invalid_request"
    public = "The request is malformed."

    def __init__(self, public: str, detail: str = "") -> None:
        self.public = public
        super().__init__(detail)


class InsufficientScope(_Challenging):
    """The caller may do other things here, but not this (RFC 6750, 3.1).

    `scope` holds permissions that would do, separated by spaces; they are the resource server's
    or the catalogue's, never what somebody sent. Empty: none would.
    """

    status = 403
    code = "insufficient_scope"
    public = "You may not make this call in this tenant."

    def __init__(self, detail: str = "", *, scope: Iterable[str] = ()) -> None:
        super().__init__(detail)
        self.scope = " ".join(name for name in scope if _SCOPE.fullmatch(name))

    def _attributes(self) -> Iterable[str]:
        return (*super()._attributes(), *((f'scope="{self.scope}"',) if self.scope else ()))


class WrongTenant(ResourceError):
    """The caller has no role in the chosen tenant, whether it exists or not."""

    status = 403
    code = "access_denied"
    public = "You have no role in this tenant."


class Unavailable(ResourceError):
    """It cannot be decided now. Never the caller's fault. `retry_after` in seconds."""

    status = 503
    code = "temporarily_unavailable"
    public = "The service cannot answer now. Try again."

    def __init__(self, detail: str = "", *, retry_after: int = 1) -> None:
        super().__init__(detail)
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole HTTP answer."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


def answer(
    error: ResourceError,
    *,
    resource_metadata: str | None = None,
    request_id: str | None = None,
    call: str = "",
) -> Answer:
    """`error` as problem+json (RFC 9457), with its challenge. Logs its detail and the `call`."""
    log.info("refused: %s (%s)%s", error.code, error.detail or error.public, call and f": {call}")
    body: dict[str, object] = {
        "type": f"urn:keyturn:error:{error.code}",
        "title": HTTPStatus(error.status).phrase,
        "status": error.status,
        "detail": error.public,
    }
    if request_id:
        body["request_id"] = request_id
    headers = [("Content-Type", "application/problem+json"), ("Cache-Control", "no-store")]
    challenge = error.challenge(resource_metadata)
    if challenge:
        headers.append(("WWW-Authenticate", challenge))
    if isinstance(error, Unavailable):
        headers.append(("Retry-After", str(error.retry_after)))
    text = json.dumps(body).encode()
    return Answer(error.status, (*headers, ("Content-Length", str(len(text)))), text)
