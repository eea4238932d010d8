"""What can go wrong, by whose fault.

KeyturnError
├── NoCredentials           nobody said who is asking
├── Refused                 the service said no: the same request gets the same answer
│   ├── InvalidRequest          RFC 6749, 5.2
│   ├── InvalidClient
│   ├── InvalidGrant            a wrong or dead API key, a dead refresh token
│   ├── UnauthorizedClient
│   ├── UnsupportedGrantType
│   ├── InvalidScope
│   ├── InvalidTarget           RFC 8707, 2
│   ├── InvalidToken            RFC 6750, 3.1
│   ├── InsufficientScope
│   └── AccessDenied            RFC 6749, 4.1.2.1: no role there, say
├── Unavailable             nobody answered in time, or the service has a fault: try again later
│   └── Throttled               too many requests (429)
└── UnexpectedAnswer        it is no token service that answered: look at the URL

No text of these holds an API key or a token.
"""

#: Longest text of somebody else's in an error, in characters.
MOST_TEXT = 200


class KeyturnError(Exception):
    """Everything that the client raises, but for ValueError of a wrong argument."""


class NoCredentials(KeyturnError):
    """There are no credentials, or they cannot be read."""


class Refused(KeyturnError):
    """The service said no. `code` is the RFC's, `status` HTTP's."""

    def __init__(self, code: str, description: str, status: int) -> None:
        super().__init__(code, description, status)
        self.code, self.description, self.status = code, description, status

    def __str__(self) -> str:
        return f"{self.code}: {self.description}" if self.description else self.code


class InvalidRequest(Refused):
    """The service does not understand the request, or some field is wrong."""


class InvalidClient(Refused):
    """The client could not be authenticated."""


class InvalidGrant(Refused):
    """The API key or refresh token is wrong, expired or revoked; all answer the same."""


class UnauthorizedClient(Refused):
    """The client may not use this grant."""


class UnsupportedGrantType(Refused):
    """The service does not answer this grant."""


class InvalidScope(Refused):
    """More is asked for than can be had, or what there is not."""


class InvalidTarget(Refused):
    """There is no such resource server (RFC 8707), or not for this user."""


class InvalidToken(Refused):
    """The access token is expired, revoked or none."""


class InsufficientScope(Refused):
    """The token lacks a permission."""


class AccessDenied(Refused):
    """Not in this tenant, or not from there."""


class Unavailable(KeyturnError):
    """A fault, not the caller's.

    `retry_after`: seconds that the service asks to wait, or until it is asked again; None if
    nobody knows.
    """

    def __init__(self, reason: str, retry_after: float | None = None) -> None:
        super().__init__(reason, retry_after)
        self.reason, self.retry_after = reason, retry_after

    def __str__(self) -> str:
        return self.reason


class Throttled(Unavailable):
    """Too many requests."""


class UnexpectedAnswer(KeyturnError):
    """The answer is none of a token service."""


_BY_CODE = {
    "invalid_request": InvalidRequest,
    "invalid_client": InvalidClient,
    "invalid_grant": InvalidGrant,
    "unauthorized_client": UnauthorizedClient,
    "unsupported_grant_type": UnsupportedGrantType,
    "invalid_scope": InvalidScope,
    "invalid_target": InvalidTarget,
    "invalid_token": InvalidToken,
    "insufficient_scope": InsufficientScope,
    "access_denied": AccessDenied,
}


def refusal(code: str, description: str, status: int) -> Refused:
    """The error of a code; `Refused` itself for a code that has none of its own."""
    return _BY_CODE.get(code, Refused)(printable(code), printable(description), status)


def printable(text: str) -> str:
    """Somebody else's text, fit for a log line."""
    kept = "".join(letter if letter.isprintable() else " " for letter in text[: MOST_TEXT + 1])
    return kept if len(kept) <= MOST_TEXT else kept[: MOST_TEXT - 1] + "…"
