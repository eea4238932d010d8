"""The tables, for queries. `migrations/` makes them; a test holds one against the other."""

from .base import metadata
from .catalogue import endpoints, kept_answers, permissions
from .identity import (
    api_keys,
    invitations,
    memberships,
    passwords,
    roles,
    tenant_tree,
    tenants,
    users,
)
from .tokens import audit_events, revocations, sessions, signing_keys

__all__ = [
    "api_keys",
    "audit_events",
    "endpoints",
    "invitations",
    "kept_answers",
    "memberships",
    "metadata",
    "passwords",
    "permissions",
    "revocations",
    "roles",
    "sessions",
    "signing_keys",
    "tenant_tree",
    "tenants",
    "users",
]
