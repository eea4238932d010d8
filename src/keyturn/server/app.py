"""Where the parts meet: settings in, an ASGI application out.

`open_parts` opens what the command line needs (store and key format), `open_service` all that
answering requests needs. Nothing here decides anything; it only wires.
"""

import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.middleware import Middleware

from . import logs, storage
from .http.caller import Addresses
from .http.errors import ErrorAnswers
from .http.management import management_operations
from .http.middleware import RequestFrame
from .http.operation import Doors
from .http.published import Check, Published
from .http.routes import Surface, oauth_paths, routes
from .http.tokens import token_operations
from .mail import open_mailer
from .oauth.bridge import TokenEndpoint
from .oauth.endpoints import IntrospectionEndpoint, RevocationEndpoint
from .oauth.metadata import metadata
from .parts import Parts, open_parts, open_signer, open_usage
from .revocation import KeptList, open_revocation_list
from .services.callers import Callers
from .services.credentials import Credentials
from .services.introspection import Introspection
from .services.issuing import Issuing
from .services.management import Management
from .services.management.api_keys import ApiKeyManagement
from .services.management.audit import AuditTrail
from .services.management.catalogue import Catalogue
from .services.management.changes import Changes
from .services.management.explaining import Explaining
from .services.management.imports import Imports
from .services.management.invitations import InvitationManagement
from .services.management.members import MemberManagement
from .services.management.own_keys import OwnKeys
from .services.management.people import PeopleManagement
from .services.management.permissions import PermissionRegistry
from .services.management.roles import RoleManagement
from .services.management.service_users import ServiceUserManagement
from .services.management.tenants import TenantManagement
from .services.ports import Mailer, Passwords, Store
from .services.revoking import Revoking
from .services.usage import Usage
from .settings import Settings, load_settings
from .tokens.access import AccessTokenSigner
from .tokens.answers import SealedAnswers
from .tokens.passwords import Argon2Passwords
from .tokens.refresh import RefreshSealer
from .tokens.secrets import DerivedKeys

#: How long verifiers may cache the published keys, in seconds.
JWKS_MAX_AGE = 300


@dataclass(frozen=True, slots=True)
class Service:
    """A service at work: its routes' surface, and the parts that tests look into."""

    surface: Surface
    parts: Parts
    usage: Usage


def utc_now() -> datetime:
    """This process's time."""
    return datetime.now(UTC)


async def migrate(settings: Settings) -> None:
    """Brings the database's schema to this release. Safe to run twice, and at once."""
    await storage.migrate(settings.database_url.get_secret_value())


@contextlib.asynccontextmanager
async def open_service(settings: Settings) -> AsyncIterator[Service]:
    """Opens everything, and runs what runs beside the requests."""
    redis_url = settings.redis_url.get_secret_value() if settings.redis_url else None
    async with contextlib.AsyncExitStack() as stack:
        parts = await stack.enter_async_context(open_parts(settings))
        revocations = await stack.enter_async_context(
            open_revocation_list(
                parts.store, redis_url=redis_url, redis_timeout=settings.redis_timeout
            )
        )
        signer = await stack.enter_async_context(open_signer(settings, parts, utc_now))
        usage = await stack.enter_async_context(open_usage(parts, utc_now))
        passwords = Argon2Passwords()
        stack.callback(passwords.close)
        yield _wire(settings, parts, revocations, signer, usage, passwords)


