"""Exchange an API key, and keep the token fresh.

    from keyturn.client import ApiKeyAuth

    auth = ApiKeyAuth("https://iam.example", "svc@acme", key, tenant=T)
    client = httpx.Client(auth=auth)  # or httpx.AsyncClient
    client.get("https://assets.example/assets")

`TokenClient` and `AsyncTokenClient` make the service's calls one by one. What goes wrong is a
`KeyturnError`; `errors` draws the tree.
"""

from .auth import ApiKeyAuth
from .cache import TokenCache
from .clients import AsyncTokenClient, TokenClient
from .credentials import Credentials
from .errors import (
    AccessDenied,
    InsufficientScope,
    InvalidClient,
    InvalidGrant,
    InvalidRequest,
    InvalidScope,
    InvalidTarget,
    InvalidToken,
    KeyturnError,
    NoCredentials,
    Refused,
    Throttled,
    UnauthorizedClient,
    Unavailable,
    UnexpectedAnswer,
    UnsupportedGrantType,
)
from .running import Network
from .tokens import Introspection, Me, TenantRole, Tokens

__all__ = [
    "AccessDenied",
    "ApiKeyAuth",
    "AsyncTokenClient",
    "Credentials",
    "InsufficientScope",
    "Introspection",
    "InvalidClient",
    "InvalidGrant",
    "InvalidRequest",
    "InvalidScope",
    "InvalidTarget",
    "InvalidToken",
    "KeyturnError",
    "Me",
    "Network",
    "NoCredentials",
    "Refused",
    "TenantRole",
    "Throttled",
    "TokenCache",
    "TokenClient",
    "Tokens",
    "UnauthorizedClient",
    "Unavailable",
    "UnexpectedAnswer",
    "UnsupportedGrantType",
]
