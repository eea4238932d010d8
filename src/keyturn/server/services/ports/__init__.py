"""What the services need of the outside. Each port is small; each has one contract suite.

Every method may raise `Unavailable` (domain.errors) when its store cannot answer in time, and
nothing else for a fault. Repositories never commit: `Store.transaction` does, or rolls back.
"""

from .revocation import RevocationList
from .storage import (
    ApiKeys,
    AuditLog,
    KeyLookup,
    KeyUse,
    Revocations,
    Roles,
    Sessions,
    SigningKeys,
    Store,
    Tail,
    Tenants,
    Transaction,
    Users,
)
from .tokens import AccessTokens, ApiKeyFormat, Clock, NewKey, PresentedKey, RefreshTokens

__all__ = [
    "AccessTokens",
    "ApiKeyFormat",
    "ApiKeys",
    "AuditLog",
    "Clock",
    "KeyLookup",
    "KeyUse",
    "NewKey",
    "PresentedKey",
    "RefreshTokens",
    "RevocationList",
    "Revocations",
    "Roles",
    "Sessions",
    "SigningKeys",
    "Store",
    "Tail",
    "Tenants",
    "Transaction",
    "Users",
]
