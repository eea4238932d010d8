"""What can go wrong, in one tree.

KeyturnError
├── Refusal          the caller's fault: a code, a public text, a private detail
│   ├── Ended        with a token of ours that was good once
│   └── Guessed      with a credential that is no good, whatever its code
├── Throttled        asked too often: answered 429, to be tried again later
├── Unavailable      our fault, or a store's: answered 503, to be tried again
│   └── Contended    two transactions in each other's way: tried again by itself
└── StorageNotReady  the operator's to mend: a store is not set up as it must be; stops the start

A refusal's `public` text is fixed: nothing of the request or of a secret is ever put into it.
Its `detail` goes to the log only.
"""

from enum import StrEnum


class Code(StrEnum):
    """Why a call is refused. The first block are the codes of RFC 6749 (5.2) and RFC 6750 (3.1)."""

    INVALID_REQUEST = "invalid_request"
    INVALID_CLIENT = "invalid_client"
    INVALID_GRANT = "invalid_grant"
    INVALID_SCOPE = "invalid_scope"
    INVALID_TARGET = "invalid_target"
    UNAUTHORIZED_CLIENT = "unauthorized_client"
    UNSUPPORTED_GRANT_TYPE = "unsupported_grant_type"
    ACCESS_DENIED = "access_denied"
    INVALID_TOKEN = "invalid_token"  # noqa: S105 - an error code of RFC 6750
    MISSING_TOKEN = "missing_token"  # noqa: S105 - RFC 6750, 3.1: no error code is shown
    INSUFFICIENT_SCOPE = "insufficient_scope"

    NOT_FOUND = "not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    BODY_TOO_LARGE = "body_too_large"
    UNSUPPORTED_MEDIA_TYPE = "unsupported_media_type"
    CONFLICT = "conflict"
    STALE = "stale"
    KEY_REUSED = "idempotency_key_reused"


class KeyturnError(Exception):
    """Root of the server's errors."""


class Refusal(KeyturnError):
    """The call is refused, and trying it again unchanged would not help.

    `public` is a fixed text for the caller; `detail` is for the log and is never sent.
    `field` names the part of the request that is at fault (`networks.0`), when one is.
    """

    def __init__(
        self, code: Code, public: str, *, detail: str = "", field: str | None = None
    ) -> None:
        super().__init__(f"{code}: {detail or public}")
        self.code = code
        self.public = public
        self.detail = detail
        self.field = field


class Unavailable(KeyturnError):
    """A store or a worker cannot answer now. Never the caller's fault.

    `retry_after` is what the caller is told to wait, in seconds.
    """

    def __init__(self, detail: str, *, retry_after: int = 1) -> None:
        super().__init__(detail)
        self.detail = detail
        self.retry_after = retry_after


class Ended(Refusal):
    """A token of ours that is good no more. Who shows it has guessed nothing."""


class Guessed(Refusal):
    """A credential that is no good: a password, a signature. It counts as a failure by any code."""


class Throttled(KeyturnError):
    """A limit is reached. What was asked is not judged, or not said.

    `limit` is the limit's name, `quota` what it allows in `window` seconds; `retry_after` (seconds)
    is when it allows one more.
    """

    def __init__(self, limit: str, *, quota: int, window: int, retry_after: int) -> None:
        super().__init__(f"more than {quota} in {window} s: {limit}")
        self.limit = limit
        self.quota = quota
        self.window = window
        self.retry_after = retry_after


class Contended(Unavailable):
    """Two transactions waited for each other, and this one was given up: nothing of it happened."""


class StorageNotReady(KeyturnError):
    """A store cannot be used as it is: the database lacks this release's schema, or Redis drops
    entries. Its text is one line that says what to do.
    """


def invalid_request(public: str, *, detail: str = "", field: str | None = None) -> Refusal:
    """RFC 6749, 5.2: the request itself is malformed."""
    return Refusal(Code.INVALID_REQUEST, public, detail=detail, field=field)


def conflict(public: str, *, field: str | None = None) -> Refusal:
    """RFC 9110, 15.5.10: what is there already does not allow it."""
    return Refusal(Code.CONFLICT, public, field=field)


def not_found(detail: str = "") -> Refusal:
    """The same for what was never there and for what another tenant has (promise P7)."""
    return Refusal(Code.NOT_FOUND, "There is no such thing in this tenant.", detail=detail)


def lacks(permission: str) -> Refusal:
    """RFC 6750, 3.1: the caller may do other things here, but not this.

    `permission` is what the call declares, not what somebody sent.
    """
    return Refusal(
        Code.INSUFFICIENT_SCOPE,
        f"This call needs the permission {permission}, which you do not have in this tenant.",
        detail=f"missing {permission}",
    )


def gives_more(detail: str) -> Refusal:
    """Nobody hands out, or takes control of, more than they have themselves."""
    return Refusal(
        Code.INSUFFICIENT_SCOPE,
        "Nobody gives or takes what they do not have: this is about permissions that you lack.",
        detail=detail,
    )


def bad_credentials(detail: str) -> Refusal:
    """The one answer to every bad key or refresh token, whatever is wrong with it."""
    return Refusal(Code.INVALID_GRANT, "The credentials are not valid.", detail=detail)


def bad_client(detail: str) -> Refusal:
    """The one answer to an unknown client and to a wrong client secret."""
    return Refusal(Code.INVALID_CLIENT, "Client authentication failed.", detail=detail)


def bad_token(detail: str) -> Refusal:
    """RFC 6750, 3.1: expired, revoked, malformed or otherwise not valid."""
    return Refusal(Code.INVALID_TOKEN, "The access token is not valid.", detail=detail)


def ended_token(detail: str) -> Ended:
    """The same to whoever shows it (RFC 6750, 3.1): revoked, or its key or user has changed."""
    return Ended(Code.INVALID_TOKEN, bad_token("").public, detail=detail)


def not_a_member(detail: str = "") -> Refusal:
    """The same whether the tenant exists or not (promise P7)."""
    return Refusal(Code.ACCESS_DENIED, "You have no role in this tenant.", detail=detail)
