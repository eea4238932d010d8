"""What is asked of the service: each call as one HTTP request."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import quote, urlencode

FORM = "application/x-www-form-urlencoded"
LOOPBACK = "127.0.0.1"
_USUAL_PORTS = (80, 443)


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request. Holds secrets: it stays out of logs and reprs."""

    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: str = field(default="", repr=False)

    def wire(self, port: int, host: str = LOOPBACK) -> str:
        """The request as it goes over the wire."""
        head = self.head(port, host)
        if self.body:
            head += f"Content-Length: {len(self.body)}\r\n"
        return f"{head}\r\n{self.body}"

    def head(self, port: int, host: str = LOOPBACK) -> str:
        """The same without its length, its body, and the empty line before that."""
        where = host if port in _USUAL_PORTS else f"{host}:{port}"
        lines = [f"{self.method} {self.path} HTTP/1.1", f"Host: {where}"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        return "\r\n".join([*lines, ""])


def form(path: str, headers: Mapping[str, str] | None = None, /, **params: str) -> Request:
    """A POST of a form."""
    return Request("POST", path, {"Content-Type": FORM, **(headers or {})}, urlencode(params))


@dataclass(frozen=True, slots=True)
class Calls:
    """The calls of one user. `base` is the path that all routes stand below, as `/iam`."""

    base: str
    username: str
    api_key: str = field(repr=False)

    def exchange(self) -> Request:
        """The password grant of RFC 6749, 4.3, with an API key for a password."""
        return form(
            f"{self.base}/auth/token",
            grant_type="password",
            username=self.username,
            password=self.api_key,
        )

    def client_credentials(self) -> Request:
        """The grant of RFC 6749, 4.4, with the key by HTTP Basic."""
        return form(f"{self.base}/auth/token", self._basic(), grant_type="client_credentials")

    def refresh(self) -> Request:
        """The refresh grant, without its body: each refresh token works once."""
        return Request("POST", f"{self.base}/auth/token", {"Content-Type": FORM})

    def introspect(self, token: str) -> Request:
        """What a token is worth (RFC 7662)."""
        return form(f"{self.base}/auth/introspect", self._basic(), token=token)

    def me(self, token: str) -> Request:
        """Who the holder of a token is."""
        return Request("GET", f"{self.base}/users/me", _bearer(token))

    def verify(self, token: str) -> Request:
        """What a proxy asks before it passes a call on."""
        return Request("GET", f"{self.base}/auth/verify", _bearer(token))

    def _basic(self) -> dict[str, str]:
        # Form-encoded first: RFC 6749, 2.3.1.
        text = f"{quote(self.username, safe='')}:{quote(self.api_key, safe='')}"
        return {"Authorization": f"Basic {base64.b64encode(text.encode()).decode()}"}


def _bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}