def _wire(
    settings: Settings,
    parts: Parts,
    revocations: KeptList,
    signer: AccessTokenSigner,
    usage: Usage,
    passwords: Passwords,
) -> Service:
    store, lookup = parts.store, parts.lookup
    refresh = RefreshSealer(DerivedKeys(parts.secrets, "refresh tokens", 64))
    credentials = Credentials(lookup, parts.key_format, utc_now, usage)
    revoking = Revoking(
        store=store,
        lookup=lookup,
        credentials=credentials,
        access=signer,
        refresh=refresh,
        revocations=revocations,
        lifetimes=settings.lifetimes,
    )
    introspection = Introspection(
        store=store,
        lookup=lookup,
        credentials=credentials,
        access=signer,
        refresh=refresh,
        revocations=revocations,
        clock=utc_now,
    )
    issuing = Issuing(
        store=store,
        lookup=lookup,
        access=signer,
        refresh=refresh,
        revocations=revocations,
        lifetimes=settings.lifetimes,
        clock=utc_now,
    )
    changes = Changes(
        store=store,
        revocations=revocations,
        lifetimes=settings.lifetimes,
        sealer=SealedAnswers(DerivedKeys(parts.secrets, "answers", 64)),
    )
    management = Management(
        tenants=TenantManagement(store, changes),
        roles=RoleManagement(store, changes),
        permissions=PermissionRegistry(store, changes),
        service_users=ServiceUserManagement(store, changes, parts.key_format),
        members=MemberManagement(store, changes),
        invitations=InvitationManagement(
            store,
            changes,
            lookup,
            _mailer(settings),
            f"{settings.base_url}/invitations/accept",
        ),
        catalogue=Catalogue(store, changes),
        imports=Imports(changes),
        explaining=Explaining(store, lookup, utc_now),
        people=PeopleManagement(store, changes, passwords, lookup, parts.key_format),
        api_keys=ApiKeyManagement(store, changes, parts.key_format),
        own_keys=OwnKeys(store, changes, parts.key_format, lookup),
        audit=AuditTrail(store),
    )
    callers = Callers(signer, revocations, lookup, store, utc_now)
    published = Published(
        metadata=metadata(
            issuer=settings.issuer,
            public_url=settings.public_url,
            base_path=settings.base_path,
            grants=settings.grants,
            signing_algorithms=signer.keyring.algorithms,
        ),
        jwks=signer.jwks,
        jwks_max_age=JWKS_MAX_AGE,
        checks=_checks(store, revocations),
    )
    operations = [
        *token_operations(
            TokenEndpoint(credentials, issuing, usage, settings.grants, settings.audience),
            RevocationEndpoint(revoking),
            IntrospectionEndpoint(introspection, settings.issuer, settings.audience),
            callers,
        ),
        *management_operations(management, settings.base_path),
    ]
    surface = Surface(
        operations,
        published,
        Doors(callers, Addresses(settings.trusted_proxies), settings.max_body),
        base_path=settings.base_path,
        issuer_path=urlsplit(settings.issuer).path,
    )
    return Service(surface, parts, usage)


def _mailer(settings: Settings) -> Mailer:
    url = settings.smtp_url
    return open_mailer(url.get_secret_value() if url else None, settings.mail_from)


def _checks(store: Store, revocations: KeptList) -> Mapping[str, Check]:
    async def database() -> str:
        await store.ping()
        return "ok"

    async def revocation_list() -> str:
        return revocations.state().status

    return {"database": database, "revocation_list": revocation_list}


def create_app(settings: Settings) -> Starlette:
    """The ASGI application. Its lifespan opens the stores and closes them."""

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with open_service(settings) as service:
            app.state.service = service
            app.router.routes[:] = routes(service.surface)
            yield

    answers = ErrorAnswers(oauth_paths(settings.base_path))
    app = Starlette(
        lifespan=lifespan,
        exception_handlers=dict(answers.handlers),
        middleware=[
            Middleware(
                RequestFrame,
                access_log=settings.access_log,
                max_in_flight=settings.max_in_flight,
                unavailable=answers.unavailable,
            )
        ],
    )
    app.router.redirect_slashes = False
    return app


def from_environment() -> Starlette:
    """The application of a worker process: settings and logging from the environment."""
    settings = load_settings()
    logs.configure(level=settings.log_level, form=settings.log_format)
    return create_app(settings)
