"""Where the parts of management meet."""

from .running import Running
from .services.management import Management
from .services.management.activity import ActivityReports
from .services.management.api_keys import ApiKeyManagement
from .services.management.audit import AuditTrail
from .services.management.calling import Calling
from .services.management.catalogue import Catalogue
from .services.management.changes import Changes
from .services.management.explaining import Explaining
from .services.management.imports import Imports
from .services.management.invitations import InvitationManagement
from .services.management.letters import Letters
from .services.management.members import MemberManagement
from .services.management.own_keys import OwnKeys
from .services.management.people import PeopleManagement
from .services.management.permissions import PermissionRegistry
from .services.management.resource_servers import ResourceServerManagement
from .services.management.revocations import RevocationManagement
from .services.management.roles import RoleManagement
from .services.management.service_users import ServiceUserManagement
from .services.management.sessions import OwnSessions, SessionManagement
from .services.management.signing_keys import SigningKeyManagement
from .services.management.tenants import TenantManagement
from .services.management.webhooks import WebhookManagement
from .services.ports import KeyLookup, Mailer, Store


def wire_management(
    running: Running, *, store: Store, lookup: KeyLookup, changes: Changes, mailer: Mailer
) -> Management:
    """The services of management."""
    settings, parts, passwords = running.settings, running.parts, running.passwords
    hooks, keyring = running.webhooks, running.keyring
    catalogue, explaining = Catalogue(store, changes), Explaining(store, lookup, running.clock)
    return Management(
        tenants=TenantManagement(store, changes),
        roles=RoleManagement(store, changes),
        permissions=PermissionRegistry(store, changes),
        service_users=ServiceUserManagement(store, changes, parts.key_format),
        members=MemberManagement(store, changes),
        invitations=InvitationManagement(
            store,
            changes,
            lookup,
            Letters(
                mailer,
                page=f"{settings.public_origin}/console/invitation",
                api=f"{settings.base_url}/invitations/accept",
            ),
        ),
        catalogue=catalogue,
        imports=Imports(changes),
        explaining=explaining,
        calling=Calling(store, catalogue, explaining),
        people=PeopleManagement(
            store, changes, passwords, lookup, parts.key_format, running.throttling
        ),
        api_keys=ApiKeyManagement(store, changes, parts.key_format),
        own_keys=OwnKeys(store, changes, parts.key_format, lookup),
        sessions=SessionManagement(store, changes, settings.lifetimes),
        own_sessions=OwnSessions(store, changes, settings.lifetimes, lookup),
        revocations=RevocationManagement(store, changes),
        resource_servers=ResourceServerManagement(
            store,
            changes,
            parts.signing_keys,
            keyring.read_now,
            audience=settings.audience,
            algorithm=settings.signing_algorithm,
        ),
        signing_keys=SigningKeyManagement(
            store, changes, parts.signing_keys, parts.sealer, keyring.read_now
        ),
        audit=AuditTrail(store),
        activity=ActivityReports(store),
        webhooks=WebhookManagement(
            store, changes, hooks.secrets, hooks.sender, hooks.deliverer.wake
        ),
    )
