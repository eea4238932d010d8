"""The pages of a tenant, one module a noun, as the operations are."""

from ..frame import View
from . import service_users, tenants


def noun_views() -> list[View]:
    """All of them."""
    return [*tenants.views(), *service_users.views()]
