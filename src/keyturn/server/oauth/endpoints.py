"""Revocation (RFC 7009) and introspection (RFC 7662).

Written on plain endpoints: Authlib's own refuse JWTs, never ask about revocation, and answer
an unknown hint with 401, where both RFCs want it ignored.
"""

from typing import Any

from ..domain.tokens import AccessToken, Acting
from ..services.introspection import Introspection, LiveAccess, LiveRefresh
from ..services.revoking import Revoking
from .calls import OAuthCall, missing

INACTIVE: dict[str, Any] = {"active": False}


def _token(call: OAuthCall) -> str:
    token = call.params.get("token")
    if token is None:
        raise missing("token")
    return token


class RevocationEndpoint:
    """`POST /auth/revoke`."""

    def __init__(self, revoking: Revoking) -> None:
        self._revoking = revoking

    async def revoke(self, call: OAuthCall) -> bool:
        """Ends the token; whoever sent it hears nothing of whether there was one (RFC 7009, 2.2).

        False for an API key that never was one.
        """
        return await self._revoking.presented(_token(call), call.client, call.actor)


class IntrospectionEndpoint:
    """`POST /auth/introspect`."""

    def __init__(self, introspection: Introspection, issuer: str, audience: str) -> None:
        self._introspection = introspection
        self._issuer = issuer
        self._audience = audience

    async def introspect(self, call: OAuthCall) -> dict[str, Any]:
        """The answer's body (RFC 7662, 2.2): exactly `active: false` for all that is not live."""
        live = await self._introspection.of(_token(call), call.client, call.address, call.tenant_id)
        if isinstance(live, LiveAccess):
            return self._access(live)
        if isinstance(live, LiveRefresh):
            return self._refresh(live)
        return INACTIVE

    def _access(self, live: LiveAccess) -> dict[str, Any]:
        token = live.token
        body: dict[str, Any] = {
            "active": True,
            "scope": " ".join(token.scope),
            "client_id": token.key_id,
            "token_type": "bearer",
            "exp": token.expires_at,
            "iat": token.issued_at,
            "sub": token.user_id,
            "aud": _audience(token, self._audience),
            "iss": self._issuer,
            "jti": token.jti,
            "sid": token.session_id,
            "epoch": token.epoch,
        }
        if token.tenant_id is not None:
            body["tenant_id"] = token.tenant_id
            body["roles"] = live.roles[token.tenant_id]
        else:
            body["tenants"] = live.roles
        if live.endpoints is not None:
            body["endpoints"] = live.endpoints
        if token.actor is not None:
            body["act"] = _act(token.actor)
        return body

    def _refresh(self, live: LiveRefresh) -> dict[str, Any]:
        return {
            "active": True,
            "client_id": live.state.key_id,
            "token_type": "refresh_token",
            "exp": live.state.expires_at,
            "sub": live.user_id,
            "iss": self._issuer,
            "sid": live.state.session_id,
        }


def _audience(token: AccessToken, own: str) -> str | tuple[str, ...]:
    if not token.audiences:
        return own
    return token.audiences if len(token.audiences) > 1 else token.audiences[0]


def _act(actor: Acting) -> dict[str, Any]:
    """RFC 8693, 4.1."""
    claim: dict[str, Any] = {"sub": actor.user_id, "client_id": actor.key_id}
    return claim if actor.before is None else {**claim, "act": _act(actor.before)}
