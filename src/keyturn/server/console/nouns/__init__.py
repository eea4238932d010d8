"""The pages of a tenant, one module a noun, as the operations are."""

from ..frame import View
from . import (
    api_key_changes,
    api_key_making,
    api_keys,
    audit,
    endpoint_imports,
    endpoints,
    inspect,
    invitations,
    member_adding,
    members,
    overview,
    permissions,
    policy,
    resource_servers,
    role_editing,
    roles,
    service_users,
    sessions,
    signing_keys,
    tenant_tree,
    tenants,
    webhook_deliveries,
    webhooks,
)


def noun_views() -> list[View]:
    """All of them."""
    return [
        *api_key_changes.views(),
        *api_key_making.views(),
        *api_keys.views(),
        *audit.views(),
        *endpoint_imports.views(),
        *endpoints.views(),
        *inspect.views(),
        *invitations.views(),
        *member_adding.views(),
        *members.views(),
        *overview.views(),
        *permissions.views(),
        *policy.views(),
        *resource_servers.views(),
        *role_editing.views(),
        *roles.views(),
        *service_users.views(),
        *sessions.views(),
        *signing_keys.views(),
        *tenant_tree.views(),
        *tenants.views(),
        *webhook_deliveries.views(),
        *webhooks.views(),
    ]
