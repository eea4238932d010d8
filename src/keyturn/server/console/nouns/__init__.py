"""The pages of a tenant, one module a noun, as the operations are."""

from ..frame import View
from . import audit, overview, service_users, sessions, signing_keys, tenants


def noun_views() -> list[View]:
    """All of them."""
    return [
        *audit.views(),
        *overview.views(),
        *service_users.views(),
        *sessions.views(),
        *signing_keys.views(),
        *tenants.views(),
    ]
