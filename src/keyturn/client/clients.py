"""The token service's own calls, one method each."""

from collections.abc import Callable
from typing import Generic, Self, TypeVar

from .calls import Call, Grant, Service, Words
from .credentials import Credentials
from .errors import NoCredentials, UnexpectedAnswer
from .running import AsyncRunner, Network, Runner
from .steps import DEADLINE, Patience, Steps, answered, system_clock
from .tokens import Introspection, Me, Tokens, introspection_of, me_of, tokens_of

T = TypeVar("T")
R = TypeVar("R", Runner, AsyncRunner)
_MOST_PAGES = 1000


class _Calls(Generic[R]):
    """What both clients have: whom they ask, as whom."""

    _kind: Callable[[Network, str], R]

    def __init__(
        self,
        url: str,
        username: str | None = None,
        api_key: str | None = None,
        *,
        network: Network | None = None,
        deadline: float = DEADLINE,
        allow_http: bool = False,
    ) -> None:
        self._service = Service.at(url, allow_http=allow_http)
        self._credentials = None
        if username is not None and api_key is not None:
            self._credentials = Credentials(url, username, api_key)
        elif username is not None or api_key is not None:
            raise ValueError("username and api_key go together")
        self._deadline = deadline
        self._runner: R = type(self)._kind(network or Network(), self._service.url)

    @classmethod
    def from_credentials(
        cls,
        credentials: Credentials,
        *,
        network: Network | None = None,
        deadline: float = DEADLINE,
        allow_http: bool = False,
    ) -> Self:
        """As those credentials say, but for their tenant: each call names its own."""
        return cls(
            credentials.url,
            credentials.username,
            credentials.api_key,
            network=network,
            deadline=deadline,
            allow_http=allow_http,
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._service.url!r})"

    def _asker(self) -> Credentials:
        if self._credentials is None:
            raise NoCredentials("this call takes a client with username and api_key")
        return self._credentials

    def _tokens(self, call: Call) -> Steps[Tokens]:
        body, asked = yield from answered(call, self._patience())
        return tokens_of(body, asked.wall)

    def _read(self, call: Call, read: Callable[[bytes], T]) -> Steps[T]:
        body, _ = yield from answered(call, self._patience())
        return read(body)

    def _me(self, token: str) -> Steps[Me]:
        whole, after = yield from self._read(self._service.me(token), me_of)
        roles = list(whole.roles)
        for _ in range(_MOST_PAGES):
            if after is None:
                return Me(whole.sub, whole.username, whole.kind, whole.api_key_id, tuple(roles))
            page, after = yield from self._read(self._service.me(token, after), me_of)
            roles += page.roles
        raise UnexpectedAnswer("the caller's roles do not end")

    def _patience(self) -> Patience:
        return Patience(system_clock, self._deadline)


