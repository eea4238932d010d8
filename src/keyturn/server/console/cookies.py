"""The console's two cookies: who signed in, and which browser this is before anybody did."""

import secrets

from starlette.requests import Request
from starlette.responses import Response


class Cookies:
    """Reads and sets them.

    By https their names begin with `__Host-`: then a browser takes them from this very host alone,
    with `Secure` and for all paths (RFC 6265bis, 4.1.3.2), and no other host can plant one. Plain
    http is for trying things out on one's own machine, where browsers refuse such names.
    """

    def __init__(self, *, https: bool) -> None:
        prefix = "__Host-" if https else ""
        self._secure = https
        self._signed_in = f"{prefix}keyturn"
        self._visitor = f"{prefix}keyturn-visitor"

    def read(self, request: Request) -> str:
        """The sign-in that the browser shows; empty for none."""
        return self._value(request, self._signed_in)

    def visitor(self, request: Request) -> str:
        """What forms carry before anybody signed in; a new one for a new browser.

        The cookie's value itself (a double submit): what the form changes is nobody's yet.
        """
        known: str | None = getattr(request.state, "visitor", None)
        if known is None:
            known = self._value(request, self._visitor) or secrets.token_urlsafe(24)
            request.state.visitor = known
        return known

    def has_visitor(self, request: Request) -> bool:
        """Whether the browser has that cookie."""
        return bool(self._value(request, self._visitor))

    def set_visitor(self, response: Response, value: str) -> None:
        """Gives the browser that cookie, until it is closed."""
        self._set(response, self._visitor, value)

    def sign_in(self, response: Response, cookie: str) -> None:
        """Gives the browser a sign-in, until it is closed or the sign-in ends."""
        self._set(response, self._signed_in, cookie)

    def sign_out(self, response: Response) -> None:
        """Takes the sign-in away. (The other one is only what forms carry, and stays.)"""
        response.delete_cookie(self._signed_in, secure=self._secure, httponly=True, samesite="lax")

    def _value(self, request: Request, name: str) -> str:
        # A cookie named twice may be planted: no browser of ours sends that.
        values = [
            value
            for header in request.headers.getlist("cookie")
            for key, _, value in (part.strip().partition("=") for part in header.split(";"))
            if key == name
        ]
        return values[0] if len(values) == 1 and len(values[0]) <= 512 else ""

    def _set(self, response: Response, name: str, value: str) -> None:
        response.set_cookie(
            name, value, path="/", secure=self._secure, httponly=True, samesite="lax"
        )
