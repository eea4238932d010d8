"""What administrators do to their tenants, and everybody to what is their own."""

from dataclasses import dataclass

from .activity import ActivityReports
from .api_keys import ApiKeyManagement
from .audit import AuditTrail
from .calling import Calling
from .catalogue import Catalogue
from .explaining import Explaining
from .imports import Imports
from .invitations import InvitationManagement
from .members import MemberManagement
from .own_keys import OwnKeys
from .people import PeopleManagement
from .permissions import PermissionRegistry
from .resource_servers import ResourceServerManagement
from .revocations import RevocationManagement
from .roles import RoleManagement
from .service_users import ServiceUserManagement
from .sessions import OwnSessions, SessionManagement
from .signing_keys import SigningKeyManagement
from .tenants import TenantManagement
from .webhooks import WebhookManagement


@dataclass(frozen=True, slots=True)
class Management:
    """The services of management, one a noun."""

    tenants: TenantManagement
    roles: RoleManagement
    permissions: PermissionRegistry
    service_users: ServiceUserManagement
    members: MemberManagement
    invitations: InvitationManagement
    people: PeopleManagement
    catalogue: Catalogue
    imports: Imports
    explaining: Explaining
    calling: Calling
    api_keys: ApiKeyManagement
    own_keys: OwnKeys
    sessions: SessionManagement
    own_sessions: OwnSessions
    revocations: RevocationManagement
    resource_servers: ResourceServerManagement
    signing_keys: SigningKeyManagement
    audit: AuditTrail
    webhooks: WebhookManagement
    activity: ActivityReports