class TokenClient(_Calls[Runner]):
    """Calls the token service, in the calling thread; threads may share it.

    `url` is as in `Credentials`. Calls that need no API key need no `username` and `api_key`;
    those that do raise NoCredentials. Faults are tried again until `deadline` (seconds) ends.
    Every call raises KeyturnError, and ValueError for arguments that cannot be.
    """

    _kind = Runner

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the connections."""
        self._runner.close()

    def exchange(
        self,
        *,
        tenant: str | None = None,
        scope: Words | None = None,
        resource: Words | None = None,
        grant: Grant = "password",
    ) -> Tokens:
        """The client's API key for tokens: of one tenant, narrowed to permissions (`scope`), for
        resource servers (`resource`). `client_credentials` gives no refresh token.
        """
        return self._runner.run(
            self._tokens(
                self._service.exchange(
                    self._asker(), grant=grant, tenant=tenant, scope=scope, resource=resource
                )
            )
        )

    def refresh(
        self,
        refresh_token: str,
        *,
        tenant: str | None = None,
        scope: Words | None = None,
        resource: Words | None = None,
    ) -> Tokens:
        """A refresh token for the next tokens; it works once. Narrowing as in `exchange`.

        Safe to try again at once: within seconds the service gives the same successor.
        Raises InvalidGrant when the session has ended.
        """
        return self._runner.run(
            self._tokens(
                self._service.refresh(refresh_token, tenant=tenant, scope=scope, resource=resource)
            )
        )

    def exchange_token(
        self,
        token: str,
        *,
        tenant: str | None = None,
        scope: Words | None = None,
        resource: Words | None = None,
        endpoints: Words | None = None,
        actor: str | Credentials | None = None,
    ) -> Tokens:
        """An access token for one that may do less: for a tenant, permissions, resource servers,
        `endpoints` of the catalogue by id (RFC 8693). It ends when `token` does.

        `actor`: who acts for the token's user from now on, by an access token or by credentials.
        """
        return self._runner.run(
            self._tokens(
                self._service.exchange_token(
                    token,
                    tenant=tenant,
                    scope=scope,
                    resource=resource,
                    endpoints=endpoints,
                    actor=actor,
                )
            )
        )

    def switch_tenant(self, token: str, tenant: str) -> Tokens:
        """An access token of one of the tenants that `token` names."""
        return self._runner.run(self._tokens(self._service.exchange_token(token, tenant=tenant)))

    def revoke(self, token: str) -> None:
        """Ends an access token, or a refresh token with its session (RFC 7009).

        A token that is dead or was none is no error.
        """
        self._runner.run(self._read(self._service.revoke(token), _nothing))

    def introspect(self, token: str, tenant: str | None = None) -> Introspection:
        """What a token is worth now (RFC 7662), in `tenant` if given.

        The client's user needs `tokens:introspect` in a tenant of the token.
        """
        return self._runner.run(
            self._read(self._service.introspect(token, self._asker(), tenant), introspection_of)
        )

    def me(self, token: str) -> Me:
        """Who an access token's user is, with all roles in all tenants that both have now."""
        return self._runner.run(self._me(token))


class AsyncTokenClient(_Calls[AsyncRunner]):
    """The same for asyncio, in one event loop."""

    _kind = AsyncRunner

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Ends the connections."""
        await self._runner.aclose()

    async def exchange(
        self,
        *,
        tenant: str | None = None,
        scope: Words | None = None,
        resource: Words | None = None,
        grant: Grant = "password",
    ) -> Tokens:
        """As `TokenClient.exchange`."""
        return await self._runner.run(
            self._tokens(
                self._service.exchange(
                    self._asker(), grant=grant, tenant=tenant, scope=scope, resource=resource
                )
            )
        )

    async def refresh(
        self,
        refresh_token: str,
        *,
        tenant: str | None = None,
        scope: Words | None = None,
        resource: Words | None = None,
    ) -> Tokens:
        """As `TokenClient.refresh`."""
        return await self._runner.run(
            self._tokens(
                self._service.refresh(refresh_token, tenant=tenant, scope=scope, resource=resource)
            )
        )

    async def exchange_token(
        self,
        token: str,
        *,
        tenant: str | None = None,
        scope: Words | None = None,
        resource: Words | None = None,
        endpoints: Words | None = None,
        actor: str | Credentials | None = None,
    ) -> Tokens:
        """As `TokenClient.exchange_token`."""
        return await self._runner.run(
            self._tokens(
                self._service.exchange_token(
                    token,
                    tenant=tenant,
                    scope=scope,
                    resource=resource,
                    endpoints=endpoints,
                    actor=actor,
                )
            )
        )

    async def switch_tenant(self, token: str, tenant: str) -> Tokens:
        """As `TokenClient.switch_tenant`."""
        return await self._runner.run(
            self._tokens(self._service.exchange_token(token, tenant=tenant))
        )

    async def revoke(self, token: str) -> None:
        """As `TokenClient.revoke`."""
        await self._runner.run(self._read(self._service.revoke(token), _nothing))

    async def introspect(self, token: str, tenant: str | None = None) -> Introspection:
        """As `TokenClient.introspect`."""
        return await self._runner.run(
            self._read(self._service.introspect(token, self._asker(), tenant), introspection_of)
        )

    async def me(self, token: str) -> Me:
        """As `TokenClient.me`."""
        return await self._runner.run(self._me(token))


def _nothing(body: bytes) -> None:
    pass
