"""The steps that all grants share, and what they need of the server."""

from typing import Protocol

from authlib.oauth2.rfc6749 import InvalidClientError

from ..services.audiences import Audiences
from ..services.credentials import Credentials
from ..services.issuing import Issuing
from ..services.refreshing import Refreshing
from ..services.token_exchange import TokenExchange
from .requests import AUTH_METHODS, KeyClient, TokenRequest, authenticate


class Services(Protocol):
    """What the grants need of the server that registers them."""

    credentials: Credentials
    issuing: Issuing
    refreshing: Refreshing
    audiences: Audiences
    exchange: TokenExchange
    gives_refresh_tokens: bool


class Phases:
    """What the grants share."""

    TOKEN_ENDPOINT_AUTH_METHODS = AUTH_METHODS
    GRANT_TYPE: str
    request: TokenRequest
    server: "Services"

    @property
    def credentials(self) -> Credentials:
        return self.server.credentials

    @property
    def issuing(self) -> Issuing:
        return self.server.issuing

    @property
    def refreshing(self) -> Refreshing:
        return self.server.refreshing

    async def fetch(self) -> None:
        """Reads all that the decision needs. Raises Unavailable."""
        raise NotImplementedError

    def authenticate_token_endpoint_client(self) -> KeyClient:
        """In place of Authlib's own, which would try all methods to find the one that was used.

        Raises InvalidClientError, always the same.
        """
        client = authenticate(self.request)
        if client is None or client.method not in self.TOKEN_ENDPOINT_AUTH_METHODS:
            raise InvalidClientError
        return client

    async def spend(self) -> None:
        """Spends what the request uses up. Raises Refusal, Unavailable."""

    def _tenants(self) -> list[str] | None:
        tenant_id = self.request.call.tenant_id
        return None if tenant_id is None else [tenant_id]
