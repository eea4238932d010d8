"""The service's calls as plain values: what is sent, without sending it."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import quote_plus, urlencode

from .. import __version__
from .credentials import Credentials, sendable, service_url

TOKEN_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"  # noqa: S105
_ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105

#: How an API key is exchanged. `client_credentials` gives no refresh token.
Grant = Literal["password", "client_credentials"]
Words = str | Sequence[str]

#: Longest answer, in bytes; a page of `/users/me` may be longer.
MAX_ANSWER, _MAX_PAGE = 65536, 4 * 1024 * 1024
#: Tenants on a page of `/users/me`.
_PAGE = 200


@dataclass(frozen=True, slots=True)
class Call:
    """One request. `secrets` are never told, not even when the answer tells them."""

    method: str
    url: str
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    body: bytes | None = field(default=None, repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)
    max_answer: int = MAX_ANSWER


@dataclass(frozen=True, slots=True)
class Service:
    """Makes the calls to one service. Raises ValueError as `service_url` does."""

    url: str

    @classmethod
    def at(cls, url: str, *, allow_http: bool = False) -> "Service":
        """The service of a URL as in `Credentials`."""
        return cls(service_url(url, allow_http=allow_http))

    def exchange(
        self,
        credentials: Credentials,
        *,
        grant: Grant = "password",
        tenant: str | None = None,
        scope: Words | None = None,
        resource: Words | None = None,
    ) -> Call:
        """An API key for tokens (RFC 6749, 4.3 and 4.4)."""
        form: list[tuple[str, str]] = [("grant_type", grant)]
        if grant == "password":
            form += [("username", credentials.username), ("password", credentials.api_key)]
        else:
            form += [("client_id", credentials.username), ("client_secret", credentials.api_key)]
        form += _narrowed(scope, resource)
        return self._post("/auth/token", form, (credentials.api_key,), tenant=tenant)

    def refresh(
        self,
        refresh_token: str,
        *,
        tenant: str | None = None,
        scope: Words | None = None,
        resource: Words | None = None,
    ) -> Call:
        """A refresh token for new tokens (RFC 6749, 6)."""
        form = [("grant_type", "refresh_token"), ("refresh_token", refresh_token)]
        form += _narrowed(scope, resource)
        return self._post("/auth/token", form, (refresh_token,), tenant=tenant)

    def exchange_token(
        self,
        token: str,
        *,
        tenant: str | None = None,
        scope: Words | None = None,
        resource: Words | None = None,
        endpoints: Words | None = None,
        actor: str | Credentials | None = None,
    ) -> Call:
        """An access token for one that may do less, or for whoever acts (RFC 8693)."""
        form = [
            ("grant_type", TOKEN_EXCHANGE),
            ("subject_token", token),
            ("subject_token_type", _ACCESS_TOKEN),
            *_narrowed(scope, resource),
        ]
        if endpoints is not None:
            form.append(("endpoints", _spaced(endpoints)))
        secrets = [token]
        if isinstance(actor, str):
            form += [("actor_token", actor), ("actor_token_type", _ACCESS_TOKEN)]
            secrets.append(actor)
        client = actor if isinstance(actor, Credentials) else None
        return self._post("/auth/token", form, tuple(secrets), tenant=tenant, client=client)

    def revoke(self, token: str) -> Call:
        """The end of a token (RFC 7009)."""
        return self._post("/auth/revoke", [("token", token)], (token,))

    def introspect(self, token: str, asker: Credentials, tenant: str | None = None) -> Call:
        """What a token is worth (RFC 7662)."""
        form = [("token", token)]
        return self._post("/auth/introspect", form, (token,), tenant=tenant, client=asker)

    def me(self, token: str, after: str | None = None) -> Call:
        """One page of who the token's user is."""
        query = {"limit": str(_PAGE)} | ({"after": after} if after is not None else {})
        headers = (*_COMMON, ("Authorization", f"Bearer {sendable(token, 'the token')}"))
        url = f"{self.url}/users/me?{urlencode(query)}"
        return Call("GET", url, headers, secrets=(token,), max_answer=_MAX_PAGE)

    def _post(
        self,
        path: str,
        form: list[tuple[str, str]],
        secrets: tuple[str, ...],
        *,
        tenant: str | None = None,
        client: Credentials | None = None,
    ) -> Call:
        headers = [*_COMMON, ("Content-Type", "application/x-www-form-urlencoded")]
        if tenant is not None:
            headers.append(("x-tenant-id", sendable(tenant, "the tenant")))
        if client is not None:
            # RFC 6749, 2.3.1: both are encoded as in a form first.
            pair = f"{quote_plus(client.username)}:{quote_plus(client.api_key)}"
            encoded = base64.b64encode(pair.encode()).decode()
            headers.append(("Authorization", f"Basic {encoded}"))
            secrets = (*secrets, client.api_key, encoded)
        # What is no text is no token: the service says so.
        body = urlencode(form, errors="replace").encode()
        return Call("POST", self.url + path, tuple(headers), body, secrets)


_COMMON = (
    ("Accept", "application/json"),
    # What is packed could unpack to any size.
    ("Accept-Encoding", "identity"),
    ("User-Agent", f"keyturn-client/{__version__}"),
)


def _narrowed(scope: Words | None, resource: Words | None) -> list[tuple[str, str]]:
    form = [] if scope is None else [("scope", _spaced(scope))]
    resources = [resource] if isinstance(resource, str) else resource or []
    return form + [("resource", identifier) for identifier in resources]


def _spaced(words: Words) -> str:
    return words if isinstance(words, str) else " ".join(words)
