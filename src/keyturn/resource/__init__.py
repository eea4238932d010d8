"""Checks Keyturn's access tokens in a resource server: offline, and revocations within seconds.

verifier = TokenVerifier(issuer, audience, username=u, api_key=k, tenant=t)
app.add_middleware(TokenMiddleware, verifier=verifier)
# @requires("assets:write") on an endpoint, caller_of(request) in it
"""

from .callers import Caller
from .decorators import caller_of, permission, refused, requires, requires_any
from .errors import (
    InsufficientScope,
    InvalidRequest,
    InvalidToken,
    MissingToken,
    ResourceError,
    Unavailable,
    WrongTenant,
)
from .feed import RevocationFeed
from .introspection import Introspection
from .middleware import TokenMiddleware
from .revocation import Presented, RevocationSource, Stale, Verdict
from .tokens import AccessToken, Acting, VerifiedToken
from .verifier import TokenVerifier

__all__ = [
    "AccessToken",
    "Acting",
    "Caller",
    "InsufficientScope",
    "Introspection",
    "InvalidRequest",
    "InvalidToken",
    "MissingToken",
    "Presented",
    "ResourceError",
    "RevocationFeed",
    "RevocationSource",
    "Stale",
    "TokenMiddleware",
    "TokenVerifier",
    "Unavailable",
    "Verdict",
    "VerifiedToken",
    "WrongTenant",
    "caller_of",
    "permission",
    "refused",
    "requires",
    "requires_any",
]
