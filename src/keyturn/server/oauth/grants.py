"""The grants. Each is Authlib's own, with the two steps that wait put around it.

Authlib is synchronous, so each grant first fetches what it will be asked (`fetch`), then lets
Authlib decide over it, and what has to be spent is spent (`spend`) between Authlib's decision
and its answer: never before a check, never after a token was made.
"""

from typing import Any, Protocol

from authlib.oauth2.rfc6749 import ClientMixin, OAuth2Request, TokenMixin
from authlib.oauth2.rfc6749.grants import (
    ClientCredentialsGrant,
    RefreshTokenGrant,
    ResourceOwnerPasswordCredentialsGrant,
)
from authlib.oauth2.rfc6749.requests import BasicOAuth2Payload

from ..domain.authority import Authority, parse_scope
from ..domain.errors import bad_credentials
from ..domain.model import KeyHash, KeyRecord
from ..domain.sessions import RefreshState
from ..services.credentials import NOTHING, ClientCredentials, Credentials, Evidence, names
from ..services.issuing import Issuing, Opened, TokenAnswer
from .calls import OAuthCall

AUTH_METHODS = ["none", "client_secret_basic", "client_secret_post"]

# Authlib refuses http:// by the request's URL. Whether plain http is allowed is decided once,
# at the start, from the settings; a proxy in front must not matter.
_URI = "https://issuer.invalid/token"


class Services(Protocol):
    """What the grants need of the server that registers them."""

    credentials: Credentials
    issuing: Issuing
    gives_refresh_tokens: bool


class TokenRequest(OAuth2Request):  # type: ignore[misc]  # authlib is untyped
    """A token request and what has been fetched and decided for it so far."""

    def __init__(self, call: OAuthCall) -> None:
        super().__init__("POST", _URI)
        self.payload = BasicOAuth2Payload(call.params)
        self.call = call
        self.evidence: Evidence = NOTHING
        self.opened: Opened | None = None
        self.authority: Authority | None = None
        self.answer: TokenAnswer | None = None
        self.rehash: KeyHash | None = None

    @property
    def form(self) -> Any:
        """The parameters, under the name that Authlib's grants read."""
        return self.call.params

    @property
    def record(self) -> KeyRecord | None:
        """The key of this request, proven or not."""
        return self.opened.record if self.opened else self.evidence.record


class KeyClient(ClientMixin):  # type: ignore[misc]  # authlib is untyped
    """An OAuth client: whoever holds the key. It is not a thing of its own in Keyturn."""

    def __init__(self, method: str) -> None:
        self.method = method

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        """Authentication was checked as it was presented."""
        return method == self.method

    def check_grant_type(self, grant_type: str) -> bool:
        """Grants are switched on and off for all clients at once (setting `grants`)."""
        return True


class SessionToken(TokenMixin):  # type: ignore[misc]  # authlib is untyped
    """An opened refresh token, in Authlib's terms."""

    def __init__(self, opened: Opened) -> None:
        self.opened = opened

    def check_client(self, client: KeyClient) -> bool:
        """Whoever authenticated did so with this session's key (`RefreshGrant.fetch`)."""
        return True

    def get_scope(self) -> str:
        """All that was first granted, in any tenant."""
        tenants = self.opened.state.ceiling.tenants or {}
        return " ".join(sorted(frozenset().union(*(c.permissions for c in tenants.values()))))


class _Phases:
    """What the grants share."""

    TOKEN_ENDPOINT_AUTH_METHODS = AUTH_METHODS
    request: TokenRequest
    server: "Services"

    @property
    def credentials(self) -> Credentials:
        return self.server.credentials

    @property
    def issuing(self) -> Issuing:
        return self.server.issuing

    async def fetch(self) -> None:
        """Reads all that the decision needs. Raises Unavailable."""
        raise NotImplementedError

    async def spend(self) -> None:
        """Spends what the request uses up. Raises Refusal, Unavailable."""

    def _tenants(self) -> list[str] | None:
        tenant_id = self.request.call.tenant_id
        return None if tenant_id is None else [tenant_id]

    def _exchange(self, with_refresh: bool) -> dict[str, Any]:
        record, authority = self.request.evidence.record, self.request.authority
        assert record is not None  # noqa: S101 - for mypy: the grant was validated
        assert authority is not None  # noqa: S101
        answer = self.issuing.exchange(record, authority, with_refresh=with_refresh)
        self.request.answer = answer
        return token_body(answer)

    def _authorise(self) -> None:
        record = self.request.evidence.record
        assert record is not None  # noqa: S101 - for mypy: it is genuine
        scope = parse_scope(self.request.payload.scope)
        self.request.authority = self.issuing.authorise(record, self.request.call.tenant_id, scope)


