"""Authlib's authorization server over asynchronous services. The one module that bridges them.

Everything Authlib asks for is fetched before it is asked, so it runs pure: no thread, no second
engine, no greenlet (see `grants`).
"""

import logging
from collections.abc import Collection
from typing import Any

from authlib.oauth2 import OAuth2Error
from authlib.oauth2.rfc6749 import AuthorizationServer

from ..domain.authority import Authority
from ..domain.errors import Code, Refusal, bad_client
from ..domain.model import KeyRecord
from ..services.audiences import Audiences
from ..services.credentials import Credentials
from ..services.issuing import Issuing
from ..services.recent_keys import RecentKeys
from ..services.refreshing import Refreshing
from ..services.throttling import Throttling
from ..services.token_exchange import TokenExchange
from ..services.usage import Note, Usage
from .calls import OAuthCall, Parameter, missing
from .grants import GRANTS
from .requests import TokenRequest

# At DEBUG, Authlib's grants log whole tokens.
logging.getLogger("authlib").setLevel(logging.INFO)

# Authlib's error code → ours. Its descriptions quote the request, so fixed ones replace them.
_REFUSALS = {
    "invalid_request": (Code.INVALID_REQUEST, "The token request is malformed."),
    "invalid_grant": (Code.INVALID_GRANT, "The credentials are not valid."),
    "invalid_scope": (
        Code.INVALID_SCOPE,
        "The requested scope is malformed, or more than the credentials give.",
    ),
    "unauthorized_client": (Code.UNAUTHORIZED_CLIENT, "The client may not use this grant."),
    "unsupported_grant_type": (Code.UNSUPPORTED_GRANT_TYPE, "The grant type is not supported."),
}

# What Authlib misses by that same error, by grant type (RFC 6749, 4.3.2 and 6).
_REQUIRED: dict[str, tuple[Parameter, ...]] = {
    "password": ("username", "password"),
    "refresh_token": ("refresh_token",),
}

# What is worth a note in the audit trail: credentials that were not good, or not good enough.
_NOTED = {Code.INVALID_GRANT, Code.INVALID_CLIENT, Code.ACCESS_DENIED, Code.INVALID_SCOPE}


class TokenEndpoint(AuthorizationServer):  # type: ignore[misc]  # authlib is untyped
    """`POST /auth/token`: the phases that every grant shares."""

    def __init__(
        self,
        credentials: Credentials,
        issuing: Issuing,
        refreshing: Refreshing,
        usage: Usage,
        audiences: Audiences,
        exchange: TokenExchange,
        keys: RecentKeys,
        throttling: Throttling,
        grants: Collection[str],
    ) -> None:
        """`grants` are the grant types that are switched on."""
        super().__init__()
        self.credentials = credentials
        self.issuing = issuing
        self.refreshing = refreshing
        self.audiences = audiences
        self.exchange = exchange
        self._keys = keys
        self._throttling = throttling
        self.gives_refresh_tokens = "refresh_token" in grants
        self._usage = usage
        for name, grant in GRANTS.items():
            if name in grants:
                self.register_grant(grant)

    async def token(self, call: OAuthCall) -> dict[str, Any]:
        """The answer's body (RFC 6749, 5.1). Raises Refusal, Unavailable."""
        if "grant_type" not in call.params:
            raise missing("grant_type")
        request = TokenRequest(call, self._keys.reading())
        try:
            return await self._granted(request)
        except Refusal as refusal:
            if not request.reading.recent:
                self._note_refusal(request, refusal)
                raise
        counted = request.counted
        request = TokenRequest(call, self._keys.reading(anew=True))
        request.counted = counted
        try:
            return await self._granted(request)
        except Refusal as refusal:
            self._note_refusal(request, refusal)
            raise

    async def _granted(self, request: TokenRequest) -> dict[str, Any]:
        try:
            grant = self.get_token_grant(request)
            await grant.fetch()
            self._count(request)
            grant.validate_token_request()
            await grant.spend()
            body: dict[str, Any] = grant.create_token_response()[1]
        except OAuth2Error as error:
            raise _refusal(error, request) from None
        request.reading.keep()
        return body

    def _count(self, request: TokenRequest) -> None:
        """Once a request, its key known to be good, and nothing spent. Raises Throttled."""
        record = request.proven
        if record is not None and not request.counted:
            request.counted = True
            self._throttling.exchange(record, request.call.address)

    def save_token(self, token: dict[str, Any], request: TokenRequest) -> None:
        """Nothing is stored of a token; that it was given out is noted."""
        record, evidence = request.record, request.evidence
        assert record is not None  # noqa: S101 - for mypy: it was granted by one
        if request.subject is not None:
            self._usage.note(self._noted(request, None))
            return
        rehash, key = self.credentials.rehash(evidence), None
        if rehash is None and not evidence.ends_old:
            # All that the note would say.
            tenant_id = _tenant(record, request.authority)
            key = (record.key_id, request.payload.grant_type, tenant_id, request.call.address)
            if self._usage.again(key):
                return
        note = self._noted(request, None)
        self._usage.note(note, rehash, ends_old=evidence.ends_old, key=key)

    def _note_refusal(self, request: TokenRequest, refusal: Refusal) -> None:
        if refusal.code in _NOTED:
            self._usage.note(self._noted(request, refusal))

    def send_signal(self, name: str, *args: object, **kwargs: object) -> None:
        """Authlib's signals have no listener here."""

    def _noted(self, request: TokenRequest, refusal: Refusal | None) -> Note:
        record, authority, call = request.record, request.authority, request.call
        return Note(
            action="token.issued" if refusal is None else "token.refused",
            outcome="granted" if refusal is None else str(refusal.code),
            grant_type=str(request.payload.grant_type),
            user_id=record.user_id if record else None,
            key_id=record.key_id if record else None,
            tenant_id=_tenant(record, authority if refusal is None else None),
            address=call.address,
            why=refusal.detail if refusal else "",
            acting_user_id=request.acting.user_id if request.acting else None,
            acting_key_id=request.acting.key_id if request.acting else None,
            counts=request.subject is None,
        )


def _tenant(record: KeyRecord | None, authority: Authority | None) -> str | None:
    """Whose audit trail tells of it: the chosen tenant's, else that of the user's home."""
    if authority is not None and authority.tenant_id is not None:
        return authority.tenant_id
    return record.home_tenant_id if record is not None else None


def _refusal(error: OAuth2Error, request: TokenRequest) -> Refusal:
    found = _REFUSALS.get(error.error)
    if found is None:
        # Authlib knows that `authenticate` found no client; the evidence says why.
        why = request.evidence.why or "the key is another user's"
        return bad_client(why if request.evidence.presented else f"authlib: {error.error}")
    for name in _REQUIRED.get(str(request.payload.grant_type), ()):
        if error.error == "invalid_request" and name not in request.form:
            return missing(name)
    code, public = found
    return Refusal(code, public, detail=f"authlib: {error.error}")
