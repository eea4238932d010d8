"""The operations of management, one module a noun."""

from ...services.management import Management
from ..operation import Operation
from .activity import activity_operations
from .api_keys import api_key_operations
from .audit import audit_operations
from .calling import calling_operations
from .endpoints import endpoint_operations
from .invitations import invitation_operations
from .members import member_operations
from .own_keys import own_key_operations
from .people import people_operations
from .resource_servers import resource_server_operations
from .roles import permission_operations, role_operations
from .service_users import service_user_operations
from .sessions import own_session_operations, session_operations
from .signing_keys import signing_key_operations
from .tenants import tenant_operations
from .webhooks import webhook_operations


def management_operations(management: Management, base: str) -> list[Operation]:
    """All of them. `base` is what stands before the paths in answers' `href`."""
    return [
        *tenant_operations(management.tenants, base),
        *role_operations(management.roles, base),
        *permission_operations(management.permissions),
        *service_user_operations(management.service_users, base),
        *member_operations(management.members, base),
        *invitation_operations(management.invitations, base),
        *people_operations(management.people, base),
        *endpoint_operations(management.catalogue, management.imports, management.explaining, base),
        *calling_operations(management.calling),
        *api_key_operations(management.api_keys, management.sessions, base),
        *own_key_operations(management.own_keys, base),
        *session_operations(management.sessions, management.revocations, base),
        *own_session_operations(management.own_sessions, base),
        *resource_server_operations(management.resource_servers, base),
        *signing_key_operations(management.signing_keys),
        *audit_operations(management.audit),
        *activity_operations(management.activity),
        *webhook_operations(management.webhooks, base),
    ]
