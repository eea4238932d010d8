"""The token service as a resource server sees it: where its endpoints are, and bounded calls.

Every call has a limit in time and in bytes; redirects are not followed, answers not unpacked.
"""

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from types import MappingProxyType
from typing import Any
from urllib.parse import quote_plus, urljoin, urlsplit, urlunsplit

import httpx

from ..client import Network, Refused
from ..client import Unavailable as ClientUnavailable
from ..client.credentials import service_url
from .flights import SingleFlight

#: The longest document that is read, in bytes, if nothing else is said.
MAX_DOCUMENT = 262_144
#: How long the service's metadata is believed, in seconds.
METADATA_AGE = 3_600.0
#: The longest `Retry-After` that is honoured, in seconds.
MAX_RETRY_AFTER = 30.0
_WELL_KNOWN = "/.well-known/oauth-authorization-server"
_NOTHING: Mapping[str, str] = MappingProxyType({})


class Fault(Exception):
    """The service did not answer as it should. The text is fit for the log.

    `retry_after` (seconds) is what it asked for; `status` is its HTTP status, if there was one.
    """

    def __init__(
        self, detail: str, *, status: int | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.retry_after = retry_after
        #: Whether it was this resource server's own credentials that were not enough.
        self.credentials_refused = status in {401, 403}

    @classmethod
    def of(cls, error: Exception) -> "Fault":
        """What an exception means. Never its text: it may quote a URL or a header."""
        if isinstance(error, Fault):
            return error
        fault = cls(type(error).__name__)
        if isinstance(error, Refused):
            fault.credentials_refused = True
        elif isinstance(error, ClientUnavailable) and error.retry_after is not None:
            fault.retry_after = min(MAX_RETRY_AFTER, error.retry_after)
        return fault


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer of the service's."""

    status: int
    headers: httpx.Headers
    body: bytes

    def document(self) -> Mapping[str, Any]:
        """The JSON object in it. Raises Fault for anything but 200 with one."""
        if self.status != 200:
            raise self.fault()
        try:
            value = json.loads(self.body)
        except (ValueError, RecursionError):
            raise Fault("an answer is no JSON") from None
        if not isinstance(value, dict):
            raise Fault("an answer is no JSON object")
        return value

    def fault(self) -> Fault:
        """What a status that was not hoped for means."""
        try:
            wait = min(MAX_RETRY_AFTER, max(0.0, float(self.headers["retry-after"])))
        except (KeyError, ValueError):
            wait = None
        return Fault(f"status {self.status}", status=self.status, retry_after=wait)


@dataclass(frozen=True, slots=True)
class Metadata:
    """What the service says of itself (RFC 8414), as far as it is needed here."""

    jwks_uri: str
    token_endpoint: str
    introspection_endpoint: str

    def beside(self, name: str) -> str:
        """The URL of what stands beside the token endpoint: `revocations`, `policy`, `verify`."""
        return urljoin(self.token_endpoint, name)


def metadata_url_of(issuer: str) -> str:
    """RFC 8414, 3.1: the well-known part goes between host and path."""
    parts = urlsplit(issuer)
    return urlunsplit(parts._replace(path=_WELL_KNOWN + parts.path.rstrip("/")))


def check_url(url: str, *, allow_http: bool, issuer: bool = False) -> str:
    """`url`. Raises ValueError unless it is https, or http to this machine or if allowed."""
    parts = urlsplit(url)
    plain = parts.scheme == "http" and (allow_http or _is_here(parts.hostname or ""))
    if not parts.hostname or parts.username is not None or not (plain or parts.scheme == "https"):
        raise ValueError("an https URL is needed (allow_http=True accepts http)")
    if parts.fragment or (issuer and parts.query):
        raise ValueError("the URL has a query or a fragment")
    return url


def is_below(url: str, base: str) -> bool:
    """Whether `url` is of the same scheme, host and port as `base`, with a longer path."""
    try:
        above, below = httpx.URL(base), httpx.URL(url)
    except httpx.InvalidURL:
        return False
    if (above.scheme, above.host, above.port) != (below.scheme, below.host, below.port):
        return False
    return below.path.startswith(above.path.rstrip("/") + "/") and "/../" not in below.path


def _is_here(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


class Service:
    """Calls to the token service.

    `auth` is for the resource server's own calls with a token, made once the token endpoint is
    known; None: it has no credentials. `username` and `api_key` are the same as client credentials
    (RFC 6749, 2.3.1). `network` is how it is reached. Times in seconds.
    """

    def __init__(
        self,
        issuer: str,
        *,
        metadata_url: str | None = None,
        allow_http: bool = False,
        timeout: float = 3.0,
        username: str | None = None,
        api_key: str | None = None,
        auth: Callable[[str], httpx.Auth] | None = None,
        network: Network | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.issuer = check_url(issuer, allow_http=allow_http, issuer=True)
        self._metadata_url = check_url(
            metadata_url or metadata_url_of(issuer), allow_http=allow_http
        )
        # Whoever trusts plain http for the issuer does so for what the issuer names.
        self._allow_http = allow_http or urlsplit(issuer).scheme == "http"
        self.timeout = timeout
        self._make_auth = auth
        self._auth: httpx.Auth | None = None
        self.basic: httpx.Auth | None = None
        if username is not None and api_key is not None:
            self.basic = httpx.BasicAuth(quote_plus(username), quote_plus(api_key))
        self._network = network
        # By scheme, as the metadata may lead from one to the other: what goes in the clear goes to
        # no proxy of the environment's, and https has its certificates checked, from anywhere.
        self._clients: dict[str, httpx.AsyncClient] = {}
        self._home: str | None = None
        self._monotonic = monotonic
        self._metadata: Metadata | None = None
        self._read_at = 0.0
        self._reading: SingleFlight[str, Metadata] = SingleFlight()

    def keep_to(self, url: str) -> None:
        """The credentials are of the service at `url` (as in `Credentials`) and for no other one.

        Metadata that names another one for them is a Fault.
        """
        self._home = service_url(url, allow_http=True)

    async def metadata(self) -> Metadata:
        """Where the endpoints are; what was read before, while it cannot be read. Raises Fault."""
        known = self._metadata
        if known is not None and self._monotonic() - self._read_at < METADATA_AGE:
            return known
        try:
            return await self._reading.run("metadata", self._read_metadata)
        except Fault:
            if known is None:
                raise
            return known

    def forget_metadata(self) -> None:
        """It is read again before it is used: something that it named was not there."""
        self._read_at = -METADATA_AGE

    async def _read_metadata(self) -> Metadata:
        reply = await self.fetch("GET", self._metadata_url)
        if reply.status != 200:
            raise Fault(f"{self._metadata_url} answers {reply.status}: is the issuer right?")
        document = reply.document()
        # RFC 8414, 3.3: to the letter, or it speaks for somebody else.
        if document.get("issuer") != self.issuer:
            there = ascii(str(document.get("issuer"))[:200])
            raise Fault(f"{self._metadata_url} is of the issuer {there}, not of {self.issuer!r}")
        names = ("jwks_uri", "token_endpoint", "introspection_endpoint")
        urls = [document.get(name) for name in names]
        try:
            found = [check_url(str(url or ""), allow_http=self._allow_http) for url in urls]
        except ValueError:
            raise Fault("the metadata names an endpoint that is no https URL") from None
        for named in found[1:]:
            if self._home is not None and not is_below(named, self._home):
                raise Fault(
                    f"the credentials found are of {self._home}, and {self._metadata_url} names"
                    f" {named[:200]!a} for them: their API key is not sent there"
                )
        if self._metadata is not None and self._metadata.token_endpoint != found[1]:
            self._auth = None
        self._metadata = Metadata(*found)
        self._read_at = self._monotonic()
        return self._metadata

    async def fetch(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] = _NOTHING,
        params: Mapping[str, str] = _NOTHING,
        form: Mapping[str, str] | None = None,
        auth: httpx.Auth | None = None,
        limit: int = MAX_DOCUMENT,
        wait: float = 0.0,
    ) -> Reply:
        """One call, at most `timeout` and `wait` together long. Raises Fault without an answer."""
        scheme = urlsplit(url).scheme
        client = self._clients.get(scheme)
        if client is None:
            client = (self._network or Network()).async_client(f"{scheme}://")
            self._clients[scheme] = client
        # Not unpacked: a small answer may not grow large here.
        sent = {"accept": "application/json", **headers, "accept-encoding": "identity"}
        request = client.build_request(
            method, url, headers=sent, params=params or None, data=form, timeout=None
        )
        try:
            async with asyncio.timeout(self.timeout + wait):
                response = await client.send(request, auth=auth, stream=True)
                try:
                    if "content-encoding" in response.headers:
                        raise Fault("an answer is packed although nobody asked for it")
                    body = bytearray()
                    async for chunk in response.aiter_bytes():
                        body += chunk
                        if len(body) > limit:
                            raise Fault("an answer is too long")
                finally:
                    await response.aclose()
        except Exception as error:  # of the transport, or of the credentials' own exchange
            raise Fault.of(error) from error
        return Reply(response.status_code, response.headers, bytes(body))

    async def ask(
        self,
        name: str,
        *,
        tenant_id: str | None,
        params: Mapping[str, str] = _NOTHING,
        headers: Mapping[str, str] = _NOTHING,
        limit: int = MAX_DOCUMENT,
        wait: float = 0.0,
    ) -> Reply:
        """One of this resource server's own calls, with its own token. Raises Fault."""
        metadata = await self.metadata()
        if self._auth is None:
            if self._make_auth is None:
                raise Fault("there are no credentials for the service")
            self._auth = self._make_auth(metadata.token_endpoint)
        tenant = {} if tenant_id is None else {"x-tenant-id": tenant_id}
        return await self.fetch(
            "GET",
            metadata.beside(name),
            headers={**headers, **tenant},
            params=params,
            auth=self._auth,
            limit=limit,
            wait=wait,
        )

    def renew(self) -> None:
        """For another event loop: connections of the one before are of no use there."""
        self._clients = {}

    async def close(self) -> None:
        """Ends the connections; a later call makes new ones."""
        clients, self._clients = self._clients, {}
        for client in clients.values():
            await client.aclose()
