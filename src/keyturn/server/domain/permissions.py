"""Keyturn's own permissions and the built-in roles, which exist in every tenant."""

from .model import Role

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
        "roles:read",
        "roles:write",
        "keys:read",
        "keys:write",
        "endpoints:read",
        "endpoints:write",
        "audit:read",
        TOKENS_INTROSPECT,
        TOKENS_REVOKE,
        "signing-keys:write",
    }
)

#: Fixed ids, so that every installation and every migration means the same rows.
BUILT_IN_ROLES: tuple[Role, ...] = (
    Role("00000000-0000-7000-8000-000000000001", "tenant-admin", OWN),
    Role(
        "00000000-0000-7000-8000-000000000002",
        "editor",
        frozenset(
            {
                TENANTS_READ,
                "users:read",
                "roles:read",
                "keys:read",
                "keys:write",
                "endpoints:read",
                "endpoints:write",
            }
        ),
    ),
    Role(
        "00000000-0000-7000-8000-000000000003",
        "viewer",
        frozenset({TENANTS_READ, "users:read", "roles:read", "keys:read", "endpoints:read"}),
    ),
    Role(
        "00000000-0000-7000-8000-000000000004",
        "auditor",
        frozenset({TENANTS_READ, "audit:read"}),
    ),
)

TENANT_ADMIN, EDITOR, VIEWER, AUDITOR = BUILT_IN_ROLES