class PasswordGrant(_Phases, ResourceOwnerPasswordCredentialsGrant):  # type: ignore[misc]
    """RFC 6749, 4.3. The password is an API key, never a human's password."""

    async def fetch(self) -> None:
        text = self.request.form.get("password", "")
        call = self.request.call
        self.request.evidence = await self.credentials.examine(text, call.address, self._tenants())

    def authenticate_user(self, username: str, password: str) -> KeyRecord:
        """The key, if it is genuine and the username is its user's. One answer otherwise."""
        evidence = self.request.evidence
        if evidence.record is None or not evidence.genuine:
            raise bad_credentials(evidence.why)
        if not evidence.named(username):
            raise bad_credentials("the key is another user's")
        return evidence.record

    def validate_requested_scope(self) -> None:
        self._authorise()

    def generate_token(self, **_: Any) -> dict[str, Any]:
        return self._exchange(with_refresh=self.server.gives_refresh_tokens)


class ClientGrant(_Phases, ClientCredentialsGrant):  # type: ignore[misc]
    """RFC 6749, 4.4. The client secret is an API key. No refresh token (4.4.3)."""

    TOKEN_ENDPOINT_AUTH_METHODS = AUTH_METHODS[1:]

    async def fetch(self) -> None:
        call = self.request.call
        self.request.evidence = await self.credentials.examine(
            call.client.secret, call.address, self._tenants()
        )

    def validate_requested_scope(self) -> None:
        self._authorise()

    def generate_token(self, **_: Any) -> dict[str, Any]:
        return self._exchange(with_refresh=False)


class RefreshGrant(_Phases, RefreshTokenGrant):  # type: ignore[misc]
    """RFC 6749, 6, with rotation (RFC 9700, 4.14)."""

    next_state: RefreshState
    refused = ""

    async def fetch(self) -> None:
        text = self.request.form.get("refresh_token", "")
        call = self.request.call
        opened = await self.issuing.open(text, call.address, call.tenant_id)
        if isinstance(opened, Opened):
            self.request.opened = opened
        else:
            self.request.evidence, self.refused = opened, opened.why
        if call.client.secret:
            self.request.evidence = await self.credentials.examine(
                call.client.secret, call.address, ()
            )

    def authenticate_refresh_token(self, refresh_token: str) -> SessionToken:
        """The session's token; whether its generation is live, `spend` will tell."""
        if self.request.opened is None:
            raise bad_credentials(self.refused)
        return SessionToken(self.request.opened)

    async def spend(self) -> None:
        opened = self.request.opened
        assert opened is not None  # noqa: S101 - for mypy: the grant was validated
        scope = parse_scope(self.request.payload.scope)
        tenant_id = self.request.call.tenant_id
        self.request.authority = self.issuing.reauthorise(opened, tenant_id, scope)
        self.next_state = await self.issuing.spend(opened, self.request.call.actor)

    def authenticate_user(self, refresh_token: SessionToken) -> KeyRecord:
        return refresh_token.opened.record

    def generate_token(self, **_: Any) -> dict[str, Any]:
        opened, authority = self.request.opened, self.request.authority
        assert opened is not None  # noqa: S101 - for mypy: the grant was validated
        assert authority is not None  # noqa: S101
        answer = self.issuing.refreshed(opened, authority, self.next_state)
        self.request.answer = answer
        return token_body(answer)

    def revoke_old_credential(self, refresh_token: SessionToken) -> None:
        """Nothing is left to do: it was spent before the new one was made."""


def authenticate(request: TokenRequest) -> KeyClient | None:
    """The client of a request, or None: Authlib answers `invalid_client`, always the same.

    A client that only names itself must name the key it uses, or its user. That is asked only
    of a genuine key or refresh token: all others get their grant's one answer, `invalid_grant`.
    """
    client, evidence = request.call.client, request.evidence
    if request.payload.grant_type == "password":
        # A client secret can only be the key itself, once more.
        known = not client.secret or client.secret == request.form.get("password")
        known = known and (not evidence.genuine or _names(evidence.record, client))
    elif client.secret:
        known = evidence.genuine and client.client_id is not None
        known = known and _names(evidence.record, client) and _owns_session(request)
    else:
        known = request.opened is None or _names(request.opened.record, client)
    return KeyClient(client.method) if known else None


def _names(record: KeyRecord | None, client: ClientCredentials) -> bool:
    return client.client_id is None or (record is not None and names(record, client.client_id))


def _owns_session(request: TokenRequest) -> bool:
    opened, record = request.opened, request.evidence.record
    return opened is None or (record is not None and record.key_id == opened.record.key_id)


def token_body(answer: TokenAnswer) -> dict[str, Any]:
    """The answer's fields (RFC 6749, 5.1), in the order its readers expect."""
    body: dict[str, Any] = {"access_token": answer.access_token}
    if answer.refresh_token is not None:
        body["refresh_token"] = answer.refresh_token
    body["token_type"] = "bearer"  # noqa: S105 - RFC 6750's name
    body["expires_in"] = answer.expires_in
    if answer.refresh_expires_in is not None:
        body["refresh_expires_in"] = answer.refresh_expires_in
    body["scope"] = " ".join(answer.scope)
    return body


GRANTS: dict[str, type[_Phases]] = {
    "password": PasswordGrant,
    "client_credentials": ClientGrant,
    "refresh_token": RefreshGrant,
}
