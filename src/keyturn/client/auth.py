"""The API key as the authentication of an httpx client."""

import hashlib
import json
import re
from collections.abc import AsyncGenerator, Generator
from contextlib import aclosing, closing
from typing import Self, TypedDict, Unpack

import httpx

from .cache import TokenCache
from .calls import Grant, Service, Words
from .credentials import Credentials
from .keeper import Keeper
from .running import AsyncRunner, Network, Runner
from .steps import DEADLINE, Clock, system_clock

_INVALID_TOKEN = re.compile(r'\bBearer\b.*\berror\s*=\s*"?invalid_token\b', re.IGNORECASE)
_LONGEST_CHALLENGE = 2048


class Options(TypedDict, total=False):
    """What an `ApiKeyAuth` takes beside the credentials."""

    resource: Words | None
    scope: Words | None
    grant: Grant
    cache: TokenCache | None
    network: Network | None
    deadline: float
    allow_http: bool
    clock: Clock


class ApiKeyAuth(httpx.Auth):
    """Authenticates every request with an access token that it gets for an API key.

        auth = ApiKeyAuth("https://iam.example", "svc@acme", key, tenant=T)
        client = httpx.Client(auth=auth)
        client.get("https://assets.example/assets")

    The first request exchanges the key; the token is refreshed before it expires, once for any
    number of threads, tasks and event loops (asyncio) that share this object. A request whose token
    turns out to be dead (401, `invalid_token`) is sent again with a new one, once, if its body can
    be. Requests without `x-tenant-id` get it of `tenant`. Give the client to nobody else's
    address: whoever is sent a request sees the token.

    When no token can be got, requests raise the same error at once until it makes sense to ask
    again: after Retry-After (a minute at most), or pauses that grow from 0.2 to 10 seconds after a
    fault, and from 1 to 30 seconds after a refusal. A server that refuses new tokens too gets
    another one after pauses of 1 to 60 seconds; the 401 is the caller's meanwhile.

    `token_url` and `tenant` are as in `Credentials`; `scope` and `resource` narrow the token, as
    permissions and to resource servers. `cache` keeps it for the next process. `deadline` (seconds)
    bounds an exchange with all that is tried again; nobody waits for somebody else's longer than
    twice that. Plain http is for this machine alone unless `allow_http`. Raises ValueError for
    arguments that cannot be; requests raise KeyturnError.
    """

    def __init__(
        self,
        token_url: str,
        username: str,
        api_key: str,
        tenant: str | None = None,
        resource: Words | None = None,
        scope: Words | None = None,
        *,
        grant: Grant = "password",
        cache: TokenCache | None = None,
        network: Network | None = None,
        deadline: float = DEADLINE,
        allow_http: bool = False,
        clock: Clock = system_clock,
    ) -> None:
        credentials = Credentials(token_url, username, api_key, tenant)
        service = Service.at(token_url, allow_http=allow_http)
        self._url, self._username, self._tenant = service.url, username, tenant
        self._network = network or Network()
        exchange = service.exchange(
            credentials, grant=grant, tenant=tenant, scope=scope, resource=resource
        )
        told = [exchange.url, tenant, (exchange.body or b"").decode()]
        self._keeper = Keeper(
            exchange,
            service.refresh,
            # It holds an API key of 256 random bits, so nobody guesses what it is of.
            hashlib.sha256(json.dumps(told).encode()).hexdigest(),
            cache=cache,
            deadline=deadline,
            clock=clock,
        )

    @classmethod
    def from_credentials(cls, credentials: Credentials, **options: Unpack[Options]) -> Self:
        """As those credentials say, with the other arguments of above."""
        given = credentials
        return cls(given.url, given.username, given.api_key, given.tenant, **options)

    @classmethod
    def find(cls, **options: Unpack[Options]) -> Self:
        """For programs that run where somebody has logged in, or set the environment.

        As `Credentials.find`. Raises NoCredentials.
        """
        return cls.from_credentials(Credentials.find(), **options)

    def __repr__(self) -> str:
        return f"ApiKeyAuth({self._url!r}, {self._username!r}, tenant={self._tenant!r})"

    def sync_auth_flow(
        self, request: httpx.Request
    ) -> Generator[httpx.Request, httpx.Response, None]:
        """For httpx.Client."""
        again = _can_be_repeated(request)
        token = self._keeper.at_hand() or self._token()
        response = yield self._signed(request, token)
        if self._is_given_up(token, request, response) and again:
            token = self._keeper.at_hand() or self._token()
            response = yield self._signed(request, token)
            self._has_worked(token, request, response)

    async def async_auth_flow(
        self, request: httpx.Request
    ) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """For httpx.AsyncClient."""
        again = _can_be_repeated(request)
        token = self._keeper.at_hand() or await self._async_token()
        response = yield self._signed(request, token)
        if self._is_given_up(token, request, response) and again:
            token = self._keeper.at_hand() or await self._async_token()
            response = yield self._signed(request, token)
            self._has_worked(token, request, response)

    def _token(self) -> str:
        with closing(Runner(self._network, self._url)) as runner:
            return runner.run(self._keeper.token())

    async def _async_token(self) -> str:
        # A client of its own: another one's connections belong to another event loop.
        async with aclosing(AsyncRunner(self._network, self._url)) as runner:
            return await runner.run(self._keeper.token())

    def _is_given_up(self, token: str, request: httpx.Request, response: httpx.Response) -> bool:
        """Whether the answer says the token is dead, and it is not to be sent any more."""
        worked = self._has_worked(token, request, response)
        return not worked and self._keeper.drop(token, _origin(request))

    def _has_worked(self, token: str, request: httpx.Request, response: httpx.Response) -> bool:
        if _is_dead(response, token):
            return False
        self._keeper.worked(_origin(request))
        return True

    def _signed(self, request: httpx.Request, token: str) -> httpx.Request:
        request.headers["Authorization"] = f"Bearer {token}"
        if self._tenant is not None:
            request.headers.setdefault("x-tenant-id", self._tenant)
        return request


def _is_dead(response: httpx.Response, token: str) -> bool:
    """Whether the answer, of one who saw the token (no redirect's), says it is dead (RFC 6750)."""
    return (
        response.status_code == 401
        and response.request.headers.get("authorization") == f"Bearer {token}"
        and any(
            _INVALID_TOKEN.search(challenge[:_LONGEST_CHALLENGE])
            for challenge in response.headers.get_list("www-authenticate")
        )
    )


def _origin(request: httpx.Request) -> str:
    return f"{request.url.scheme}://{request.url.netloc.decode('ascii')}"


def _can_be_repeated(request: httpx.Request) -> bool:
    """Whether the body lies in memory. Asked before it is sent: others are gone then."""
    return isinstance(request.stream, httpx.ByteStream)
