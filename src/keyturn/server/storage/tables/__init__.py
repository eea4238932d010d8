"""The tables, for queries. `migrations/` makes them; a test holds one against the other."""

from .activity import activity, activity_cursor
from .base import metadata
from .catalogue import endpoints, kept_answers, permissions
from .identity import (
    api_keys,
    installation,
    invitations,
    memberships,
    passwords,
    roles,
    second_factors,
    tenant_tree,
    tenants,
    users,
)
from .tokens import audit_events, resource_servers, revocations, sessions, signing_keys
from .webhooks import webhook_deliveries, webhooks

__all__ = [
    "activity",
    "activity_cursor",
    "api_keys",
    "audit_events",
    "endpoints",
    "installation",
    "invitations",
    "kept_answers",
    "memberships",
    "metadata",
    "passwords",
    "permissions",
    "resource_servers",
    "revocations",
    "roles",
    "second_factors",
    "sessions",
    "signing_keys",
    "tenant_tree",
    "tenants",
    "users",
    "webhook_deliveries",
    "webhooks",
]
