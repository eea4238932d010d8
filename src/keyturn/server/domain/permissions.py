"""Keyturn's own permissions and the built-in roles, which exist in every tenant."""

import re

from .errors import invalid_request
from .model import Role

# `resource:action`, or with more levels (`assets:types:read`).
_PERMISSION = re.compile(r"[a-z0-9][a-z0-9._-]*(?::[a-z0-9][a-z0-9._-]*)+")
_MAX_PERMISSION = 100

TENANTS_READ = "tenants:read"
TOKENS_INTROSPECT = "tokens:introspect"
TOKENS_REVOKE = "tokens:revoke"

#: What Keyturn itself asks for. Resource servers add their own (`assets:write`).
OWN: frozenset[str] = frozenset(
    {
        TENANTS_READ,
        "tenants:write",
        "users:read",
        "users:write",
        "invitations:accept",
        "roles:read",
        "roles:write",
        "keys:read",
        "keys:write",
        "endpoints:read",
        "endpoints:write",
        "audit:read",
        TOKENS_INTROSPECT,
        TOKENS_REVOKE,
        "sessions:read",
        "resource-servers:read",
        "resource-servers:write",
        "signing-keys:read",
        "signing-keys:write",
        "webhooks:read",
        "webhooks:write",
    }
)

#: With one of these a caller creates users, invites them, or changes what they may do. What they
#: open can't stand on a key's allow-list: a narrowed key must not make itself a wider one.
ADMINISTERING: frozenset[str] = frozenset({"users:write", "roles:write", "tenants:write"})

#: Fixed ids, so that every installation and every migration means the same rows.
BUILT_IN_ROLES: tuple[Role, ...] = (
    Role(
        "00000000-0000-7000-8000-000000000001",
        "tenant-admin",
        OWN,
        description="Administers the tenant and those below it.",
    ),
    Role(
        "00000000-0000-7000-8000-000000000002",
        "editor",
        frozenset(
            {
                TENANTS_READ,
                "users:read",
                "invitations:accept",
                "roles:read",
                "keys:read",
                "keys:write",
                "endpoints:read",
                "endpoints:write",
            }
        ),
        description="Reads the tenant, and changes its API keys and endpoints.",
    ),
    Role(
        "00000000-0000-7000-8000-000000000003",
        "viewer",
        frozenset({TENANTS_READ, "users:read", "roles:read", "keys:read", "endpoints:read"}),
        description="Reads the tenant, and changes nothing.",
    ),
    Role(
        "00000000-0000-7000-8000-000000000004",
        "auditor",
        frozenset({TENANTS_READ, "audit:read"}),
        description="Reads what was done in the tenant.",
    ),
)

TENANT_ADMIN, EDITOR, VIEWER, AUDITOR = BUILT_IN_ROLES


def is_permission(text: str) -> bool:
    """Whether `text` can name a permission: `resource:action`, at most 100 characters."""
    return len(text) <= _MAX_PERMISSION and _PERMISSION.fullmatch(text) is not None


def check_permission(name: str, field: str) -> str:
    """`name`, if it can name a permission. Raises Refusal `invalid_request` for `field`."""
    if not is_permission(name):
        raise invalid_request(
            "A permission is written resource:action, in lower-case letters, digits and ._- "
            "(at most 100 characters).",
            field=field,
        )
    return name
