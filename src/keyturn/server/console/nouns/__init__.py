"""The pages of a tenant, one module a noun, as the operations are."""

from ..frame import View
from . import (
    api_key_changes,
    api_key_making,
    api_keys,
    audit,
    overview,
    service_users,
    sessions,
    signing_keys,
    tenants,
)


def noun_views() -> list[View]:
    """All of them."""
    return [
        *api_key_changes.views(),
        *api_key_making.views(),
        *api_keys.views(),
        *audit.views(),
        *overview.views(),
        *service_users.views(),
        *sessions.views(),
        *signing_keys.views(),
        *tenants.views(),
    ]
